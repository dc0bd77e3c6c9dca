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
  The file that DIRECTOR_WSGI_CONFIG names, else ./pelican.yaml if there is one, and what these name as
  ConfigLocations and as Director.ConfigUrl; then the environment, where Director.StatTimeout is
  PELICAN_DIRECTOR_STATTIMEOUT. `director-wsgi params` lists everything.
"""
_SCOPES = """\
scopes:
  monitoring.scrape                   read /metrics
  pelican.director_service_discovery  read /api/v1.0/director/discoverServers
"""
_KEYS_FOOTER = """\
To replace the key that signs:
  director-wsgi keys rotate        add one; the running director publishes it, and later signs with it
  director-wsgi keys               look what signs, and since when
  director-wsgi keys retire KID    take the old one away, when the tokens that it signed have ended
"""
_KID_LENGTH = 43
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
    if words[:2] == ["keys", "retire"] and len(words) == 3 and len(words[2]) == _KID_LENGTH:
        words = [*words[:2], "--", words[2]]  # one in 64 begins with a hyphen, like an option
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
    _add_reload(commands)
    _add_token(commands)
    _add_keys(commands)
    return parser


def _add_check_config(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    check = commands.add_parser(
        "check-config",
        help="say whether the configuration is right, and all that is wrong",
        description="Check the configuration that `run` would use: every source of it. "
        "Ends with status 0 if it is right, else with 1 and one line for each problem.",
    )
    check.add_argument("file", metavar="FILE", nargs="?", help="check this file instead")
    check.add_argument("--show", action="store_true", help="print every value and where it comes from")
    check.add_argument("--offline", action="store_true", help="ask nobody for any part of it")
    check.set_defaults(command=_check_config)


def _add_reload(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    reload = commands.add_parser(
        "reload",
        help="have the running director look at its configuration now, and see what its workers run",
        description="A director looks at its configuration by itself, every second. This makes it look at once, waits "
        "until all its workers run what it has found, and prints what that is. It has to be run as the director's "
        "user. Ends with status 0 if they do, else with 1 and the reason.",
    )
    reload.add_argument(
        "--check",
        nargs="?",
        const="",
        metavar="FILE",
        help="change nothing; say what would change, and when, if FILE took the place of the file that is used",
    )
    reload.set_defaults(command=_reload)


def _add_token(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    token = commands.add_parser(
        "token",
        help="make a token that this director accepts, for Prometheus",
        description="Print a token, signed with the director's own key. Whoever has it may do what its scope says\n"
        "until it expires: keep it like a password.",
        epilog=_SCOPES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    token.add_argument("--scope", required=True, help="what it is for; see below")
    token.add_argument("--lifetime", default="1h", metavar="DURATION", help="how long it is good for, such as 90m (1h)")
    token.set_defaults(command=_token)


def _add_keys(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    keys = commands.add_parser(
        "keys",
        help="show the director's keys, add one, retire one",
        description="Show the keys that the director publishes, and which of them signs.",
        epilog=_KEYS_FOOTER,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    keys.add_argument("--json", action="store_true", help="as JSON")
    keys.set_defaults(command=_keys, action="list")
    actions = keys.add_subparsers(title="commands", metavar="COMMAND", dest="action")
    show = actions.add_parser("list", help="the same as without a command", description="Show the keys.")
    show.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="as JSON")
    actions.add_parser(
        "rotate",
        help="add a key that will sign",
        description="Make a new key. It is published at once, and signs when nobody holds an older key set any more.",
    )
    retire = actions.add_parser(
        "retire",
        help="take a key out of use",
        description="Rename the file of a key, so that the key is neither published nor used any more. Refused for the "
        "key that signs.",
    )
    retire.add_argument("key", metavar="KID", help="its identifier, or the name of its file")


def _complain(heading: str, problems: Sequence[str]) -> None:
    print(heading, *(f"  {problem}" for problem in problems), sep="\n", file=sys.stderr)


def _run(words: list[str]) -> int:
    if words and words[0] in {"-h", "--help"}:
        print(_RUN_HELP, end="")
        return OK
    from director_wsgi.errors import ConfigError  # noqa: PLC0415, see the module
    from director_wsgi.runtime import discovery, sources  # noqa: PLC0415

    try:
        config = sources.load(os.environ, Path.cwd(), tries=sources.TRIES)
        discovery.discovered(config, tries=discovery.TRIES)
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
    from director_wsgi.runtime.config import FILE_VARIABLE  # noqa: PLC0415
    from director_wsgi.runtime.discovery import discovered  # noqa: PLC0415
    from director_wsgi.runtime.reference import values  # noqa: PLC0415
    from director_wsgi.runtime.sources import load  # noqa: PLC0415

    named = {} if options.file is None else {FILE_VARIABLE: options.file}
    try:
        config = load({**os.environ, **named}, Path.cwd(), is_offline=options.offline)
        if not options.offline:
            config = discovered(config, tries=1)
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
    elsewhere = config.discovery_url if "discovery_url" in config.sources else config.config_url
    print(f"registry {config.registry_url or 'told at ' + elsewhere}; {len(config.sources)} values are set")
    return OK


def _reload(options: argparse.Namespace) -> int:
    from director_wsgi import cli_reload  # noqa: PLC0415, see the module
    from director_wsgi.errors import ConfigError  # noqa: PLC0415
    from director_wsgi.runtime.config import FILE_VARIABLE  # noqa: PLC0415

    cwd = Path.cwd()
    named = {FILE_VARIABLE: options.check} if options.check else {}
    try:
        if options.check is None:
            print(cli_reload.reloaded(os.environ, cwd))
        else:
            print(cli_reload.checked({**os.environ, **named}, cwd))
    except ConfigError as error:
        _complain("director-wsgi: the configuration is wrong:", error.problems)
        return PROBLEMS
    except cli_reload.ReloadError as error:
        _complain("director-wsgi: not in force:", (str(error),))
        return PROBLEMS
    return OK


def _params(_: argparse.Namespace) -> int:
    from director_wsgi.runtime.reference import markdown  # noqa: PLC0415, see the module

    print(markdown(), end="")
    return OK


def _token(options: argparse.Namespace) -> int:
    from director_wsgi.errors import ConfigError  # noqa: PLC0415, see the module
    from director_wsgi.limits.deadline import wall  # noqa: PLC0415
    from director_wsgi.runtime.durations import parse_duration  # noqa: PLC0415
    from director_wsgi.runtime.sources import load  # noqa: PLC0415
    from director_wsgi.trust.keyring import KeyRing  # noqa: PLC0415
    from director_wsgi.trust.minting import Minter, NoSigningKey  # noqa: PLC0415
    from director_wsgi.trust.self_issued import SCOPES  # noqa: PLC0415

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
        ring = KeyRing(directory=config.issuer_keys_directory, single=config.issuer_key)
        us = config.web_url
        token = Minter(ring, wall=wall).mint(
            issuer=us, subject=us, audience=(us,), scope=options.scope, lifetime_s=lifetime_s
        )
    except ConfigError as error:
        _complain("director-wsgi: the configuration cannot be used:", error.problems)
        return UNUSABLE
    except NoSigningKey:
        missing = (
            f"there is no signing key in {config.issuer_keys_directory}; set IssuerKey or IssuerKeysDirectory, as for "
            "the director that serves, or start that first: it makes a key"
        )
        _complain("director-wsgi: no token was made:", (missing,))
        return UNUSABLE
    print(token)
    return OK


def _keys(options: argparse.Namespace) -> int:
    from director_wsgi import cli_keys  # noqa: PLC0415, see the module
    from director_wsgi.errors import ConfigError  # noqa: PLC0415

    environ, cwd = os.environ, Path.cwd()
    try:
        match options.action:
            case "rotate":
                print(cli_keys.rotated(environ, cwd))
            case "retire":
                print(cli_keys.retired(environ, cwd, options.key))
            case _:
                print(cli_keys.listed(environ, cwd, as_json=options.json))
    except ConfigError as error:
        _complain("director-wsgi: the configuration cannot be used:", error.problems)
        return UNUSABLE
    except cli_keys.KeysError as error:
        _complain("director-wsgi: nothing was changed:", (str(error),))
        return PROBLEMS
    return OK
