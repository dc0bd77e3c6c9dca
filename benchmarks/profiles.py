"""`python -m benchmarks.profiles`: where a worker's time goes, as flame graphs and as text, under three loads.

`front`: redirects for which no server has to be asked. `stats`: redirects of objects that nobody has asked for, each
asked for at two or four origins over TLS. `advertisements`: 1,100 servers renew what they said, one after the other.

The profiler is py-spy, from outside, on the other processor. It looks at the thread that holds the interpreter's lock,
the one thing that a worker cannot have more of; system calls that let go of it are left out, and told beside it as the
processor's time in the kernel. The worker is stopped for each sample. After a stop all its threads wake up for nothing:
harmless where one thread does the work, but where fifty take turns, as under `stats`, there is little else to be seen.
There the worker is read while it runs on. Nearly half of these samples make no sense and are dropped (`errors`), and
what takes long, or lets go of the lock in between, is seen too often.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import chain, islice
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks import federations, flames, stats_flock
from benchmarks.advertiser import key_set
from benchmarks.federations import Clients
from benchmarks.load import Order, WrongAnswerError, generator
from benchmarks.origins import serving_origins
from benchmarks.registry import registry
from benchmarks.renewals import renewing
from benchmarks.server import Server, ServerFailedError, confined, cores, serving
from benchmarks.stats_prefilled import ORIGINS_VARIABLE
from benchmarks.stats_scene import FEW, SPREAD, TOUCHED, objects
from director_wsgi.limits.deadline import monotonic

RESULTS = Path(__file__).resolve().parent / "results"
SPY = Path(sys.executable).with_name("py-spy")
MEDIUM = federations.MEDIUM
LARGE = federations.LARGE
CONNECTIONS = 32
TAKING_TURNS = {"stats"}
"""Loads that many threads share."""

MOST_STATS = 200_000
SETTLE_S = 2.0
"""A load has gone on for so long before anybody looks, and goes on for as long afterwards."""

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_COUNTED = re.compile(r"Samples: (\d+) Errors: (\d+)")

Load = Callable[[float], None]
"""Goes on for so many seconds, or a little more."""


class ProfilerFailedError(Exception):
    """There is no profile; the message says why."""


@contextmanager
def _front(folder: Path) -> Iterator[tuple[Server, Load]]:
    environment = {"DIRECTOR_BENCHMARK_FEDERATION": MEDIUM.name}
    with (
        serving("benchmarks.prefilled:application", folder, environment) as server,
        generator(cores()[1]) as load,
    ):

        def ask(seconds: float) -> None:
            order = Order(
                port=server.port,
                server_pid=server.pid,
                federation=MEDIUM.name,
                clients=Clients.MANY_PLACES,
                connections=CONNECTIONS,
                seconds=seconds,
            )
            load.run(order)

        yield server, ask


@contextmanager
def _stats(folder: Path) -> Iterator[tuple[Server, Load]]:
    processors = cores()[1]
    with serving_origins(FEW, folder, processors) as origins:
        environment = {
            ORIGINS_VARIABLE: json.dumps(origins.base_urls),
            "PELICAN_SERVER_TLSCACERTIFICATEFILE": str(origins.ca_file),
        }
        with serving("benchmarks.stats_prefilled:application", folder, environment) as server:

            def ask(seconds: float) -> None:
                targets = list(islice(_alternating(objects(TOUCHED, "run"), objects(SPREAD, "run")), MOST_STATS))
                order = stats_flock.Order(
                    port=server.port,
                    connections=CONNECTIONS,
                    targets=targets,
                    requests=len(targets),
                    each=len(targets),
                    at_most_s=seconds,
                )
                done = stats_flock.run(order, processors)
                if set(done.statuses) - {0, 307}:
                    raise WrongAnswerError(f"answers by status: {done.statuses}")

            yield server, ask


def _alternating(*targets: Iterator[str]) -> Iterator[str]:
    return chain.from_iterable(zip(*targets, strict=False))


@contextmanager
def _advertisements(folder: Path) -> Iterator[tuple[Server, Load]]:
    key = ec.generate_private_key(ec.SECP256R1())
    with ExitStack() as stack:
        known = stack.enter_context(registry(key_set(key)))
        environment = {"PELICAN_FEDERATION_REGISTRYURL": known.url}
        server = stack.enter_context(serving("director_wsgi.wsgi:application", folder, environment))
        renewals = stack.enter_context(renewing(server, LARGE, key))
        renewals.advertise_all()

        def renew(seconds: float) -> None:
            ends_at = monotonic() + seconds
            while monotonic() < ends_at:
                renewals.advertise_all()

        yield server, renew


LOADS: Mapping[str, Callable[[Path], AbstractContextManager[tuple[Server, Load]]]] = {
    "front": _front,
    "stats": _stats,
    "advertisements": _advertisements,
}


@contextmanager
def _going_on(load: Load, seconds: float) -> Iterator[None]:
    """Have a load go on for this block, which takes so long.

    Raises:
        WrongAnswerError, OSError: It failed.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="benchmark-load") as pool:
        done = pool.submit(load, SETTLE_S + seconds + SETTLE_S)
        time.sleep(SETTLE_S)
        yield
        done.result()


