"""The soak: a director under gunicorn, load that does not wait for answers, and a third of all servers misbehaving.

`make soak` is ten minutes of it; the tests of the same name are short ones. The faults of a sick server change twice a
second and return every `CYCLE_S`, so that every fifth of a soak has seen the same; memory, threads and open files of
the worker are compared between the second and the last one. Every answer is checked.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import re
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.process.child import SETTINGS, Child, run
from tests.process.soaked import SERVERS_VARIABLE
from tests.servers.authority import Authority
from tests.servers.faults import FaultServer

RATE_PER_S = 80.0
CHANGE_S = 0.5
SAMPLE_S = 0.25
ANSWER_WITHIN_S = 10.0
LONG_S = 300.0
"""A soak is long from here on."""

HANDLERS = 16
SLOTS = 8
SERVERS = 23
MOST_THREADS = HANDLERS + SERVERS * SLOTS + 12
"""Of the worker: handlers, those which ask servers, and a dozen for everything else."""

OBJECTS = 300
TOKENS = 20

TOUCHED = ("/n1", "/n2", "/n3", "/n4")
CALM = "/calm"
FORSAKEN = "/forsaken"
"""All of its origins are sick."""

NAMESPACES = (*TOUCHED, CALM, FORSAKEN)

FAULTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("hang_after_request", {}),
    ("status", {"code": 500}),
    ("drip", {}),
    ("ok", {}),
    ("refuse", {}),
    ("stall_in_tls", {}),
    ("reset", {}),
    ("slow", {"seconds": 0.2}),
    ("ok", {}),
    ("endless_continue", {}),
    ("hang_after_accept", {}),
    ("huge_header", {}),
)
CYCLE_S = CHANGE_S * len(FAULTS)

ENVIRON = {
    "PELICAN_FEDERATION_REGISTRYURL": "https://127.0.0.1:1",  # nobody listens there
    "PELICAN_SERVER_EXTERNALWEBURL": "https://director.example.org",
    "PELICAN_DIRECTOR_REDIRECTDEADLINE": "500ms",
    "PELICAN_DIRECTOR_STATTIMEOUT": "500ms",
    "PELICAN_DIRECTOR_STATCONCURRENCYLIMIT": str(SLOTS),
    "PELICAN_DIRECTOR_THREADS": str(HANDLERS),
    "PELICAN_DIRECTOR_PROBEINTERVAL": "1s",
    "PELICAN_DIRECTOR_SLOWSTAT": "100ms",
    # Short lives, so that servers are asked all the time and tables are full from the beginning.
    "PELICAN_DIRECTOR_CACHEPRESENCETTL": "1s",
    "PELICAN_DIRECTOR_ABSENCETTL": "1s",
    "PELICAN_DIRECTOR_STALEIFERROR": "1s",
    "PELICAN_DIRECTOR_CACHESORTMETHOD": "adaptive",
}

_LOCATION = re.compile(rb"\r\n[Ll]ocation: https://127\.0\.0\.1:(\d+)/")


@dataclass(frozen=True)
class Sample:
    """The worker at one moment."""

    rss_mib: float
    threads: int
    files: int


@dataclass
class Soak:
    """What came of it.

    Attributes:
        answers: How many, by what was asked and what was answered.
        wrong: Answers that are wrong, each with its question; no more than a few.
        guesses: Answers that name a server without evidence first, while the holder was well.
        samples: Of the worker, in the order of time.
    """

    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    guesses: int = 0
    decided: int = 0
    samples: list[Sample] = field(default_factory=list)
    workers: set[int] = field(default_factory=set)

    def medians(self, fifth: int) -> Sample:
        """The medians of one fifth of the soak, 0 to 4."""
        size = len(self.samples) // 5
        part = self.samples[fifth * size : (fifth + 1) * size]
        return Sample(
            statistics.median(sample.rss_mib for sample in part),
            int(statistics.median(sample.threads for sample in part)),
            int(statistics.median(sample.files for sample in part)),
        )

    def complaints(self) -> list[str]:
        """What is not as it has to be; empty if all is well."""
        return self.complaints_at_any_length() + self._growth()

    def complaints_at_any_length(self) -> list[str]:
        """Those that need no fifths to be compared, each of which has to see every fault."""
        found = [f"wrong: {one}" for one in self.wrong]
        if len(self.workers) != 1:
            found.append(f"workers ended: {sorted(self.workers)}")
        if self.guesses > 0.01 * self.decided:
            found.append(f"{self.guesses} of {self.decided} answers are guesses")
        if (most := max(sample.threads for sample in self.samples)) > MOST_THREADS:
            found.append(f"{most} threads, and no more than {MOST_THREADS} are allowed")
        return found

    def _growth(self) -> list[str]:
        second, last = self.medians(1), self.medians(4)
        found = []
        if last.rss_mib > second.rss_mib * 1.03 + 1:
            found.append(f"memory grows: {second.rss_mib:.1f} to {last.rss_mib:.1f} MiB")
        # A moment in which everything is slow leaves a server more threads than it needs, for a while. Where that
        # happens between two fifths of a short soak, it looks like growth.
        if len(self.samples) * SAMPLE_S >= LONG_S and last.threads > second.threads * 1.1 + 2:
            found.append(f"threads grow: {second.threads} to {last.threads}")
        if last.files > second.files * 1.1 + 5:
            found.append(f"open files grow: {second.files} to {last.files}")
        return found

    def table(self) -> str:
        """Fifth by fifth, for people."""
        rows = ["fifth    RSS MiB  threads  files"]
        for fifth in range(5):
            sample = self.medians(fifth)
            rows.append(f"{fifth + 1:5d} {sample.rss_mib:10.1f} {sample.threads:8d} {sample.files:6d}")
        rows += [f"{count:8d}  {what}" for what, count in sorted(self.answers.items())]
        rows.append(f"{self.guesses:8d}  of {self.decided} answers name somebody without evidence first")
        return "\n".join(rows)


class SoakedFederation:
    """Twenty-three servers, eight of them sick.

    In each touched namespace: a holder, one that lacks everything, and a sick one. Seven caches, two of them sick. A
    namespace all of whose origins are sick, and one that no sick origin has to do with, where some objects are nowhere.
    """

    def __init__(self, authority: Authority, stack: contextlib.ExitStack) -> None:
        self._authority = authority
        self._stack = stack
        self.servers: dict[str, FaultServer] = {}
        self.rows: list[dict[str, Any]] = []
        for namespace in TOUCHED:
            for role in ("holder", "lacking", "sick"):
                self._add(f"{namespace[1:]}-{role}", namespace)
        for number in range(7):
            self._add(f"cache-{number}" if number < 5 else f"cache-{number}-sick", *NAMESPACES, is_cache=True)
        for role in ("holder", "lacking"):
            self._add(f"{CALM[1:]}-{role}", CALM)
        for number in range(2):
            self._add(f"{FORSAKEN[1:]}-{number}-sick", FORSAKEN)
        for name, server in self.servers.items():
            if name.endswith("-lacking"):
                server.behave("status", code=404)
        for number in range(OBJECTS):
            self.servers["calm-holder"].behave("status", code=404, path=f"{CALM}/absent-{number}")
        self.sick = [server for name, server in self.servers.items() if name.endswith("-sick")]
        assert len(self.servers) == SERVERS
        self.by_port = {server.port: name for name, server in self.servers.items()}

    def _add(self, name: str, *namespaces: str, is_cache: bool = False) -> None:
        server = self._stack.enter_context(FaultServer(certificate=self._authority.server))
        self.servers[name] = server
        self.rows.append({"is_cache": is_cache, "name": name, "url": server.url, "namespaces": namespaces})

    @contextlib.contextmanager
    def misbehaving(self) -> Iterator[None]:
        """The sick servers change their faults, each at its own place in the cycle."""
        ending = threading.Event()

        def misbehave() -> None:
            for step in itertools.count():
                for place, server in enumerate(self.sick):
                    fault, arguments = FAULTS[(step + 5 * place) % len(FAULTS)]
                    with contextlib.suppress(OSError):  # its port was lent out while it refused; it goes on refusing
                        server.behave(fault, **arguments)
                    server.drop_connections()
                if ending.wait(CHANGE_S):
                    return

        thread = threading.Thread(target=misbehave, name="misbehave")
        thread.start()
        try:
            yield
        finally:
            ending.set()
            thread.join()


@dataclass(frozen=True)
class Question:
    """One request, and what its client does."""

    namespace: str
    to_origin: bool
    path: str
    token: str = ""
    leaves: bool = False

    def request(self) -> bytes:
        kind = "origin" if self.to_origin else "object"
        fields = [
            f"GET /api/v1.0/director/{kind}{self.path} HTTP/1.1",
            "Host: director.example.org",
            "X-Pelican-Coordinate: lat=43.07,long=-89.40",
            *([f"Authorization: Bearer {self.token}"] if self.token else []),
            "Connection: close",
        ]
        return ("\r\n".join(fields) + "\r\n\r\n").encode()


def question(number: int) -> Question:
    """The question of this number: the same in every soak."""
    namespace = NAMESPACES[number % 6]
    is_absent = namespace == CALM and number // 6 % 3 == 0
    name = f"{'absent' if is_absent else 'object'}-{number * 7 % OBJECTS}"
    return Question(
        namespace=namespace,
        to_origin=number // 6 % 4 != 0 or is_absent,
        path=f"{namespace}/{name}",
        token=f"token-{number % TOKENS}" if number % 11 == 0 else "",
        leaves=number % 23 == 0,
    )


class Load:
    """Requests at their instants, whether or not earlier ones have been answered; see `soak`."""

    def __init__(self, port: int, federation: SoakedFederation, soak: Soak) -> None:
        self._port = port
        self._federation = federation
        self._soak = soak

    async def run(self, seconds: float) -> None:
        clock = asyncio.get_running_loop().time
        began_at = clock()
        async with asyncio.TaskGroup() as tasks:
            for number in range(int(seconds * RATE_PER_S)):
                await asyncio.sleep(began_at + number / RATE_PER_S - clock())
                tasks.create_task(self._ask(question(number)))

    async def _ask(self, asked: Question) -> None:
        answer = b""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                with contextlib.closing(writer):
                    writer.write(asked.request())
                    if asked.leaves:
                        await asyncio.sleep(0.005)
                        self._soak.answers["its client left"] += 1
                        return
                    answer = await reader.read()
        except (OSError, TimeoutError) as error:
            self._wrong(asked, f"{type(error).__name__} {error}")
            return
        self._judge(asked, answer)

    def _judge(self, asked: Question, answer: bytes) -> None:
        status = answer[9:12].decode("latin-1")
        found = _LOCATION.search(answer)
        name = self._federation.by_port.get(int(found[1]), "?") if found else ""
        kind = f"{'origin' if asked.to_origin else 'object'} {asked.namespace}"
        self._soak.answers[f"{kind}: {status}"] += 1
        is_absent = "/absent-" in asked.path
        if status == "404" and is_absent:
            return
        if status != "307" or not name.startswith(asked.namespace[1:] if asked.to_origin else "cache-"):
            self._wrong(asked, answer[:400].decode("latin-1"))
        elif asked.to_origin and asked.namespace != FORSAKEN:
            self._soak.decided += 1
            self._soak.guesses += is_absent or name.endswith("-lacking")

    def _wrong(self, asked: Question, what: str) -> None:
        if len(self._soak.wrong) < 10:
            self._soak.wrong.append(f"{asked}: {what}")


@contextlib.contextmanager
def sampling(child: Child, soak: Soak) -> Iterator[None]:
    """Look at the worker all the while."""
    ending = threading.Event()

    def sample() -> None:
        while not ending.wait(SAMPLE_S):
            with contextlib.suppress(OSError):  # it has ended: `workers` tells
                for pid in child.workers():
                    soak.workers.add(pid)
                    soak.samples.append(look(pid))

    thread = threading.Thread(target=sample, name="sample")
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def look(pid: int) -> Sample:
    """Memory, threads and open files of a process."""
    process = Path(f"/proc/{pid}")
    told = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return Sample(int(told["VmRSS"].split()[0]) / 1024, int(told["Threads"]), len(list((process / "fd").iterdir())))


def soak(seconds: float, folder: Path) -> Soak:
    """Run one, in a folder of its own."""
    result = Soak()
    with contextlib.ExitStack() as stack:
        authority = Authority(folder)
        federation = SoakedFederation(authority, stack)
        environ = ENVIRON | {
            "PELICAN_SERVER_TLSCACERTIFICATEFILE": str(authority.ca_file),
            SERVERS_VARIABLE: json.dumps(federation.rows),
        }
        arguments = ("-c", str(SETTINGS), "-b", "127.0.0.1:0", "-w", "1", "tests.process.soaked:application")
        child = stack.enter_context(run(folder, *arguments, environ=environ)).wait_until_ready()
        with federation.misbehaving(), sampling(child, result):
            asyncio.run(Load(child.port, federation, result).run(seconds))
        if "Traceback" in child.output:
            result.wrong.append(child.output[child.output.index("Traceback") :][:2000])
    return result


def main() -> int:
    """Run one and tell of it; the exit status says whether all is well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=600.0)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        began_at = time.monotonic()
        result = soak(seconds, Path(folder))
    complaints = result.complaints()
    told = [f"{time.monotonic() - began_at:.0f} s at {RATE_PER_S:g} requests/s", result.table()]
    told += complaints or ["flat, and no wrong answer"]
    sys.stdout.write("\n".join(told) + "\n")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
