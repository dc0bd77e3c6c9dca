"""No operation is assumed to be atomic: everything at once, with threads switched as often as the interpreter can."""

import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.servers.authority import Authority
from tests.servers.federation import OBJECT, ORIGIN, WAIT_S, Census, Federation, eventually

SECONDS = 5.0
SLOTS = 3
HOT_PATHS = 40
FAULTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("hang_after_request", {}),
    ("reset", {}),
    ("status", {"code": 500}),
    ("slow", {"seconds": 0.02}),
    ("ok", {}),
    ("refuse", {}),
    ("hang_after_accept", {}),
    ("ok", {}),
)


@contextmanager
def switching_often() -> Iterator[None]:
    """Threads may be switched after nearly every instruction."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


class Storm:
    """Runs functions again and again, each on a thread of its own, until told to end.

    Attributes:
        turns: How often each was run, by name.
        errors: What they raised.
    """

    def __init__(self) -> None:
        self.turns: Counter[str] = Counter()
        self.errors: list[BaseException] = []
        self.ending = threading.Event()
        self._threads: list[threading.Thread] = []

    def add(self, name: str, turn: Callable[[random.Random], object], *, times: int = 1, pause_s: float = 0.0) -> None:
        """Run `turn` on as many threads."""
        for number in range(times):
            generator = random.Random(f"{name}-{number}")
            self._threads.append(
                threading.Thread(target=self._run, args=(f"{name}-{number}", turn, generator, pause_s), name=name)
            )

    def _run(
        self, name: str, turn: Callable[[random.Random], object], generator: random.Random, pause_s: float
    ) -> None:
        try:
            while not self.ending.wait(pause_s):
                turn(generator)
                self.turns[name] += 1  # a key of this thread alone
        except BaseException as error:
            self.errors.append(error)
            raise

    def rage(self, seconds: float) -> None:
        """Until this has passed, or one of them has raised."""
        for thread in self._threads:
            thread.start()
        eventually(lambda: bool(self.errors), within_s=seconds)
        self.ending.set()
        for thread in self._threads:
            thread.join(WAIT_S)
        assert not [thread.name for thread in self._threads if thread.is_alive()]


def test_everything_at_once_loses_nothing_and_answers_nothing_wrongly(test_ca: Authority) -> None:
    before = Census()
    federation = Federation(
        test_ca,
        redirect_deadline_s=0.1,
        stat_timeout_s=0.15,
        stat_concurrency_limit=SLOTS,
        probe_interval_s=0.1,
        slow_stat_s=0.05,
        presence_ttl_s=0.05,
        absence_ttl_s=0.05,
        failure_ttl_s=0.01,
        presence_capacity=16,
        stat_threads=12,
        cache_sort_method="adaptive",
    )
    with federation:
        for name in ("holder", "sick-1", "sick-2"):
            federation.origin(name, "/n")
        federation.origin("lacking", "/n").behave("status", code=404)
        federation.origin("comes-and-goes", "/n")
        federation.origin("other", "/m")
        for name in ("absent-1", "absent-2"):
            federation.origin(name, "/absent").behave("status", code=404)
        for number in range(4):
            federation.cache(f"cache-{number}", "/n", "/m")
        wrong: list[object] = []

        def path(generator: random.Random) -> str:
            return f"/n/{generator.randrange(HOT_PATHS)}" if generator.random() < 0.7 else federation.fresh("/n")

        def read(generator: random.Random) -> None:
            token = generator.choice([None, "a", "b"])
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            if generator.random() < 0.1:
                headers["X-Pelican-Timeout"] = f"{generator.randrange(1, 30)}ms"
            told = federation.ask(path(generator), endpoint=generator.choice([ORIGIN, OBJECT]), headers=headers)
            if told.status != 307 or "absent-1" in told.servers:
                wrong.append(told)

        def read_absent(generator: random.Random) -> None:
            told = federation.ask(f"/absent/{generator.randrange(HOT_PATHS)}")
            if told.status not in {307, 404} or (told.status == 307 and not told.first.startswith("absent-")):
                wrong.append(told)

        def write(generator: random.Random) -> None:
            told = federation.ask(path(generator), "PUT")
            if told.status != 307:
                wrong.append(told)

        def misbehave(generator: random.Random) -> None:
            name = generator.choice(["sick-1", "sick-2", "cache-0", "comes-and-goes"])
            fault, arguments = generator.choice(FAULTS)
            federation.servers[name].behave(fault, **arguments)

        def come_and_go(_: random.Random) -> None:
            federation.retire("comes-and-goes")
            federation.advertise("comes-and-goes")

        def look(_: random.Random) -> None:
            statistics = federation.director.engine.statistics()
            if statistics.in_flight < 0:
                wrong.append(statistics)
            states = federation.director.engine.servers()
            wrong.extend(one for one in states if not 0 <= one.slots_in_use <= SLOTS or one.waiting < 0)
            lanes = federation.director.engine.lanes.all.statistics()
            if not 0 <= lanes.in_use <= lanes.permits:
                wrong.append(lanes)

        storm = Storm()
        storm.add("read", read, times=10)
        storm.add("read-absent", read_absent)
        storm.add("write", write, pause_s=0.005)
        storm.add("misbehave", misbehave, pause_s=0.02)
        storm.add("come-and-go", come_and_go, pause_s=0.02)
        storm.add("look", look, times=2, pause_s=0.005)
        with switching_often():
            storm.rage(SECONDS)
        assert not storm.errors
        assert not wrong, wrong[:3]
        assert len(storm.turns) == 16, storm.turns

        engine = federation.director.engine
        assert eventually(lambda: engine.statistics().in_flight == 0), engine.statistics()
        assert engine.lanes.all.statistics().in_use == 0
        assert [state for state in engine.servers() if state.slots_in_use or state.waiting] == []
        peaks = {name: federation.peak(name) for name in federation.servers}
        # What was under way at a server that left is being ended while the server, back already, is asked anew.
        assert peaks.pop("comes-and-goes") <= 2 * SLOTS
        assert max(peaks.values()) <= SLOTS, peaks

        for name in ("sick-1", "sick-2", "cache-0", "comes-and-goes"):
            federation.servers[name].behave("ok")
        assert eventually(lambda: "sick-1" in federation.ask(federation.fresh("/n")).servers)
        heads = {name: federation.heads(name) for name in ("holder", "sick-1", "sick-2", "comes-and-goes")}
        assert eventually(
            lambda: (
                federation.ask(federation.fresh("/n")).status == 307
                and all(federation.heads(name) > count for name, count in heads.items())
            )
        ), "not every server is used again"
        federation.close()
        assert Census().threads == frozenset()
    assert eventually(lambda: Census().files <= before.files), (before, Census())
