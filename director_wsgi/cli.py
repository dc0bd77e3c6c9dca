"""The command `director-wsgi`.

Only the standard library is imported before it is known what is wanted, so that `--help` and `--version` are quick and
work even where the configuration does not.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NoReturn

from director_wsgi import __version__

OK: Final = 0
PROBLEMS: Final = 1
UNUSABLE: Final = 2
INTERRUPTED: Final = 130
NOBODY_READS: Final = 141

_DESCRIPTION = "A director for Pelican data federations: tells clients which cache or origin has their object."
_FOOTER = """\
start here:
  director-wsgi demo                 a small federation on this machine; needs no configuration
  director-wsgi check-config         is the configuration right, and what does it come to?
  director-wsgi run                  serve

configuration:
  The file that DIRECTOR_WSGI_CONFIG names, else ./pelican.yaml if there is one; then the environment,
  where Director.StatTimeout is PELICAN_DIRECTOR_STATTIMEOUT. `director-wsgi params` lists everything.
"""
_RUN_HELP = """\
usage: director-wsgi run [GUNICORN OPTION ...]

Check the configuration, then become gunicorn and serve until SIGTERM.

Everything after `run` is handed to gunicorn and wins over what the configuration says, for example:
  director-wsgi run --bind 127.0.0.1:8444
  director-wsgi run --log-level debug --access-logfile -

