"""`director-wsgi demo reload-leak`: what reloads leave behind with a holder that leaks, and with the director's.

The same reloads, twice, each time in a process of its own: with `leaking` and with `leased`. A table is printed and a
picture is written.
"""

import argparse
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from director_wsgi.demo import leak_report, reloader
from director_wsgi.demo.interruption import Signals, StoppedError
from director_wsgi.demo.leak_report import CHANGED, PHASES, REFUSED, SOMETHING, WRONG, Run
from director_wsgi.demo.reloaded import Holding, Reloaded, ReloaderFailedError
from director_wsgi.demo.terminal import Progress, whole_number

COMMAND: Final = "reload-leak"
PIP: Final = "pip install 'director-wsgi[demo]'"
PAUSE_S: Final = 0.01
OK, FAILED = 0, 1

_NEEDED: Final = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http", "opentelemetry.proto")
_DESCRIPTION = """\
Reload a configuration again and again, with two ways to hold on to a tracer: one as Caddy had it before its pull
request 7826, made of OpenTelemetry's own SDK, and director_wsgi's. Each runs in a process of its own, everything on
loopback. Prints what they held and writes a picture. Takes a few seconds. Ctrl-C ends all of it."""


class NotInstalledError(Exception):
    """What the play needs is not there."""


@dataclass(frozen=True, slots=True)
class Design:
    """What is compared: its name in the table, `reloader`'s name for it, and its colour in the picture."""

    name: str
    holder: str
    colour: str


DESIGNS: Final = (
    Design("leaking holder", reloader.LEAKING, "#c2410c"),
    Design("director_wsgi", reloader.LEASED, "#0b5fa5"),
)


def main(arguments: Sequence[str]) -> int:
    """Run the comparison; for the main thread of a process.

    Args:
        arguments: What follows `director-wsgi demo reload-leak`.

    Returns:
        0 once the picture is written, or a signal asked for the end; 1 if something failed; 2 for arguments that are
        not understood.
    """
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else OK
    try:
        _check(options.out)
        with Signals() as signals, tempfile.TemporaryDirectory(prefix="reload-leak-") as name:
            runs = compare(options.each, Path(name), signals)
        print(f"\n{textwrap.fill(leak_report.introduction(options.each), 100)}\n\n{leak_report.table(runs)}\n")
        options.out.write_text(leak_report.draw(runs, [design.colour for design in DESIGNS]))
        print(f"The picture is in {options.out}.", flush=True)
    except StoppedError:
        print("\nEnded; nothing is left.", flush=True)
    except (ReloaderFailedError, NotInstalledError, OSError) as error:
        print(f"\ndirector-wsgi demo {COMMAND}: {error}", file=sys.stderr, flush=True)
        return FAILED
    return OK


def _check(out: Path) -> None:
    """What is better said now than at the end."""
    if not out.parent.is_dir():
        raise FileNotFoundError(f"--out {out}: {out.parent} is no directory")
    if not _is_installed():
        raise NotInstalledError(f"the SDK of OpenTelemetry is not installed: {PIP}")


def compare(each: int, folder: Path, signals: Signals) -> list[Run]:
    """Run every design through the same reloads, one after the other.

    Args:
        each: Reloads of each phase.
        folder: An existing one, for logs.
        signals: Those that end it.

    Raises:
        ReloaderFailedError: A process failed.
        OSError: The machine lacks ports, processes or room.
        StoppedError: A signal asked for the end.
    """
    return [_run(design, each, folder, signals) for design in DESIGNS]


def _run(design: Design, each: int, folder: Path, signals: Signals) -> Run:
    """One design, from its start to its end."""
    from director_wsgi.demo.collector import Collector  # noqa: PLC0415, it may not be installed

    own = folder / design.holder
    own.mkdir()
    progress = Progress(design.name)
    with ExitStack() as stack:
        collector = stack.enter_context(Collector())
        process = stack.enter_context(Reloaded(design.holder, collector.endpoint, own))
        with signals.interrupting():
            progress.say("starts")
            holdings = [process.settle()]
            settled = [holdings[0]]
            for phase in PHASES:
                progress.say(f"{each} reloads that {phase}")
                for number in range(each):
                    holdings.append(_reload(process, phase, number))
                    progress.tick(_figures(number + 1, each, holdings[-1]))
                    time.sleep(PAUSE_S)
                settled.append(process.settle())
            settled.append(process.give_back())
        progress.say("done")
        return Run(name=design.name, each=each, holdings=holdings, settled=settled, spans=collector.spans())


def _reload(process: Reloaded, phase: str, number: int) -> Holding:
    if phase == REFUSED:
        return process.reload(f"{WRONG}{number}", is_wrong=True)
    return process.reload(f"{CHANGED}{number}" if phase == SOMETHING else reloader.FIRST)


def _figures(number: int, each: int, holding: Holding) -> str:
    return f"{number} of {each}: {holding.threads} threads, {holding.exporters} exporters, {holding.files} files"


def _is_installed() -> bool:
    try:
        return all(find_spec(name) is not None for name in _NEEDED)
    except ModuleNotFoundError:  # not even what they are in
        return False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"director-wsgi demo {COMMAND}",
        description=_DESCRIPTION,
        epilog=f"Needs OpenTelemetry's SDK: {PIP}",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(f"{COMMAND}.svg"),
        metavar="FILE",
        help="where to write the picture (default: %(default)s)",
    )
    parser.add_argument(
        "--each",
        type=whole_number(1, 1000),
        default=50,
        metavar="N",
        help="reloads that change nothing, that change something, and that are refused (default: %(default)s each)",
    )
    return parser
