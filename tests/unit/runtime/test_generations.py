import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from director_wsgi.limits.deadline import Deadline
from director_wsgi.runtime.generations import Busy, Generations, Holdings
from director_wsgi.runtime.leases import LeaseError, Leases

LONG_S = 30.0


def soon() -> Deadline:
    return Deadline.after(LONG_S)


class Resource:
    """Is open until it is closed; used by asking."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_open = True

    def close(self, _deadline: Deadline) -> None:
        self.is_open = False


class Workshop:
    """Makes generations whose value is one resource, and counts."""

    def __init__(self) -> None:
        self.leases = Leases()
        self.built: list[Resource] = []
        self.adopted: list[str] = []

    def making(self, name: str, *, then: Callable[[], object] = lambda: None) -> Callable[[Holdings], Resource]:
        def make(holdings: Holdings) -> Resource:
            resource = holdings.acquire(name, lambda: self.build(name), Resource.close)
            then()
            return resource

        return make

    def build(self, name: str) -> Resource:
        self.built.append(Resource(name))
        return self.built[-1]

    def adopt(self, resource: Resource) -> None:
        assert resource.is_open
        self.adopted.append(resource.name)

    def generations(self, name: str = "a") -> Generations[Resource]:
        return Generations(self.leases, self.making(name), deadline=soon())

    def replace(self, generations: Generations[Resource], name: str) -> Resource:
        return generations.replace(self.making(name), adopt=self.adopt, deadline=soon())


class Broken(BaseException):
    """Not an Exception: as an interrupt."""


def fail() -> None:
    raise Broken


@pytest.fixture
def workshop():
    workshop = Workshop()
    yield workshop
    assert workshop.leases.close(soon())


def settled(workshop: Workshop) -> int:
    """Resources alive once everything that is retired has ended."""
    while workshop.leases.statistics().retiring:
        threading.Event().wait(0.001)
    return workshop.leases.statistics().live


def test_what_both_generations_need_is_built_once_and_stays_open(workshop: Workshop) -> None:
    generations = workshop.generations()
    for _ in range(5):
        assert workshop.replace(generations, "a").is_open

    assert len(workshop.built) == 1
    assert settled(workshop) == 1
    assert generations.current.number == 6


def test_fifty_reloads_leave_one_generation(workshop: Workshop) -> None:
    generations = workshop.generations()
    for number in range(50):
        workshop.replace(generations, f"resource {number}")

    assert settled(workshop) == 1
    assert [resource.is_open for resource in workshop.built] == [False] * 50 + [True]
    assert generations.lingering == 0


def test_a_generation_that_cannot_be_made_changes_nothing_and_leaves_nothing(workshop: Workshop) -> None:
    generations = workshop.generations()
    before = generations.current
    with pytest.raises(Broken):
        generations.replace(workshop.making("b", then=fail), adopt=workshop.adopt, deadline=soon())

    assert generations.current is before
    assert before.value.is_open
    assert settled(workshop) == 1
    assert not workshop.adopted


def test_a_failure_after_a_shared_resource_was_acquired_does_not_take_it_from_the_living(workshop: Workshop) -> None:
    generations = workshop.generations()
    for _ in range(3):
        with pytest.raises(Broken):
            generations.replace(workshop.making("a", then=fail), adopt=workshop.adopt, deadline=soon())

    assert settled(workshop) == 1
    assert generations.current.value.is_open
    assert workshop.replace(generations, "a").is_open


def test_a_failure_before_anything_was_acquired_gives_back_nobody_elses(workshop: Workshop) -> None:
    generations = workshop.generations()
    with pytest.raises(Broken):
        generations.replace(lambda _holdings: fail(), adopt=workshop.adopt, deadline=soon())  # type: ignore[arg-type,return-value]

    assert settled(workshop) == 1
    assert generations.current.value.is_open


def test_a_first_generation_that_cannot_be_made_leaves_nothing(workshop: Workshop) -> None:
    with pytest.raises(Broken):
        Generations(workshop.leases, workshop.making("a", then=fail), deadline=soon())

    assert settled(workshop) == 0


def test_a_request_keeps_the_generation_in_which_it_began(workshop: Workshop) -> None:
    generations = workshop.generations()
    entered = [generations.enter(), generations.enter()]
    workshop.replace(generations, "b")

    assert generations.lingering == 1
    assert generations.enter().value.name == "b"
    entered[0].leave()
    assert entered[1].value.is_open
    entered[1].leave()
    assert settled(workshop) == 1
    assert not workshop.built[0].is_open
    assert generations.lingering == 0


def test_what_cannot_be_adopted_is_taken_back(workshop: Workshop) -> None:
    generations = workshop.generations()

    def adopt(resource: Resource) -> None:
        workshop.adopt(resource)
        if resource.name == "b":
            raise Broken

    with pytest.raises(Broken):
        generations.replace(workshop.making("b"), adopt=adopt, deadline=soon())

    assert workshop.adopted == ["b", "a"]
    assert generations.current.value.name == "a"
    assert settled(workshop) == 1


def test_a_second_reload_waits_for_the_first_and_only_until_its_deadline(workshop: Workshop) -> None:
    generations = workshop.generations()
    has_begun, may_end = threading.Event(), threading.Event()

    def wait() -> None:
        has_begun.set()
        assert may_end.wait(LONG_S)

    first = threading.Thread(
        target=lambda: generations.replace(workshop.making("b", then=wait), adopt=workshop.adopt, deadline=soon())
    )
    first.start()
    assert has_begun.wait(LONG_S)
    with pytest.raises(Busy):
        generations.replace(workshop.making("c"), adopt=workshop.adopt, deadline=Deadline.after(0.0))
    entered = generations.enter()  # which nobody has to wait for
    assert entered.value.name == "a"
    entered.leave()
    may_end.set()
    first.join(LONG_S)

    assert generations.current.value.name == "b"
    assert workshop.replace(generations, "c").is_open
    assert settled(workshop) == 1


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads take turns far more often than usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("restless")
def test_requests_that_race_with_reloads_find_what_they_hold_open(workshop: Workshop) -> None:
    generations = workshop.generations()
    found_closed: list[str] = []
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            generation = generations.enter()
            if not generation.value.is_open:
                found_closed.append(generation.value.name)
            generation.leave()

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    for number in range(200):
        workshop.replace(generations, f"resource {number}")
    is_over.set()
    for asker in askers:
        asker.join(LONG_S)

    assert not found_closed
    assert settled(workshop) == 1


def test_nothing_is_replaced_once_the_leases_are_closed(workshop: Workshop) -> None:
    generations = workshop.generations()
    assert workshop.leases.close(soon())
    assert not workshop.built[0].is_open

    with pytest.raises(LeaseError):
        generations.replace(workshop.making("b"), adopt=workshop.adopt, deadline=soon())
    assert generations.current.number == 1
    generations.enter().leave()  # whoever comes all the same is let in
    assert len(workshop.built) == 1


def test_several_who_let_go_of_a_generation_at_once_do_not_disturb_each_other() -> None:
    leases = Leases()
    holdings = Holdings(leases, soon())
    for number in range(64):
        holdings.acquire(number, lambda: Resource("one"), Resource.close)
    failed: list[BaseException] = []
    start = threading.Barrier(4)

    def release() -> None:
        start.wait(LONG_S)
        try:
            holdings.release()
        except BaseException as error:  # noqa: BLE001, for the assertion below
            failed.append(error)

    threads = [threading.Thread(target=release) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)

    assert not failed
    assert leases.close(soon())
    assert leases.statistics().live == 0