Ends with status 2, and one message that says all that is wrong, if the configuration cannot be used.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: What follows the program's name; those of the process if left out.

    Returns:
        The exit status: 0 done, 1 problems were found, 2 the command or the configuration cannot be used, 130
        interrupted, 141 whoever read our output has gone.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = _dispatch(words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes standard output once more on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOBODY_READS
    return status


def _dispatch(words: list[str]) -> int:
    # These two hand on what follows untouched; argparse would take options out of it.
    handing_on: dict[str, Callable[[list[str]], int]] = {"run": _run, "demo": _demo}
    if words and words[0] in handing_on:
        return handing_on[words[0]](words[1:])
    try:
        options = _parser().parse_args(words)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else OK
    command: Callable[[argparse.Namespace], int] = options.command
    return command(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="director-wsgi",
        description=_DESCRIPTION,
        epilog=_FOOTER,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"director-wsgi {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    commands.add_parser("run", help="check the configuration and serve, with gunicorn", add_help=False)
    commands.add_parser("demo", help="start a small federation on loopback to play with", add_help=False)
    _add_check_config(commands)
    params = commands.add_parser(
        "params",
        help="print every parameter: type, default, range, meaning",
        description="Print every parameter of the configuration as Markdown.",
    )
    params.set_defaults(command=_params)
    _add_token(commands)
    return parser


def _add_check_config(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    check = commands.add_parser(
        "check-config",
        help="say whether the configuration is right, and all that is wrong",
        description="Check the configuration that `run` would use: the file and the environment. "
        "Ends with status 0 if it is right, else with 1 and one line for each problem.",
    )
    check.add_argument("file", metavar="FILE", nargs="?", help="check this file instead")
    check.add_argument("--show", action="store_true", help="print every value and where it comes from")
    check.set_defaults(command=_check_config)


def _add_token(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    token = commands.add_parser(
        "token",
        help="make a token that this director accepts, for Prometheus",
        description="Print a token, signed with the director's own key (IssuerKey, or the first of "
        "IssuerKeysDirectory). Whoever has it may do what its scope says until it expires: keep it like a password.",
    )
    token.add_argument("--scope", required=True, help="what it is for; monitoring.scrape lets it read /metrics")
    token.add_argument("--lifetime", default="1h", metavar="DURATION", help="how long it is good for, such as 90m (1h)")
    token.set_defaults(command=_token)


def _complain(heading: str, problems: Sequence[str]) -> None:
    print(heading, *(f"  {problem}" for problem in problems), sep="\n", file=sys.stderr)


def _run(words: list[str]) -> int:
    if words and words[0] in {"-h", "--help"}:
        print(_RUN_HELP, end="")
        return OK
    from director_wsgi.errors import ConfigError  # noqa: PLC0415, see the module
    from director_wsgi.runtime.config import load  # noqa: PLC0415

    try:
        load(os.environ, Path.cwd())
    except ConfigError as error:
        _complain("director-wsgi: the configuration cannot be used:", error.problems)
        return UNUSABLE
    return _become_gunicorn(words)


def _become_gunicorn(words: list[str]) -> NoReturn:
    # What is still in our buffers would be lost with this program.
    sys.stdout.flush()
    # The script rather than `-m gunicorn`, and a file rather than `python:…`: so USR2 finds its way back to the
    # program, and HUP reads the settings again.
    gunicorn = str(Path(sys.executable).with_name("gunicorn"))
    settings = str(Path(__file__).with_name("runtime") / "process.py")
    os.execv(gunicorn, [gunicorn, "-c", settings, "director_wsgi.wsgi:application", *words])  # noqa: S606, no shell


def _demo(words: list[str]) -> int:
    from director_wsgi.demo.command import main as demo  # noqa: PLC0415, see the module

    return demo(words)


def _check_config(options: argparse.Namespace) -> int:
    from director_wsgi.errors import ConfigError  # noqa: PLC0415, see the module
    from director_wsgi.runtime.config import FILE_VARIABLE, load  # noqa: PLC0415
    from director_wsgi.runtime.reference import values  # noqa: PLC0415

    named = {} if options.file is None else {FILE_VARIABLE: options.file}
    try:
        config = load({**os.environ, **named}, Path.cwd())
    except ConfigError as error:
        count = len(error.problems)
        _complain(f"{count} problem{'s' if count > 1 else ''}:", error.problems)
        return PROBLEMS
    if options.show:
        print(*values(config), sep="\n")
    for warning in config.warnings:
        print(f"warning: {warning}")
    if config.ignored:
        print(f"no effect here: {', '.join(config.ignored)}")
    tls = "TLS" if config.tls_certificate_chain is not None else "plain HTTP, for a proxy in front"
    print(f"ok: {config.web_url}, listening on {config.web_host} port {config.web_port} ({tls});", end=" ")
    print(f"registry {config.registry_url}; {len(config.sources)} values are set")
    return OK


def _params(_: argparse.Namespace) -> int:
    from director_wsgi.runtime.reference import markdown  # noqa: PLC0415, see the module

    print(markdown(), end="")
    return OK


def _token(options: argparse.Namespace) -> int:
    from director_wsgi.errors import ConfigError  # noqa: PLC0415, see the module
    from director_wsgi.limits.deadline import wall  # noqa: PLC0415
    from director_wsgi.runtime.config import load  # noqa: PLC0415
    from director_wsgi.runtime.durations import parse_duration  # noqa: PLC0415
    from director_wsgi.trust.issuer import load_issuer_keys  # noqa: PLC0415
    from director_wsgi.trust.self_issued import SCOPES, mint  # noqa: PLC0415

    problems = []
    if options.scope not in SCOPES:
        problems.append(f"--scope {options.scope}: expected {' or '.join(SCOPES)}")
    try:
        lifetime_s = parse_duration(options.lifetime)
        if lifetime_s < 1:
            problems.append(f"--lifetime {options.lifetime}: expected at least 1s")
    except ValueError as error:
        problems.append(f"--lifetime {options.lifetime}: {error}")
    if problems:
        _complain("director-wsgi: no token was made:", problems)
        return UNUSABLE
    try:
        config = load(os.environ, Path.cwd())
        keys = load_issuer_keys(config.issuer_keys_directory, config.issuer_key)
    except ConfigError as error:
        _complain("director-wsgi: the configuration cannot be used:", error.problems)
        return UNUSABLE
    if not keys:
        missing = "there is no signing key; set IssuerKey or IssuerKeysDirectory, as for the director that serves"
        _complain("director-wsgi: no token was made:", (missing,))
        return UNUSABLE
    print(mint(keys[0], issuer=config.web_url, scope=options.scope, lifetime_s=lifetime_s, now=wall()))
    return OK
