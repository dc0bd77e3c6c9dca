"""`director-wsgi demo saturation`: what a hung origin does to the failing design, and what it does to this director.

The same load, twice: on `naive` and on the director, each under gunicorn with the same settings. One origin hangs for a
while and is then well again. A table is printed and a picture is written.
"""

import argparse
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from director_wsgi.demo import verdict
from director_wsgi.demo.contender import Contender
from director_wsgi.demo.director import DirectorFailedError
from director_wsgi.demo.figure import draw
from director_wsgi.demo.hanging import HangingOrigins
from director_wsgi.demo.interruption import Signals, StoppedError
from director_wsgi.demo.openloop import Load, LoadFailedError, Order
from director_wsgi.demo.scene import CLIENT_TIMEOUT_S, ORIGINS, PORTS_VARIABLE, SICK, Plan, arrivals, written_ports
from director_wsgi.demo.terminal import Progress, whole_number
from director_wsgi.demo.verdict import Answered, Run
from director_wsgi.limits.deadline import Deadline, monotonic

COMMAND: Final = "saturation"
START_S: Final = 30.0
LEAD_S: Final = 1.5
"""From ordering the load to its first request: the child has to start."""

SAMPLE_S: Final = 0.25
OK, FAILED = 0, 1
_NOBODY = "http://127.0.0.1:9"
_DESCRIPTION = """\
Play a hung origin to two designs under the same load: one as Pelican's issue 3495 describes it, and director_wsgi.
Both run under gunicorn with the same settings, one after the other, everything on loopback. Prints what became of the
requests and writes a picture. Takes about a minute and a half. Ctrl-C ends all of it."""


@dataclass(frozen=True, slots=True)
class Design:
    """What is compared: its name in the table, gunicorn's name for it, and its colour in the picture."""

    name: str
    application: str
    colour: str


DESIGNS: Final = (
    Design("failing design", "director_wsgi.demo.naive:application", "#c2410c"),
    Design("director_wsgi", "director_wsgi.demo.prefilled:application", "#0b5fa5"),
)


def main(arguments: Sequence[str]) -> int:
    """Run the comparison; for the main thread of a process.

    Args:
        arguments: What follows `director-wsgi demo saturation`.

    Returns:
        0 once the picture is written, or a signal asked for the end; 1 if something failed; 2 for arguments that are
        not understood.
    """
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else OK
    usual = Plan()
    plan = Plan(
        before_s=min(usual.before_s, options.seconds),
        hang_s=options.seconds,
        after_s=min(usual.after_s, options.seconds),
        threads=options.threads,
        slots=options.slots,
    )
    try:
        if not options.out.parent.is_dir():  # better now than after a minute and a half
            raise FileNotFoundError(f"--out {options.out}: {options.out.parent} is no directory")
        with (
            Signals() as signals,
            tempfile.TemporaryDirectory(prefix="saturation-", ignore_cleanup_errors=True) as name,
        ):
            runs = compare(plan, Path(name), signals)
        print(f"\n{textwrap.fill(verdict.introduction(plan), 100)}\n\n{verdict.table(runs)}\n")
        for run in runs:
            if run.lateness_s > verdict.GENERATOR_LATE_S:
                print(f"The machine was busy: requests to the {run.name} were sent up to {run.lateness_s:.1f} s late.")
        options.out.write_text(draw(runs, [design.colour for design in DESIGNS]))
        print(f"The picture is in {options.out}.", flush=True)
    except StoppedError:
        print("\nEnded; nothing is left.", flush=True)
    except (DirectorFailedError, LoadFailedError, OSError) as error:
        print(f"\ndirector-wsgi demo {COMMAND}: {error}", file=sys.stderr, flush=True)
        return FAILED
    return OK


def compare(plan: Plan, folder: Path, signals: Signals) -> list[Run]:
    """Run every design through the same plan, one after the other.

    Raises:
        DirectorFailedError: gunicorn did not come up.
        LoadFailedError: The load generator failed.
        OSError: The machine lacks ports, processes or room.
        StoppedError: A signal asked for the end.
    """
    runs = []
    for number, design in enumerate(DESIGNS):
        own = folder / str(number)
        own.mkdir()
        runs.append(_run(design, plan, own, signals))
    return runs


