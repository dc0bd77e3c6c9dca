"""Whatever holders do, in whatever order: what is held is open, and everything built is closed once.

Builds may fail, fail half-way, acquire something themselves, or take until they are told to go on, with others waiting
for them; ends may raise, let go of something themselves, or hang.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from director_wsgi.limits.deadline import Deadline
from director_wsgi.runtime.leases import MAX_REAPERS, Lease, LeaseError, Leases

LONG_S = 10.0
REAPER = "director-reaper"
KEYS = st.sampled_from("abc")


def later() -> Deadline:
    return Deadline.after(LONG_S)


def passed() -> Deadline:
    return Deadline.after(-1)


class Broken(Exception):
    pass


class Interrupt(BaseException):
    """No Exception, like an interrupt."""


class Thing:
    """Something that lives, and writes down how it ends."""

    def __init__(self, ends: str) -> None:
        self.ends = ends
        self.inner: Lease[Thing] | None = None
        self.closes: list[str] = []  # names of the threads that did
        self.was_locked = False
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.ended = threading.Event()
        if ends != "hangs":
            self.may_end.set()


class Workshop:
    """Builds things, closes them, and knows them all."""

    def __init__(self, leases: Leases) -> None:
        self.leases = leases
        self.things: list[Thing] = []
        self.parts = 0  # of builds that failed half-way, and have not been taken back

    def free(self) -> bool:
        """Whether nobody holds the leases' lock for good; others hold it for microseconds."""
        if not self.leases._lock.acquire(timeout=LONG_S):
            return False
        self.leases._lock.release()
        return True

    def building(self, ends: str) -> Callable[[], Thing]:
        def build() -> Thing:
            assert self.free()
            self.things.append(Thing(ends))
            return self.things[-1]

        return build

    def build_half(self) -> Thing:
        self.parts += 1
        try:
            raise Broken
        finally:
            self.parts -= 1

    def close(self, thing: Thing, _deadline: Deadline) -> None:
        thing.closes.append(threading.current_thread().name)
        thing.was_locked = not self.free()
        thing.begun.set()
        try:
            if thing.inner is not None:
                thing.inner.release()
            assert thing.may_end.wait(LONG_S)
            if thing.ends == "raises":
                raise Broken
            if thing.ends == "is interrupted":
                raise Interrupt
        finally:
            thing.ended.set()


ENDS = st.sampled_from(["well", "well", "raises", "is interrupted", "hangs"])


class Building:
    """A build on a thread of its own, that takes until it is told how to end, and others that wait for it."""

    def __init__(self, key: str, workshop: Workshop, ends: str) -> None:
        self.key = key
        self.begun = threading.Event()
        self.may_go_on = threading.Event()
        self.fails = False
        self._make = workshop.building(ends)

    def __call__(self) -> Thing:
        self.begun.set()
        assert self.may_go_on.wait(LONG_S)
        if self.fails:
            raise Broken
        return self._make()