def profile(server: Server, picture: Path, *, seconds: float, is_stopped: bool) -> str:
    """Draw what a worker does, for so long.

    Args:
        server: Its first worker is looked at.
        picture: Where to write it.
        seconds: How long.
        is_stopped: Whether it may be, for each sample.

    Returns:
        What the profiler says of its samples.

    Raises:
        ProfilerFailedError: There is no picture.
    """
    command = [SPY.name, "record", "--pid", str(server.pid), "--duration", f"{seconds:.0f}", "--rate"]
    before_s = _times_s(server.pid)
    with confined(cores()[1]):
        done = subprocess.run(
            [
                *command,
                *(["40"] if is_stopped else ["200", "--nonblocking"]),
                "--gil",
                "--function",
                "--format",
                "flamegraph",
                "--output",
                picture.name,
            ],
            executable=SPY,
            cwd=picture.parent,  # the picture shows the command, which is to be the same everywhere
            check=False,
            capture_output=True,
            text=True,
        )
    told = done.stdout + done.stderr
    user_s, system_s = (b - a for a, b in zip(before_s, _times_s(server.pid), strict=True))
    counted = _COUNTED.search(told)
    if done.returncode or counted is None:
        raise ProfilerFailedError(
            f"py-spy failed; to look at another process it needs CAP_SYS_PTRACE, or 0 in "
            f"/proc/sys/kernel/yama/ptrace_scope. It says\n{told[-2000:]}"
        )
    return (
        f"{counted[1]} samples in {seconds:.0f} s, {counted[2]} errors; "
        f"of the processor {user_s / seconds:.0%} in the program, {system_s / seconds:.0%} in the kernel"
    )


def _times_s(pid: int) -> tuple[float, float]:
    """CPU time of a process in its program and in the kernel; proc_pid_stat(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) / _TICKS_PER_S, int(fields[12]) / _TICKS_PER_S


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw what was asked for, and tell it.

    Args:
        arguments: Of the command line; the process's own if None.

    Returns:
        0; 1 if something could not be looked at.
    """
    options = _parser().parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    try:
        for name in options.only or LOADS:
            picture = options.folder / f"{name}.svg"
            print(f"{name}: {options.seconds:g} s of it", flush=True)
            with (
                tempfile.TemporaryDirectory(prefix="director-profile-") as folder,
                LOADS[name](Path(folder)) as (server, load),
                _going_on(load, options.seconds),
            ):
                told = profile(server, picture, seconds=options.seconds, is_stopped=name not in TAKING_TURNS)
            print(f"{flames.summary(picture.read_text())}\n  {told}; written to {picture}\n", flush=True)
    except KeyboardInterrupt:
        print("\nprofiles: interrupted; everything started has been ended", file=sys.stderr)
        return 130
    except (ProfilerFailedError, flames.NoFramesError, ServerFailedError, WrongAnswerError, OSError) as error:
        print(f"profiles: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.profiles",
        description="Where a worker's time goes: flame graphs, and what they say as text. Two minutes.",
    )
    parser.add_argument("--only", action="append", choices=list(LOADS), help="only this load; may be repeated")
    parser.add_argument("--seconds", type=float, default=30, metavar="S", help="of each load (30)")
    parser.add_argument(
        "--folder", type=Path, default=RESULTS, metavar="FOLDER", help="for the pictures (benchmarks/results)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
