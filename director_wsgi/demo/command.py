"""`director-wsgi demo`: a director under gunicorn and a small federation around it, until Ctrl-C."""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

from director_wsgi import __version__
from director_wsgi.demo import reload_leak, saturation
from director_wsgi.demo.director import PORT, DirectorFailedError, DirectorProcess, listen
from director_wsgi.demo.federation import Federation, NotReadyError
from director_wsgi.demo.interruption import Signals, StoppedError
from director_wsgi.demo.samples import PROTECTED
from director_wsgi.demo.suggestions import suggestions
from director_wsgi.limits.deadline import Clock, Deadline, monotonic

START_S = 30.0
"""How long the director may take to answer and to know all servers."""

OK = 0
FAILED = 1

_PLAYS: Final[Mapping[str, Callable[[Sequence[str]], int]]] = {
    saturation.COMMAND: saturation.main,
    reload_leak.COMMAND: reload_leak.main,
}

_DESCRIPTION = """\
Start a director under gunicorn together with a small federation around it: a registry, two origins and three caches,
with real bytes behind them. Everything listens on loopback only and speaks TLS under a throw-away authority. Prints
what to try next. Ctrl-C ends all of it and removes its files."""
_FOOTER = """\
`director-wsgi demo saturation` shows what a hung origin does to a director, and `director-wsgi demo reload-leak` what
reloads leave behind; see their own --help."""


def main(arguments: Sequence[str]) -> int:
    """Run the demo; for the main thread of a process.

    Args:
        arguments: What follows `director-wsgi demo`.

    Returns:
        0 once a signal asked for the end and nothing is left; 1 if it could not start or the director ended by itself;
        2 for arguments that are not understood.
    """
    if arguments and arguments[0] in _PLAYS:
        return _PLAYS[arguments[0]](arguments[1:])
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else OK
    try:
        with Signals() as signals:
            _demonstrate(options, signals, monotonic)
    except StoppedError:
        print("Ended; nothing is left." if options.keep is None else f"Ended; the files are in {options.keep}.")
        sys.stdout.flush()
        return OK
    except (DirectorFailedError, NotReadyError, OSError) as error:
        print(f"director-wsgi demo: {error}", file=sys.stderr, flush=True)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="director-wsgi demo", description=_DESCRIPTION, epilog=_FOOTER, allow_abbrev=False
    )
    parser.add_argument(
        "--port", type=_port, metavar="N", help=f"the director's port (default: {PORT}, or any other if that is taken)"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="put certificates, objects and the director's log there, and keep them"
    )
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text} is no port: expected 1 to 65535, or 0 for any that is free")
    return int(text)


def _demonstrate(options: argparse.Namespace, signals: Signals, clock: Clock) -> NoReturn:
    deadline = Deadline.after(START_S, clock)
    started_at = clock()
    with _folder(options.keep) as place, listen(options.port) as listener, Federation(place) as federation:
        _introduce(place, federation)
        tls = federation.authority.issue("director")
        token_file = _write_token(place, federation)
        with DirectorProcess(place, listener=listener, registry_url=federation.registry_url, tls=tls) as director:
            # Only the director has it now: when it ends, clients are refused instead of kept waiting.
            listener.close()
            _show("director", f"pid {director.pid}", director.url)
            federation.join(director.url)
            try:
                with signals.interrupting():
                    director.wait_until_ready(deadline)
                    federation.wait_until_ready(deadline)
                    print(f"\nReady after {clock() - started_at:.1f} s. Try, in another terminal:\n")
                    _advise(director, federation.authority.ca_file, token_file)
                    director.wait()
            except (DirectorFailedError, NotReadyError) as error:
                raise DirectorFailedError(_with_log(str(error), director)) from error
            finally:
                # A director waits for its connections before it ends.
                federation.leave()
            raise DirectorFailedError(_with_log("the director ended by itself", director))


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="director-demo-", ignore_cleanup_errors=True) as name:
            yield Path(name)
        return
    keep.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(keep.iterdir()):
        raise FileExistsError(f"--keep {keep}: expected a directory that is empty, or none")
    yield keep.resolve()


def _introduce(place: Path, federation: Federation) -> None:
    print(f"director_wsgi {__version__}: a federation on loopback, in {place}\n")
    _show("registry", "", federation.registry_url)
    for server in federation.servers:
        said = server.advertised
        _show(said.kind.value, said.name, server.url)
    sys.stdout.flush()


def _show(kind: str, name: str, url: str) -> None:
    print(f"  {kind:<9} {name:<18} {url}", flush=True)


def _advise(director: DirectorProcess, ca_file: Path, token_file: Path) -> None:
    for one in suggestions(director.url, ca_file, token_file):
        print(f"# {one.shows}\n{one.line}\n")
    print(f"The director writes its log to {director.log}. Ctrl-C ends everything.", flush=True)


def _write_token(place: Path, federation: Federation) -> Path:
    """Write down a token for what is protected, readable by nobody else."""
    holder = next(one for one in federation.origins if PROTECTED in one.advertised.exports)
    file = place / "token"
    file.touch(mode=0o600)
    file.write_text(holder.token())
    return file


def _with_log(what: str, director: DirectorProcess) -> str:
    return f"{what}. The last lines of its log:\n{director.last_words() or '(it is empty)'}"