class LeasesMachine(RuleBasedStateMachine):
    """The model: who holds what."""

    def __init__(self) -> None:
        super().__init__()
        self.leases = Leases()
        self.workshop = Workshop(self.leases)
        self.held: dict[str, list[Lease[Thing]]] = {}
        self.let_go: list[Lease[Thing]] = []
        self.is_closed = False
        self.pool = ThreadPoolExecutor(8)
        self.building: Building | None = None
        self.waiting: list[Future[Lease[Thing]]] = []

    # -- what holders do

    def _is_free(self, key: str) -> bool:
        return self.building is None or self.building.key != key

    def _acquire(self, key: str, build: Callable[[], Thing]) -> Lease[Thing]:
        return self.leases.acquire(key, build, self.workshop.close, deadline=passed())

    def _note(self, key: str, lease: Lease[Thing], built_before: int) -> None:
        """What is held is handed out; else what was built for it in this moment."""
        holders = self.held.setdefault(key, [])
        if holders:
            assert lease.value is holders[0].value
            assert len(self.workshop.things) == built_before
        else:
            assert lease.value is self.workshop.things[-1]
            assert len(self.workshop.things) == built_before + 1
        assert not lease.value.begun.is_set()
        holders.append(lease)

    @rule(key=KEYS, ends=ENDS)
    def acquire(self, key: str, ends: str) -> None:
        before = len(self.workshop.things)
        if self.is_closed or not self._is_free(key):
            with pytest.raises(LeaseError):
                self._acquire(key, self.workshop.building(ends))
            assert len(self.workshop.things) == before
        else:
            self._note(key, self._acquire(key, self.workshop.building(ends)), before)

    @rule(key=KEYS, error=st.sampled_from([Broken, Interrupt, "half-way"]))
    def acquire_what_cannot_be_built(self, key: str, error: Any) -> None:
        def fail() -> Thing:
            raise error

        if self.is_closed or not self._is_free(key) or self.held.get(key):
            return
        with pytest.raises(Broken if error == "half-way" else error):
            self._acquire(key, self.workshop.build_half if error == "half-way" else fail)
        assert not self.workshop.parts

    @rule(key=KEYS, ends=ENDS)
    def acquire_what_needs_another(self, key: str, ends: str) -> None:
        """A build acquires a thing of another key, and its end lets go of that."""
        inner_key = chr(ord(key) + 10)
        if self.is_closed or not self._is_free(key) or self.held.get(key):
            return

        def build() -> Thing:
            inner = self._acquire(inner_key, self.workshop.building("well"))
            thing = self.workshop.building(ends)()
            thing.inner = inner
            return thing

        lease = self._acquire(key, build)
        self.held.setdefault(key, []).append(lease)

    def _held(self, key: str, which: int) -> Lease[Thing] | None:
        holders = self.held.get(key)
        return holders.pop(which % len(holders)) if holders else None

    @rule(key=KEYS, which=st.integers(0, 9), times=st.integers(1, 3))
    def release(self, key: str, which: int, times: int) -> None:
        lease = self._held(key, which)
        if lease is not None:
            for _ in range(times):
                lease.release()
            self.let_go.append(lease)

    @rule(key=KEYS, which=st.integers(0, 9))
    def release_on_several_threads_at_once(self, key: str, which: int) -> None:
        lease = self._held(key, which)
        if lease is not None:
            for done in [self.pool.submit(lease.release) for _ in range(3)]:
                done.result(LONG_S)
            self.let_go.append(lease)

    @precondition(lambda self: self.let_go)
    @rule(which=st.integers(0, 99))
    def release_long_after(self, which: int) -> None:
        self.let_go[which % len(self.let_go)].release()

    # -- a build that takes its time

    @precondition(lambda self: self.building is None and not self.is_closed)
    @rule(key=KEYS, ends=ENDS, waiters=st.integers(0, 3))
    def begin_to_build(self, key: str, ends: str, waiters: int) -> None:
        if self.held.get(key):
            return
        self.building = building = Building(key, self.workshop, ends)
        acquire = self.leases.acquire
        self.waiting = [self.pool.submit(acquire, key, building, self.workshop.close, deadline=later())]
        assert building.begun.wait(LONG_S)
        again = self.workshop.building("well")
        self.waiting += [
            self.pool.submit(acquire, key, again, self.workshop.close, deadline=later()) for _ in range(waiters)
        ]

    @precondition(lambda self: self.building is not None)
    @rule(fails=st.booleans())
    def end_to_build(self, fails: bool) -> None:
        building, self.building = self.building, None
        assert building is not None
        before = len(self.workshop.things)
        building.fails = fails
        building.may_go_on.set()
        first, *others = self.waiting
        error = first.exception(LONG_S)
        if fails:
            assert isinstance(error, Broken)
        elif self.is_closed:
            assert isinstance(error, LeaseError)
        got = [one.result() for one in [first, *others] if one.exception(LONG_S) is None]
        if self.is_closed:
            assert not got
            return
        assert len(got) == len(others) + (not fails)
        assert len(self.workshop.things) - before == bool(got)
        assert len({id(lease.value) for lease in got}) <= 1
        self.held.setdefault(building.key, []).extend(got)

    # -- ends

    @precondition(lambda self: self.hanging())
    @rule(which=st.integers(0, 99))
    def let_one_end(self, which: int) -> None:
        hanging = self.hanging()
        hanging[which % len(hanging)].may_end.set()

    @precondition(lambda self: not self.is_closed and (self.building is not None or len(self.workshop.things) > 2))
    @rule()
    def close_all(self) -> None:
        self.leases.close(passed())
        self.is_closed = True
        for holders in self.held.values():
            self.let_go += holders
            holders.clear()

    # -- laws

    def living(self) -> set[int]:
        """Things that somebody holds, be it another thing that lives."""
        held = [holders[0].value for holders in self.held.values() if holders]
        inner = [thing.inner.value for thing in held if thing.inner is not None]
        if not self.is_closed:  # what hangs in its end has let go already; what waits for a reaper has not
            inner += [one.inner.value for one in self.workshop.things if one.inner and not one.begun.is_set()]
        return {id(thing) for thing in [*held, *inner]}

    def hanging(self) -> list[Thing]:
        """Things whose end has to come, and hangs or will."""
        return [one for one in self.over() if not one.may_end.is_set()]

    def over(self) -> list[Thing]:
        living = self.living()
        return [one for one in self.workshop.things if id(one) not in living]

    def settle(self) -> None:
        """Wait for the ends that have to come by now."""
        if len(self.hanging()) < MAX_REAPERS:
            for one in self.over():
                assert (one.ended if one.may_end.is_set() else one.begun).wait(LONG_S)
        self.until(lambda: sum(self.is_ending(one) for one in self.over()) <= MAX_REAPERS)
        if self.building is None and len(self.hanging()) < MAX_REAPERS:
            self.until(lambda: self.leases.statistics().retiring == len(self.hanging()))

    @staticmethod
    def is_ending(thing: Thing) -> bool:
        return thing.begun.is_set() and not thing.ended.is_set()

    @staticmethod
    def until(condition: Callable[[], bool]) -> None:
        deadline = later()
        while not condition():
            assert not deadline.has_passed()
            threading.Event().wait(0.0005)

    @invariant()
    def what_is_held_is_open(self) -> None:
        living = self.living()
        for thing in self.workshop.things:
            if id(thing) in living:
                assert not thing.closes

    @invariant()
    def what_nobody_holds_ends_once_on_a_reaper_and_with_no_lock_held(self) -> None:
        self.settle()
        for thing in self.workshop.things:
            assert len(thing.closes) <= 1
            assert set(thing.closes) <= {REAPER}
            assert not thing.was_locked

    @invariant()
    def the_books_are_right(self) -> None:
        self.settle()
        told = self.leases.statistics()
        assert told.builds == len(self.workshop.things)
        assert told.live == len(self.living())
        if len(self.hanging()) < MAX_REAPERS:
            ended = sum(one.ended.is_set() for one in self.workshop.things)
            assert told.builds == told.live + told.retiring + ended

    def teardown(self) -> None:
        if self.building is not None:
            self.building.may_go_on.set()
            for one in self.waiting:
                one.exception(LONG_S)
        self.pool.shutdown()
        for thing in self.workshop.things:
            thing.may_end.set()
        assert self.leases.close(later())
        assert [one for one in self.workshop.things if len(one.closes) != 1] == []
        told = self.leases.statistics()
        assert (told.live, told.retiring) == (0, 0)
        self.until(lambda: not any(thread.name == REAPER for thread in threading.enumerate()))


@contextmanager
def quiet() -> Iterator[None]:
    """Ends that raise are logged, as they should be; hypothesis would show them all."""
    logger = logging.getLogger("director_wsgi.runtime.leases")
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = False


LeasesMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


class TestLeases(LeasesMachine.TestCase):  # type: ignore[misc,name-defined]
    def runTest(self) -> None:
        with quiet():
            super().runTest()
