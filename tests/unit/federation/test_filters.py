"""Laws of filters: who is not to be used, why, and until when. Protocol.md 2.6."""

import threading
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from director_wsgi.federation import filters as module
from director_wsgi.federation.directory import Directory
from director_wsgi.federation.downtimes import OPEN_END, Downtime
from director_wsgi.federation.filters import FilterReason, Filters
from director_wsgi.federation.models import ServerAd
from tests.fakes import FakeClock
from tests.make import origin

NOW = 1_767_225_600.0
MS = int(NOW * 1000)
SERVER, SHUTDOWN, REGISTRY = FilterReason.SERVER, FilterReason.SHUTDOWN, FilterReason.REGISTRY


@pytest.fixture
def filters(wall: FakeClock) -> Filters:
    return Filters(wall=wall)


def downtime(uuid: str = "d", *, start_s: float = -60, end_s: float | None = 60, **more: object) -> Downtime:
    end = OPEN_END if end_s is None else MS + int(end_s * 1000)
    return Downtime(id=uuid, starts_at_ms=MS + int(start_s * 1000), ends_at_ms=end, **more)  # type: ignore[arg-type]


def said(name: str, *downtimes: Downtime, status: str = "ok", **more: object) -> ServerAd:
    values: dict[str, object] = {"server_id": f"id-{name}", "registry_prefix": f"/origins/{name}", **more}
    return origin(name, "/x", downtimes=downtimes, status=status, **values)


def test_nobody_is_filtered_at_first(filters: Filters) -> None:
    assert filters.names() == frozenset()
    assert filters.reason("O") is None
    assert filters.downtimes() == ()


def test_who_the_configuration_names_is_filtered_whatever_it_says(wall: FakeClock) -> None:
    filters = Filters(permanent=["O"], wall=wall)
    filters.server_said(said("O", downtime(), status="shutting down"))
    filters.registry_said([downtime("r", server_name="O")])
    filters.server_said(said("O"))
    filters.retain(())
    filters.retain(())
    assert filters.reason("O") is FilterReason.PERMANENT
    assert filters.names() == {"O"}


def test_a_server_in_its_own_downtime_is_filtered_until_an_advertisement_without(filters: Filters) -> None:
    filters.server_said(said("O", downtime(end_s=None)))
    assert (filters.names(), filters.reason("O")) == ({"O"}, SERVER)
    filters.server_said(said("O"))
    assert (filters.names(), filters.reason("O")) == (frozenset(), None)


def test_a_downtime_begins_and_ends_by_itself(filters: Filters, wall: FakeClock) -> None:
    filters.server_said(said("O", downtime(start_s=10, end_s=20)))
    seen = []
    for _ in range(4):
        seen.append(filters.names())
        wall.advance(9.9)
    assert seen == [frozenset(), frozenset(), {"O"}, frozenset()]


def test_a_clock_that_is_set_back_is_believed(filters: Filters, wall: FakeClock) -> None:
    filters.server_said(said("O", downtime(start_s=10, end_s=20)))
    wall.advance(15)
    assert filters.names() == {"O"}
    wall.advance(-15)
    assert filters.names() == frozenset()


@pytest.mark.parametrize("status", ["ok", "warning", "critical", "anything"])
def test_who_shuts_down_is_filtered_until_it_says_something_else(filters: Filters, status: str) -> None:
    filters.server_said(said("O", status="shutting down"))
    assert filters.reason("O") is SHUTDOWN
    filters.server_said(said("O", status=""))
    assert filters.reason("O") is SHUTDOWN
    filters.server_said(said("O", status=status))
    assert filters.reason("O") is None


def test_the_first_reason_stays_for_as_long_as_it_applies(filters: Filters) -> None:
    filters.registry_said([downtime("r", server_id="id-O")])
    filters.server_said(said("O"))
    assert filters.reason("O") is REGISTRY
    filters.server_said(said("O", downtime(), status="shutting down"))
    assert filters.reason("O") is REGISTRY
    filters.registry_said([])
    assert filters.reason("O") is SERVER  # at once, not at the next advertisement
    filters.server_said(said("O", status="shutting down"))
    assert filters.reason("O") is SHUTDOWN


class TestServersOfOneName:
    """Such as the origin and the cache of one site."""

    def test_neither_ends_what_the_other_said(self, filters: Filters) -> None:
        origin_said, cache_said = said("O", downtime(), status="shutting down"), said("O", registry_prefix="/caches/O")
        for ad in (origin_said, cache_said, origin_said, cache_said):
            filters.server_said(ad)
            assert filters.names() == {"O"}
        filters.server_said(said("O"))
        assert filters.names() == frozenset()

    def test_what_the_one_said_ends_with_it(self, filters: Filters) -> None:
        filters.server_said(said("O", status="shutting down"))
        filters.server_said(said("O", registry_prefix="/caches/O"))
        for _ in range(2):
            filters.retain({"/caches/O"})
        assert filters.names() == frozenset()

    def test_a_downtime_of_the_registry_is_theirs_together(self, filters: Filters) -> None:
        filters.server_said(said("O"))
        filters.server_said(said("O", registry_prefix="/caches/O"))
        filters.registry_said([downtime(server_id="id-O")])
        assert [one.server_name for one in filters.downtimes()] == ["O"]
        for _ in range(2):
            filters.retain({"/caches/O"})
        assert filters.names() == {"O"}