def _run(design: Design, plan: Plan, folder: Path, signals: Signals) -> Run:
    """One design, from its start to its end."""
    progress = Progress(design.name)
    with ExitStack() as stack:
        origins = stack.enter_context(HangingOrigins(ORIGINS))
        contender = stack.enter_context(
            Contender(design.application, folder, _environment(plan, folder, origins.ports))
        )
        with signals.interrupting():
            progress.say("starts")
            contender.wait_until_ready(Deadline.after(START_S))
        order = Order(
            port=contender.port,
            starts_at=monotonic() + LEAD_S,
            timeout_s=CLIENT_TIMEOUT_S,
            arrivals=arrivals(plan),
        )
        load = stack.enter_context(Load(order))
        with signals.interrupting():
            threads = _play(
                plan,
                starts_at=order.starts_at,
                origins=origins,
                contender=contender,
                load=load,
                progress=progress,
            )
            outcomes = load.outcomes()
        progress.say("done")
        first_answer_at = origins.first_answer_at(SICK)
    return Run(
        name=design.name,
        plan=plan,
        ports=origins.ports,
        answers=[Answered(arrival, outcome) for arrival, outcome in zip(order.arrivals, outcomes, strict=True)],
        threads=threads,
        asked_again_s=None if first_answer_at is None else first_answer_at - order.starts_at - plan.heals_at,
    )


def _play(
    plan: Plan,
    *,
    starts_at: float,
    origins: HangingOrigins,
    contender: Contender,
    load: Load,
    progress: Progress,
) -> list[tuple[float, int]]:
    """Have the origin hang and heal at their instants; the worker's threads, sampled meanwhile."""
    events = [
        (plan.hangs_at, origins.hang, f"origin-{SICK + 1} hangs"),
        (plan.heals_at, origins.heal, "all is well again"),
    ]
    threads: list[tuple[float, int]] = []
    progress.say("all is well")
    while (now := monotonic() - starts_at) < plan.ends_at:
        if load.has_ended():
            raise LoadFailedError("the load generator ended too soon")
        if events and now >= events[0][0]:
            _, happen, words = events.pop(0)
            happen(SICK)
            progress.say(words)
        if now >= 0:
            threads.append((now, contender.threads()))
        if threads:
            progress.tick(f"{max(0.0, now):.0f} s of {plan.ends_at:.0f}, {threads[-1][1]} threads")
        next_at = min(plan.ends_at, now + SAMPLE_S, *(at for at, _, _ in events[:1]))
        time.sleep(max(0.0, starts_at + next_at - monotonic()))
    progress.say("waits for the last answers")
    return threads


def _environment(plan: Plan, folder: Path, ports: Sequence[int]) -> dict[str, str]:
    """What both designs are configured by; everything that is not said here has its default."""
    return {
        "HOME": str(folder),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        PORTS_VARIABLE: written_ports(ports),
        "PELICAN_SERVER_EXTERNALWEBURL": "https://director.example.org",
        "PELICAN_FEDERATION_REGISTRYURL": _NOBODY,
        "PELICAN_DIRECTOR_THREADS": str(plan.threads),
        "PELICAN_DIRECTOR_STATCONCURRENCYLIMIT": str(plan.slots),
        "PELICAN_DIRECTOR_GRACEFULTIMEOUT": "1s",
    }


def _parser() -> argparse.ArgumentParser:
    usual = Plan()
    parser = argparse.ArgumentParser(prog=f"director-wsgi demo {COMMAND}", description=_DESCRIPTION, allow_abbrev=False)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("saturation.svg"),
        metavar="FILE",
        help="where to write the picture (default: %(default)s)",
    )
    parser.add_argument(
        "--seconds",
        type=whole_number(2, 600),
        default=int(usual.hang_s),
        metavar="N",
        help="how long the origin hangs (default: %(default)s)",
    )
    parser.add_argument(
        "--threads",
        type=whole_number(5, 512),
        default=usual.threads,
        metavar="N",
        help="handler threads of the one worker (default: %(default)s)",
    )
    parser.add_argument(
        "--slots",
        type=whole_number(1, 1000),
        default=usual.slots,
        metavar="N",
        help="HEADs that one origin may have in flight: Director.StatConcurrencyLimit (default: %(default)s)",
    )
    return parser
