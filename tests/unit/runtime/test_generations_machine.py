"""Whatever requests and reloads do, in whatever order: a request finds open what it works with, and nothing is left.

A reload may fail before it has acquired anything, after that, or in being adopted; it may take until it is told to go
on, while others come; and requests may outlive any number of reloads.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from director_wsgi.limits.deadline import Deadline
from director_wsgi.runtime.generations import Busy, Generation, Generations, Holdings
from director_wsgi.runtime.leases import Leases

LONG_S = 10.0
WANTS = st.frozensets(st.sampled_from("abcd"), max_size=3)


def later() -> Deadline:
    return Deadline.after(LONG_S)


def passed() -> Deadline:
    return Deadline.after(-1)


class Broken(BaseException):
    """No Exception, like an interrupt."""


class Resource:
    def __init__(self) -> None:
        self.is_open = True
        self.closes = 0

    def close(self, _deadline: Deadline) -> None:
        self.is_open = False
        self.closes += 1


@dataclass(frozen=True)
class Value:
    """What a generation is made of."""

    wants: frozenset[str]
    resources: tuple[Resource, ...]

    def is_open(self) -> bool:
        return all(one.is_open for one in self.resources)


class Reload:
    """One on a thread of its own, that has acquired all and then waits until it is told how to end."""

    def __init__(self, wants: frozenset[str]) -> None:
        self.wants = wants
        self.begun = threading.Event()
        self.may_go_on = threading.Event()
        self.fails = False
        self.done: Future[Value] | None = None

    def hold_up(self) -> None:
        self.begun.set()
        assert self.may_go_on.wait(LONG_S)
        if self.fails:
            raise Broken


class GenerationsMachine(RuleBasedStateMachine):
    """The model: which generation is in force, and which requests are in which."""

    def __init__(self) -> None:
        super().__init__()
        self.leases = Leases()
        self.built: list[Resource] = []
        self.adopted: list[Value] = []
        self.inside: list[Generation[Value]] = []
        self.reload: Reload | None = None
        self.pool = ThreadPoolExecutor(4)

    @initialize(wants=WANTS)
    def start(self, wants: frozenset[str]) -> None:
        self.generations = Generations(self.leases, self.making(wants), deadline=later())
        self.current = self.generations.current
        self.number = 1

    def making(
        self,
        wants: frozenset[str],
        *,
        first: Callable[[], object] = lambda: None,
        then: Callable[[], object] = lambda: None,
    ) -> Callable[[Holdings], Value]:
        def make(holdings: Holdings) -> Value:
            first()
            resources = tuple(holdings.acquire(key, self.build, Resource.close) for key in sorted(wants))
            then()
            return Value(wants, resources)

        return make

    def build(self) -> Resource:
        self.built.append(Resource())
        return self.built[-1]

    def adopt(self, value: Value) -> None:
        assert value.is_open()
        self.adopted.append(value)

    def is_replaceable(self) -> bool:
        return self.reload is None

    # -- requests

    @rule()
    def enter(self) -> None:
        generation = self.generations.enter()
        assert generation is self.current
        self.inside.append(generation)

    @precondition(lambda self: self.inside)
    @rule(which=st.integers(0, 99))
    def leave(self, which: int) -> None:
        self.inside.pop(which % len(self.inside)).leave()

    @precondition(lambda self: len(self.inside) > 1)
    @rule()
    def all_leave_at_once(self) -> None:
        leaving, self.inside = self.inside, []
        for done in [self.pool.submit(one.leave) for one in leaving]:
            done.result(LONG_S)

    # -- reloads

    def replaced(self, value: Value) -> None:
        """It is in force, and what both needed has been kept."""
        before, self.current = self.current, self.generations.current
        self.number += 1
        assert self.current.value is value
        assert self.current.number == self.number
        assert self.adopted.pop() is value
        assert not self.adopted
        for key in value.wants & before.value.wants:
            assert self.of(value, key) is self.of(before.value, key)

    @staticmethod
    def of(value: Value, key: str) -> Resource:
        return value.resources[sorted(value.wants).index(key)]

    @rule(wants=WANTS)
    def replace(self, wants: frozenset[str]) -> None:
        if self.is_replaceable():
            self.replaced(self.generations.replace(self.making(wants), adopt=self.adopt, deadline=later()))
        else:
            with pytest.raises(Busy):
                self.generations.replace(self.making(wants), adopt=self.adopt, deadline=passed())

    @rule(wants=WANTS, where=st.sampled_from(["before", "after", "in adopting"]))
    def replace_by_what_fails(self, wants: frozenset[str], where: str) -> None:
        if not self.is_replaceable():
            return

        def fail() -> None:
            raise Broken

        def adopt(value: Value) -> None:
            self.adopt(value)
            if where == "in adopting" and len(self.adopted) == 1:
                fail()

        make = {
            "before": self.making(wants, first=fail),
            "after": self.making(wants, then=fail),
            "in adopting": self.making(wants),
        }[where]
        with pytest.raises(Broken):
            self.generations.replace(make, adopt=adopt, deadline=later())
        assert self.generations.current is self.current
        if where == "in adopting":
            assert self.adopted.pop() is self.current.value
            assert self.adopted.pop().wants == wants
        assert not self.adopted

    @precondition(lambda self: self.is_replaceable())
    @rule(wants=WANTS)
    def begin_to_replace(self, wants: frozenset[str]) -> None:
        self.reload = one = Reload(wants)
        one.done = self.pool.submit(
            self.generations.replace, self.making(wants, then=one.hold_up), adopt=self.adopt, deadline=later()
        )
        assert one.begun.wait(LONG_S)
        assert self.generations.current is self.current

    @precondition(lambda self: self.reload is not None)
    @rule(fails=st.booleans(), next_wants=st.none() | WANTS)
    def end_to_replace(self, fails: bool, next_wants: frozenset[str] | None) -> None:
        """Perhaps with another reload that has waited for it."""
        one, self.reload = self.reload, None
        assert one is not None
        assert one.done is not None
        waiting = None
        if next_wants is not None:
            waiting = self.pool.submit(
                self.generations.replace, self.making(next_wants), adopt=self.adopt, deadline=later()
            )
        one.fails = fails
        one.may_go_on.set()
        error = one.done.exception(LONG_S)
        assert isinstance(error, Broken) if fails else error is None
        last = None if waiting is None else waiting.result(LONG_S)
        if not fails and last is not None:  # both, one after the other
            assert [value is last for value in self.adopted] == [False, True]
            del self.adopted[0]
            self.number += 1
        if last is not None:
            self.current = self.generations.current if not fails else self.current
            self.replaced(last)
        elif not fails:
            self.replaced(one.done.result())

    # -- laws

    def used(self) -> list[Generation[Value]]:
        """Generations that hold something: those with requests, and the one in force."""
        return [*self.inside, self.current]

    def settled(self) -> int:
        """Resources that live once those that nobody holds have ended."""
        deadline = later()
        while self.leases.statistics().retiring:
            assert not deadline.has_passed()
            threading.Event().wait(0.0005)
        return self.leases.statistics().live

    @invariant()
    def what_is_used_is_open(self) -> None:
        for generation in self.used():
            assert generation.value.is_open()

    @invariant()
    def what_is_not_used_is_closed_once(self) -> None:
        live = {id(resource) for generation in self.used() for resource in generation.value.resources}
        if self.reload is not None:
            assert self.settled() >= len(live)
        else:
            assert self.settled() == len(live)
            assert {id(one) for one in self.built if one.is_open} == live
        assert all(one.closes == (not one.is_open) for one in self.built)

    @invariant()
    def what_lingers_has_requests(self) -> None:
        assert self.generations.lingering == len({id(one) for one in self.inside if one is not self.current})

    def teardown(self) -> None:
        if self.reload is not None:
            self.reload.fails = True
            self.reload.may_go_on.set()
            assert self.reload.done is not None
            self.reload.done.exception(LONG_S)
        for generation in self.inside:
            generation.leave()
        self.pool.shutdown()
        if hasattr(self, "current"):
            assert self.settled() == len(self.current.value.resources)  # without a word from the leases' owner
        assert self.leases.close(later())
        assert all(one.closes == 1 for one in self.built)


GenerationsMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestGenerations = GenerationsMachine.TestCase