class TestRegistry:
    @pytest.mark.parametrize(
        "more",
        [
            {"server_id": "id-O", "server_name": "a name of old"},
            {"server_name": "/origins/O"},
            {"server_name": "O"},
            {"server_id": "nobody's", "server_name": "O"},
        ],
    )
    @pytest.mark.parametrize("is_first", [True, False])
    def test_whose_a_downtime_is(self, filters: Filters, more: dict[str, str], is_first: bool) -> None:
        """By identifier; without one by registry prefix; by name if neither is known. Whoever speaks first."""
        if is_first:
            filters.server_said(said("O"))
        filters.registry_said([downtime(**more)])
        if not is_first:
            filters.server_said(said("O"))
        assert filters.names() == {"O"}
        assert filters.reason("O") is REGISTRY
        assert [one.server_name for one in filters.downtimes("O")] == ["O"]

    def test_a_list_replaces_the_one_before(self, filters: Filters) -> None:
        filters.registry_said([downtime("a", server_name="A"), downtime("b", server_name="B")])
        filters.registry_said([downtime("b", server_name="B"), downtime("c", server_name="C", start_s=10)])
        assert filters.names() == {"B"}

    def test_of_a_downtime_that_both_announce_the_copy_of_the_registry_counts(self, filters: Filters) -> None:
        filters.server_said(said("O", downtime("d", description="mine")))
        filters.registry_said([downtime("d", server_id="id-O", start_s=10, description="theirs")])
        assert filters.names() == frozenset()
        assert [one.description for one in filters.downtimes("O")] == ["theirs"]
        filters.registry_said([downtime("d", server_id="id-O")])
        assert filters.reason("O") is REGISTRY

    def test_a_downtime_of_another_server_with_the_same_id_counts_for_nothing(self, filters: Filters) -> None:
        filters.registry_said([downtime("d", server_name="P", start_s=10)])
        filters.server_said(said("O", downtime("d")))
        assert filters.names() == {"O"}

    def test_downtimes_without_an_id_are_never_taken_for_each_other(self, filters: Filters) -> None:
        filters.registry_said([downtime("", server_name="O", start_s=10)])
        filters.server_said(said("O", downtime("")))
        assert filters.reason("O") is SERVER

    def test_who_claims_the_identifier_of_another_takes_nothing_from_it(self, filters: Filters) -> None:
        filters.server_said(said("O"))
        filters.server_said(said("THIEF", server_id="id-O"))
        filters.registry_said([downtime(server_id="id-O", server_name="O")])
        assert filters.names() == {"O", "THIEF"}
        filters.server_said(said("THIEF"))
        assert filters.names() == {"O"}

    def test_an_identifier_that_is_a_name_or_a_prefix_takes_nothing_either(self, filters: Filters) -> None:
        filters.server_said(said("THIEF", server_id="O"))
        filters.server_said(said("OTHER", server_id="/origins/P"))
        filters.registry_said([downtime("a", server_name="O"), downtime("b", server_name="/origins/P")])
        assert filters.names() == {"O", "/origins/P"}

    def test_a_server_that_renames_itself_is_found_again(self, filters: Filters) -> None:
        filters.registry_said([downtime(server_id="id-O", server_name="O")])
        filters.server_said(said("O"))
        filters.server_said(said("NEW", server_id="id-O", registry_prefix="/origins/O"))
        assert filters.names() == {"NEW"}


class TestListings:
    def test_everything_announced_is_listed_by_name(self, filters: Filters) -> None:
        filters.server_said(said("B", downtime("b2", start_s=90, end_s=99)))
        filters.registry_said([downtime("a", server_name="A"), downtime("b1", server_id="id-B")])
        assert [one.id for one in filters.downtimes()] == ["a", "b2", "b1"]
        assert [one.id for one in filters.downtimes("B")] == ["b2", "b1"]
        assert filters.downtimes("C") == ()

    def test_what_is_announced_twice_is_listed_once(self, filters: Filters) -> None:
        filters.server_said(said("B", downtime("b"), downtime("b"), downtime(""), downtime("")))
        filters.registry_said([downtime("r", server_name="B")] * 2)
        assert [one.id for one in filters.downtimes()] == ["b", "", "r"]


class TestBounds:
    def test_who_is_missing_twice_in_a_row_is_forgotten(self, filters: Filters) -> None:
        filters.server_said(said("O", status="shutting down"))
        filters.retain(())  # its advertisement may be on its way from here to the directory
        assert filters.names() == {"O"}
        filters.server_said(said("O", status="shutting down"))
        filters.retain(())
        filters.retain({"/origins/O"})
        filters.retain(())
        assert filters.names() == {"O"}
        filters.retain(())
        assert filters.names() == frozenset()
        assert not filters._said
        assert not filters._by_id

    def test_no_more_servers_are_heard_than_there_is_room_for(
        self, filters: Filters, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(module, "MAX_SERVERS", 2)
        for name in ("A", "B", "C"):
            filters.server_said(said(name))
        filters.server_said(said("B", downtime()))
        filters.server_said(said("C", downtime()))
        assert filters.names() == {"B"}
        assert "C" in caplog.text

    def test_what_does_not_change_costs_nothing_and_is_the_same_object(
        self, filters: Filters, wall: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        filters.registry_said([downtime("r", server_id="id-P", server_name="P")])
        filters.server_said(said("O", downtime(start_s=-60, end_s=60)))
        before = filters.filtered()
        monkeypatch.setattr(filters, "_decided", pytest.fail)
        wall.advance(30)
        filters.server_said(said("O", downtime(start_s=-60, end_s=60)))
        filters.server_said(said("ANOTHER"))
        assert filters.filtered() is before

    def test_revisions_grow_with_every_change_and_only_then(self, filters: Filters, wall: FakeClock) -> None:
        revisions = [filters.filtered().revision]
        filters.server_said(said("O", downtime(start_s=1, end_s=2)))
        for _ in range(4):
            revisions.append(filters.filtered().revision)
            wall.advance(1)
        assert revisions == [0, 0, 1, 1, 2]


SERVERS = {"/origins/A": "A", "/origins/B": "B", "/caches/B": "B", "/origins/C": "C"}
prefixes = st.sampled_from(list(SERVERS))
names = st.sampled_from("ABC")
spans = st.tuples(st.sampled_from("defg"), st.integers(-5, 15), st.none() | st.integers(-3, 20))


@dataclass
class Model:
    """What was said, by registry prefix, and what follows from it by the letter of the rules."""

    said: dict[str, ServerAd] = field(default_factory=dict)
    is_shutting_down: dict[str, bool] = field(default_factory=dict)
    registry: list[Downtime] = field(default_factory=list)

    def names_of(self, one: Downtime) -> set[str]:
        found = {
            ad.name
            for prefix, ad in self.said.items()
            if (ad.server_id == one.server_id if one.server_id else prefix == one.server_name)
        }
        return found or {one.server_name}

    def reasons(self, name: str, now_s: float) -> set[FilterReason]:
        of_registry = [one for one in self.registry if name in self.names_of(one)]
        known = {one.id for one in of_registry}
        own = [one for ad in self.said.values() if ad.name == name for one in ad.downtimes if one.id not in known]
        found = set()
        if any(one.is_active(now_s) for one in own):
            found.add(SERVER)
        if any(self.is_shutting_down.get(prefix) for prefix, ad in self.said.items() if ad.name == name):
            found.add(SHUTDOWN)
        if any(one.is_active(now_s) for one in of_registry):
            found.add(REGISTRY)
        return found


class FiltersMachine(RuleBasedStateMachine):
    """Whatever is said in whatever order, and however time passes: the same as worked out anew from the letter."""

    def __init__(self) -> None:
        super().__init__()
        self.wall = FakeClock(NOW)
        self.filters = Filters(permanent=["A"], wall=self.wall)
        self.model = Model()
        self.held: dict[str, FilterReason] = {}

    @rule(
        prefix=prefixes,
        identifier=names,
        spans=st.lists(spans, max_size=3),
        status=st.sampled_from(["", "ok", "shutting down"]),
    )
    def an_advertisement(
        self, prefix: str, identifier: str, spans: list[tuple[str, int, int | None]], status: str
    ) -> None:
        downtimes = [downtime(uuid, start_s=start, end_s=end) for uuid, start, end in spans]
        ad = said(SERVERS[prefix], *downtimes, status=status, server_id=f"id-{identifier}", registry_prefix=prefix)
        self.filters.server_said(ad)
        self.model.said[prefix] = ad
        if status:
            self.model.is_shutting_down[prefix] = status == "shutting down"

    @rule(entries=st.lists(st.tuples(spans, names, st.sampled_from(["id", "prefix", "name"])), max_size=4))
    def a_poll(self, entries: list[tuple[tuple[str, int, int | None], str, str]]) -> None:
        told = []
        for (uuid, start, end), name, way in entries:
            owner = {
                "id": {"server_id": f"id-{name}", "server_name": name},
                "prefix": {"server_name": f"/origins/{name}"},
                "name": {"server_name": name},
            }[way]
            told.append(downtime(uuid, start_s=start, end_s=end, **owner))
        self.filters.registry_said(told)
        self.model.registry = told

    @rule(prefix=prefixes)
    def a_server_goes(self, prefix: str) -> None:
        kept = self.model.said.keys() - {prefix}
        self.filters.retain(kept)
        self.filters.retain(kept)
        self.model.said.pop(prefix, None)
        self.model.is_shutting_down.pop(prefix, None)

    @rule(seconds=st.integers(-3, 8))
    def time_passes(self, seconds: int) -> None:
        self.wall.advance(seconds)

    @invariant()
    def filters_are_what_follows_by_the_letter(self) -> None:
        for name in (*SERVERS.values(), *SERVERS):
            applying = self.model.reasons(name, self.wall()) | ({FilterReason.PERMANENT} if name == "A" else set())
            reason = self.filters.reason(name)
            assert (reason in applying) if applying else reason is None
            before = self.held.get(name)
            assert before not in applying or reason is before
            if reason is None:
                self.held.pop(name, None)
            else:
                self.held[name] = reason
            assert (name in self.filters.names()) == bool(applying)


TestFiltersMachine = FiltersMachine.TestCase
TestFiltersMachine.settings = settings(max_examples=60, stateful_step_count=15, deadline=None)


def test_a_directory_told_by_many_threads_at_once_ends_up_with_what_was_said_last(filters: Filters) -> None:
    """Each asks the filters and then tells the directory; the others do so in between."""
    directory = Directory(clock=FakeClock())

    def work(number: int) -> None:
        for turn in range(40):
            ad = said(f"O{number}", status="shutting down" if turn % 2 == number % 2 else "ok")
            filters.server_said(ad)
            directory.record(ad, 60, filters.filtered())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    entry = directory.snapshot().match("/x")
    assert entry is not None
    assert [source.server.name for source in entry.origins] == ["O0", "O2"]
    assert filters.names() == {"O1", "O3"}


def test_many_threads_may_tell_and_ask(filters: Filters) -> None:
    count = 4
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(30):
                filters.server_said(said(f"O{number}", *([downtime()] if turn % 2 else [])))
                filters.registry_said([downtime(server_id=f"id-O{number}")] if turn % 3 else [])
                filters.retain({f"/origins/O{other}" for other in range(count)})
                filters.names()
                filters.downtimes()
        except BaseException as error:  # noqa: BLE001, shown below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not failures
    filters.registry_said([])
    assert filters.names() == {f"O{number}" for number in range(count)}


def test_other_names_of_the_configuration_hold_at_once(wall: FakeClock) -> None:
    filters = Filters(permanent=["O", "P"], wall=wall)
    before = filters.filtered()
    filters.adopt(permanent=["P", "Q"])
    after = filters.filtered()
    assert (after.names, after.revision) == ({"P", "Q"}, before.revision + 1)
    assert [filters.reason(name) for name in "OPQ"] == [None, FilterReason.PERMANENT, FilterReason.PERMANENT]


def test_the_same_names_again_are_the_same_object_and_work_out_nothing(
    wall: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    filters = Filters(permanent=["O", "P"], wall=wall)
    before = filters.filtered()
    monkeypatch.setattr(filters, "_decided", None)
    filters.adopt(permanent=["P", "O", "P"])
    assert filters.filtered() is before


def test_what_servers_and_the_registry_said_outlives_the_names(filters: Filters) -> None:
    filters.server_said(said("O", downtime()))
    filters.registry_said([downtime("r", server_name="R")])
    assert filters.names() == {"O", "R"}
    for names in (["O", "R"], ["O"], []):
        filters.adopt(permanent=names)
        assert filters.names() == {"O", "R"}
        assert [filters.reason(name) for name in "OR"] == [SERVER, REGISTRY], "the first reason stays the reason"


def test_a_server_whose_name_is_struck_out_is_filtered_while_it_is_in_downtime(wall: FakeClock) -> None:
    filters = Filters(permanent=["O"], wall=wall)
    filters.server_said(said("O", downtime()))
    assert filters.reason("O") is FilterReason.PERMANENT
    filters.adopt(permanent=[])
    assert filters.reason("O") is SERVER
    wall.advance(61)
    assert filters.reason("O") is None


def test_the_directory_follows_other_names(wall: FakeClock, clock: FakeClock) -> None:
    directory, filters = Directory(clock=clock), Filters(wall=wall)
    directory.record(origin("O", "/x"), 900)
    for names in (["O"], []):
        filters.adopt(permanent=names)
        directory.set_filtered(filters.filtered())
        assert (directory.snapshot().match("/x") is None) is bool(names)
