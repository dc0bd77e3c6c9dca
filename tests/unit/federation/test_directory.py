"""Who is advertised now: lifetimes, snapshots, and the longest prefix."""

import math
import threading
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.errors import AdForbidden
from director_wsgi.federation import snapshot as snapshot_module
from director_wsgi.federation.directory import (
    MAX_OF_ONE_REGISTRATION,
    SWEEP_S,
    SWEPT_LATELY_S,
    Directory,
    DirectoryFull,
)
from director_wsgi.federation.filters import Filtered
from director_wsgi.federation.models import ServerAd
from director_wsgi.federation.snapshot import PrefixEntry, Snapshot
from director_wsgi.federation.status import TestVerdict
from tests.fakes import FakeClock
from tests.make import cache, namespace, origin


def names(group: object) -> list[str]:
    return [getattr(member, "server", member).name for member in group]  # type: ignore[attr-defined]


def filtered(*filtered_names: str, revision: int = 1) -> Filtered:
    return Filtered(frozenset(filtered_names), revision)


@pytest.fixture
def directory(clock: FakeClock) -> Directory:
    return Directory(clock=clock)


def test_another_time_constant_holds_from_the_next_word_on_and_changes_nothing_before(clock: FakeClock) -> None:
    directory = Directory(clock=clock, status_time_constant_s=100)
    ad = origin("O", "/a", status="critical")
    directory.record(replace(ad, status="ok"), 900)
    clock.advance(100)
    directory.record(ad, 900)
    before = directory.status_weight(ad.data_url)
    assert before == pytest.approx(1 - (1 - math.exp(-1)) * 0.99)
    directory.adopt(status_time_constant_s=50)
    assert directory.status_weight(ad.data_url) == before
    clock.advance(100)
    directory.record(ad, 900)
    assert directory.status_weight(ad.data_url) == pytest.approx(before + (1 - math.exp(-2)) * (0.01 - before))


def test_a_path_is_matched_by_whole_components(directory: Directory) -> None:
    directory.record(origin("O", "/foo"), 60)

    assert directory.snapshot().match("/foobar") is None
    entry = directory.snapshot().match("/foo/bar")
    assert entry is not None
    assert entry.prefix == "/foo"


def test_the_root_covers_everything(directory: Directory) -> None:
    directory.record(origin("O", "/"), 60)

    for path in ("/", "/a", "/a/b"):
        entry = directory.snapshot().match(path)
        assert entry is not None
        assert entry.prefix == "/"


def test_a_cache_with_a_longer_prefix_hides_no_origin(directory: Directory) -> None:
    directory.record(origin("O", "/a"), 60)
    directory.record(cache("C", "/a/b"), 60)

    entry = directory.snapshot().match("/a/b/c")
    assert entry is not None
    assert (entry.prefix, names(entry.caches)) == ("/a", [])


def test_servers_are_in_the_order_of_their_names(directory: Directory) -> None:
    for name in ("B", "z", "C", "A"):
        directory.record(origin(name, "/x"), 60)

    entry = directory.snapshot().match("/x")
    assert entry is not None
    assert names(entry.origins) == ["A", "B", "C", "z"]


def test_an_advertisement_dies_at_its_end(directory: Directory, clock: FakeClock) -> None:
    directory.record(origin("O", "/x"), 60)
    directory.record(origin("P", "/x"), 120)

    clock.advance(60)

    entry = directory.snapshot().match("/x")
    assert entry is not None
    assert names(entry.origins) == ["P"]
    clock.advance(60)
    assert directory.snapshot().match("/x") is None
    assert not directory.snapshot().servers
    assert not directory.snapshot().prefixes


def test_those_that_expire_together_are_taken_out_together(
    directory: Directory, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefixes = [f"/x{number}" for number in range(20)]
    directory.record(origin("O", *prefixes), 120)
    directory.record(origin("P", "/y"), 120)
    directory.record(cache("stays", *prefixes), 120)
    for number in range(30):
        directory.record(cache(f"goes{number}", *prefixes, "/y", "/only-there"), 60)
    made: list[str] = []

    def entry(prefix: str, *groups: Any) -> PrefixEntry:
        made.append(prefix)
        return PrefixEntry(prefix, *groups)

    monkeypatch.setattr(snapshot_module, "PrefixEntry", entry)
    clock.advance(60)
    now = directory.snapshot()

    assert sorted(made) == sorted([*prefixes, "/y"])
    assert set(now.servers) == {ad.data_url for ad in (origin("O"), origin("P"), cache("stays"))}
    assert len({id(now.prefixes[prefix].caches) for prefix in prefixes}) == 1
    assert names(now.prefixes["/x0"].caches) == ["stays"]
    assert names(now.prefixes["/y"].caches) == []
    assert "/only-there" not in now.prefixes


def test_nothing_is_logged_while_others_wait_for_the_lock(
    directory: Directory, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    directory.record(origin("O", "/x"), 60)
    directory.record(cache("C", "/x"), 60)
    clock.advance(60)
    directory.record(origin("P", "/x"), 60)
    assert not caplog.messages

    directory.tell_expired()
    directory.tell_expired()

    assert sorted(caplog.messages) == [
        "advertisement of C (https://c.example.org:8443) has expired",
        "advertisement of O (https://o.example.org:8443) has expired",
    ]


def test_caches_of_the_same_namespaces_share_one_list(directory: Directory) -> None:
    namespaces = [namespace(f"/x{number}") for number in range(3)]
    others = [cache(f"A{number}", namespaces[0]) for number in range(3)]
    same = [cache(f"S{number}", *namespaces) for number in range(3)]
    for ad in (*others, *same):
        directory.record(ad, 60)
    directory.record(replace(same[1], namespaces=tuple(namespaces), status="warning"), 60)

    held = directory.snapshot().servers

    assert len({id(held[ad.data_url].namespaces) for ad in same}) == 1
    assert len({id(held[ad.data_url].namespaces) for ad in others}) == 1
    assert held[same[1].data_url].status == "warning"


def test_a_renewal_that_says_the_same_changes_no_snapshot(directory: Directory, clock: FakeClock) -> None:
    directory.record(origin("O", "/x"), 60)
    before = directory.snapshot()
    clock.advance(30)

    directory.record(origin("O", "/x"), 60)

    assert directory.snapshot() is before
    clock.advance(59)
    assert directory.snapshot().match("/x") is not None


def test_a_shorter_renewal_shortens(directory: Directory, clock: FakeClock) -> None:
    directory.record(origin("O", "/x"), 600)
    directory.record(origin("O", "/x"), 5)

    clock.advance(5)

    assert directory.snapshot().match("/x") is None


def test_an_expired_advertisement_leaves_the_older_one_alone(directory: Directory) -> None:
    directory.record(origin("O", "/x"), 60)

    directory.record(origin("O", "/y"), 0)
    directory.record(origin("O", "/y"), float("nan"))

    assert directory.snapshot().match("/x") is not None
    assert directory.snapshot().match("/y") is None


def test_a_changed_advertisement_moves_its_server(directory: Directory) -> None:
    directory.record(origin("O", "/x", "/y"), 60)
    directory.record(cache("C", "/x", "/y"), 60)

    directory.record(origin("O", "/y", "/z"), 60)
    directory.record(cache("C", "/z", status="critical"), 60)

    snapshot = directory.snapshot()
    assert snapshot.match("/x") is None
    entry = snapshot.match("/z")
    assert entry is not None
    assert [server.status for server in entry.caches] == ["critical"]
    entry = snapshot.match("/y")
    assert entry is not None
    assert names(entry.caches) == []


def test_an_old_snapshot_stays_as_it_was(directory: Directory) -> None:
    directory.record(origin("O", "/x"), 60)
    before = directory.snapshot()

    directory.record(origin("P", "/x"), 60)
    directory.remove(origin("O").data_url)

    entry = before.match("/x")
    assert entry is not None
    assert names(entry.origins) == ["O"]


def test_a_filtered_server_is_listed_but_never_chosen(clock: FakeClock) -> None:
    directory = Directory(clock=clock)
    directory.set_filtered(filtered("O"))
    directory.record(origin("O", "/x"), 60)

    assert directory.snapshot().match("/x") is None
    assert [server.name for server in directory.snapshot().in_order()] == ["O"]


def test_filters_change_what_is_chosen_and_nothing_else(directory: Directory) -> None:
    for name in ("A", "B"):
        directory.record(origin(name, "/x", f"/{name}"), 60)
        directory.record(cache(f"C{name}", "/x", f"/{name}"), 60)
    before = directory.snapshot()

    directory.set_filtered(filtered("A", "CB", "NOBODY"))

    during = directory.snapshot()
    assert during.servers is before.servers
    assert set(during.prefixes) == {"/x", "/A", "/B"}
    assert during.match("/A") is None
    entry = during.match("/x")
    assert entry is not None
    assert (names(entry.origins), names(entry.caches)) == (["B"], ["CA"])
    assert during.prefixes["/B"].caches.members == ()
    directory.set_filtered(filtered(revision=2))
    after = directory.snapshot()
    assert set(after.prefixes) == {"/x", "/A", "/B"}
    assert names(after.prefixes["/x"].origins) == ["A", "B"]
    assert names(after.prefixes["/B"].caches) == ["CB"]


def test_every_server_of_a_filtered_name_is_filtered(directory: Directory) -> None:
    directory.record(origin("O", "/x", data_url="https://one"), 60)
    directory.record(origin("O", "/x", data_url="https://two"), 60)
    directory.set_filtered(filtered("O"))
    assert directory.snapshot().match("/x") is None
    directory.record(origin("P", "/x", data_url="https://two"), 60)  # under its new name it is not
    assert names(directory.snapshot().prefixes["/x"].origins) == ["P"]


def test_filters_that_are_about_nobody_here_change_no_snapshot(directory: Directory) -> None:
    directory.record(origin("O", "/x"), 60)
    before = directory.snapshot()
    directory.set_filtered(filtered("P"))
    directory.set_filtered(filtered("P", revision=2))
    assert directory.snapshot() is before


def test_filters_leave_alone_what_was_derived_for_other_prefixes(directory: Directory) -> None:
    directory.record(origin("O", "/x"), 60)
    directory.record(origin("P", "/y"), 60)
    directory.record(cache("C", "/y"), 60)
    kept = directory.snapshot().prefixes["/y"]
    directory.set_filtered(filtered("O"))
    assert directory.snapshot().prefixes["/y"] is kept


def test_who_was_overtaken_sets_back_nothing(directory: Directory) -> None:
    directory.record(origin("O", "/x"), 60)
    directory.set_filtered(filtered("O", revision=7))
    directory.set_filtered(filtered(revision=6))
    directory.record(origin("O", "/x", status="warning"), 60, filtered(revision=5))
    assert directory.snapshot().match("/x") is None


def test_an_advertisement_and_what_follows_from_it_are_seen_together(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Snapshot] = []
    changed = Snapshot.changed

    def watched(snapshot: Snapshot, **change: Any) -> Snapshot:
        made.append(changed(snapshot, **change))
        return made[-1]

    monkeypatch.setattr(Snapshot, "changed", watched)
    directory.record(origin("O", "/x", status="shutting down"), 60, filtered("O"))
    directory.record(origin("O", "/x", status="ok"), 60, filtered(revision=2))
    directory.record(origin("O", "/x", status="ok"), 60, filtered("O", revision=3))  # the ad says the same as before
    assert [snapshot.match("/x") is None for snapshot in made] == [True, False, True]


def test_what_a_server_says_of_its_health_is_smoothed_over_time(clock: FakeClock) -> None:
    directory = Directory(clock=clock, status_time_constant_s=100)
    url = origin("O").data_url
    assert directory.status_weight(url) is None
    directory.record(origin("O", "/x", status="ok"), 600)
    assert directory.status_weight(url) == 1

    clock.advance(100)
    directory.record(origin("O", "/x", status="critical"), 600)

    assert directory.status_weight(url) == pytest.approx(1 - (1 - math.exp(-1)) * 0.99)
    directory.record(origin("O", "/x", status="critical"), 600)  # at once: nothing has changed
    assert directory.status_weight(url) == pytest.approx(1 - (1 - math.exp(-1)) * 0.99)
    clock.advance(600)
    directory.snapshot()
    assert directory.status_weight(url) is None


def test_how_a_test_went_counts_beside_what_the_server_says(clock: FakeClock) -> None:
    directory = Directory(clock=clock, status_time_constant_s=100)
    url = origin("O").data_url
    directory.tested(url, TestVerdict.FAILED)
    assert directory.status_weight(url) is None  # nobody is advertised there
    directory.record(origin("O", "/x"), 600)
    before = directory.snapshot()
    clock.advance(100)

    directory.tested(url, TestVerdict.UNANSWERED)

    once = 1 - (1 - math.exp(-1)) * 0.99
    assert directory.status_weight(url) == pytest.approx(once)
    clock.advance(100)
    directory.record(origin("O", "/x", status="ok"), 600)  # it may not know
    assert directory.status_weight(url) == pytest.approx(once + (1 - math.exp(-1)) * (0.01 - once))
    assert directory.snapshot() is before


def test_a_full_directory_refuses_newcomers_and_keeps_who_is_there(clock: FakeClock) -> None:
    directory = Directory(clock=clock, capacity=2)
    directory.record(origin("O", "/x"), 60)
    directory.record(origin("P", "/x"), 60)

    with pytest.raises(DirectoryFull):
        directory.record(origin("Q", "/x"), 60)

    directory.record(origin("P", "/y"), 60)
    clock.advance(60)
    directory.record(origin("Q", "/x"), 60)
    assert set(directory.snapshot().servers) == {origin("Q").data_url}


def test_nobody_fills_the_directory_alone(clock: FakeClock) -> None:
    directory = Directory(clock=clock)
    mine = [
        origin("O", registry_prefix="/origins/o", data_url=f"https://o:{8000 + number}")
        for number in range(MAX_OF_ONE_REGISTRATION + 1)
    ]
    for ad in mine[:-2]:
        directory.record(ad, 60)
    directory.record(mine[-2], 30)
    with pytest.raises(AdForbidden, match='registry prefix "/origins/o" already'):
        directory.record(mine[-1], 60)
    directory.record(origin("P", registry_prefix="/origins/p"), 60)
    directory.record(replace(mine[0], status="warning"), 60)

    clock.advance(30)
    directory.record(mine[-1], 60)
    with pytest.raises(AdForbidden):
        directory.record(mine[-2], 60)
    directory.remove(mine[0].data_url)
    directory.record(mine[-2], 60)
    clock.advance(60)
    for ad in mine[:-1]:
        directory.record(ad, 60)


def test_it_is_told_when_a_data_url_passes_to_another_registration(
    directory: Directory, caplog: pytest.LogCaptureFixture
) -> None:
    directory.record(origin("O", registry_prefix="/origins/o", data_url="https://o"), 60)
    directory.record(origin("O", registry_prefix="/origins/o", data_url="https://o", status="warning"), 60)
    assert not caplog.messages
    directory.record(cache("P", registry_prefix="/caches/p", data_url="https://o"), 60)
    assert "https://o, which /origins/o advertised, is now advertised by /caches/p" in caplog.text
    directory.record(cache("P", registry_prefix="/caches/p", data_url="https://o"), 60)
    assert len(caplog.messages) == 1


def test_prefixes_served_by_the_same_caches_share_one_group(directory: Directory) -> None:
    for name in ("C", "D"):
        directory.record(cache(name, "/x", "/y"), 60)
    directory.record(origin("O", "/x", "/y"), 60)

    prefixes = directory.snapshot().prefixes
    assert prefixes["/x"].caches is prefixes["/y"].caches


def test_groups_that_become_equal_become_one(directory: Directory) -> None:
    """Else a federation that grows namespace by namespace ends with a group, and a memory, for each."""
    caches = [f"C{number}" for number in range(5)]
    listed = ["/n0"]
    for number in range(1, 10):
        listed.append(f"/n{number}")
        for name in caches:
            directory.record(cache(name, *listed), 60)

    groups = {id(entry.caches) for entry in directory.snapshot().prefixes.values()}

    assert len(groups) == 1


def test_a_group_derives_once_per_key(directory: Directory) -> None:
    directory.record(origin("O", "/x"), 60)
    group = directory.snapshot().prefixes["/x"].origins
    built: list[str] = []

    def build(_members: object) -> list[str]:
        built.append("")
        return built

    assert group.derive("k", build) is group.derive("k", build)
    assert len(built) == 1
    for key in range(3000):
        group.derive(key, str)
    assert len(group._memo) <= 1024


components = st.lists(st.sampled_from(["a", "b", "c", "ab", "ä", "."]), max_size=5)
paths = components.map(lambda parts: "/" + "/".join(parts))


def naive(ads: list[ServerAd], path: str) -> str | None:
    """What upstream does: walk every namespace of every origin."""
    covering = [
        namespace.path
        for ad in ads
        for namespace in ad.namespaces
        if (path.rstrip("/") + "/").startswith(namespace.path.rstrip("/") + "/")
    ]
    return max(covering, key=len, default=None)


@given(st.lists(st.lists(paths, max_size=4, unique=True), max_size=4), paths)
def test_the_longest_prefix_is_what_a_naive_search_finds(advertised: list[list[str]], path: str) -> None:
    ads = [origin(f"O{number}", *prefixes) for number, prefixes in enumerate(advertised)]
    directory = Directory(clock=FakeClock())
    for ad in ads:
        directory.record(ad, 60)

    entry = directory.snapshot().match(path)

    assert (entry.prefix if entry else None) == naive(ads, path)
    if entry:
        assert names(entry.origins) == [ad.name for ad in ads if any(n.path == entry.prefix for n in ad.namespaces)]


server_names = st.sampled_from(["S0", "S1", "S2"])
filters = st.none() | st.frozensets(server_names)
steps = st.lists(
    st.tuples(
        st.integers(0, 3),
        server_names,
        st.booleans(),
        st.lists(paths, max_size=3, unique=True),
        st.integers(0, 3),
        filters,
        filters,
    ),
    max_size=12,
)
Step = tuple[int, str, bool, list[str], int, frozenset[str] | None, frozenset[str] | None]


@given(steps)
def test_a_directory_built_step_by_step_equals_one_built_at_once(history: list[Step]) -> None:
    """Snapshots are made from their predecessors; nothing of these may be left or lost."""
    clock = FakeClock()
    directory = Directory(clock=clock)
    expected: dict[str, tuple[ServerAd, float]] = {}
    last = Filtered()
    for number, name, is_origin, prefixes, lifetime, with_it, after_it in history:
        make = origin if is_origin else cache
        ad = make(name, *prefixes, data_url=f"https://s{number}")
        if with_it is not None and lifetime:
            last = Filtered(with_it, last.revision + 1)
        directory.record(ad, lifetime, last)
        if after_it is not None:
            last = Filtered(after_it, last.revision + 1)
            directory.set_filtered(last)
        if lifetime:
            expected[ad.data_url] = (ad, clock.now + lifetime)
        clock.advance(1)
        expected = {url: (ad, end) for url, (ad, end) in expected.items() if end > clock.now}
    fresh = Directory(clock=clock)
    for ad, end in expected.values():
        if ad.name not in last.names:
            fresh.record(ad, end - clock.now)

    one, other = directory.snapshot(), fresh.snapshot()

    assert dict(one.servers) == {url: ad for url, (ad, _) in expected.items()}
    assert set(one.prefixes) == set(other.prefixes)
    assert one.deepest == other.deepest
    for prefix in one.prefixes:
        assert names(one.prefixes[prefix].origins) == names(other.prefixes[prefix].origins)
        assert names(one.prefixes[prefix].caches) == names(other.prefixes[prefix].caches)


Servers = list[tuple[int, str, bool, list[str]]]
few_paths = st.lists(st.sampled_from(["/", "/a", "/a/b", "/b", "/b/c/d"]), max_size=4, unique=True)
servers = st.lists(st.tuples(st.integers(0, 4), server_names, st.booleans(), few_paths), max_size=6)


@given(servers, servers, st.frozensets(server_names), st.frozensets(server_names), st.frozensets(st.integers(0, 4)))
def test_changes_made_together_equal_those_made_one_by_one(
    there: Servers, coming: Servers, before: frozenset[str], after: frozenset[str], going: frozenset[int]
) -> None:
    def change(found: Servers) -> dict[str, ServerAd | None]:
        return {
            f"https://s{number}": (origin if is_origin else cache)(name, *prefixes, data_url=f"https://s{number}")
            for number, name, is_origin, prefixes in found
        }

    start = Snapshot().changed(changes=change(there), before=before, after=before)
    changes = {**change(coming), **{f"https://s{number}": None for number in going}}

    together = start.changed(changes=changes, before=before, after=after)

    step_by_step = start
    for url, ad in changes.items():
        step_by_step = step_by_step.changed(changes={url: ad}, before=before, after=before)
    step_by_step = step_by_step.changed(before=before, after=after)
    assert dict(together.servers) == dict(step_by_step.servers)
    assert together.deepest == step_by_step.deepest
    assert set(together.prefixes) == set(step_by_step.prefixes)
    for prefix, entry in together.prefixes.items():
        other = step_by_step.prefixes[prefix]
        assert entry.caches.members == other.caches.members
        assert [(s.server, s.namespace) for s in entry.origins] == [(s.server, s.namespace) for s in other.origins]
    groups = {tuple(server.data_url for server in entry.caches): entry.caches for entry in together.prefixes.values()}
    if start.prefixes == {}:
        assert all(groups[tuple(s.data_url for s in e.caches)] is e.caches for e in together.prefixes.values())


class Halted:
    """Lets the making of a snapshot begin, and go on when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.has_begun, self.goes_on = threading.Event(), threading.Event()
        self.made: list[set[str]] = []
        changed = Snapshot.changed

        def halted(snapshot: Snapshot, **change: Any) -> Snapshot:
            self.has_begun.set()
            assert self.goes_on.wait(10)
            self.made.append(set(change["changes"]))
            return changed(snapshot, **change)

        monkeypatch.setattr(Snapshot, "changed", halted)


class TestNobodyWaits:
    def test_for_a_snapshot_that_is_being_made(
        self, directory: Directory, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        directory.record(origin("O", "/x"), 60)
        halted = Halted(monkeypatch)
        clock.advance(60)
        thread = threading.Thread(target=directory.record, args=(origin("P", "/y"), 60))
        thread.start()
        assert halted.has_begun.wait(10)

        during = directory.snapshot()  # neither waits nor makes another one, though something has expired

        assert set(during.prefixes) == {"/x"}
        halted.goes_on.set()
        thread.join(10)
        assert set(directory.snapshot().prefixes) == {"/y"}
        assert halted.made == [{origin("O").data_url, origin("P").data_url}]

    def test_for_what_has_expired_if_somebody_else_sweeps(self, directory: Directory, clock: FakeClock) -> None:
        directory.record(origin("O", "/x"), 60)
        clock.advance(59.5)
        directory.sweep()
        before = directory.snapshot()
        clock.advance(0.5)
        assert directory.snapshot() is before
        directory.sweep()
        assert not directory.snapshot().servers

    def test_in_vain_for_one_that_sweeps_no_more(self, directory: Directory, clock: FakeClock) -> None:
        directory.record(origin("O", "/x"), 60)
        clock.advance(59)
        directory.sweep()
        clock.advance(SWEPT_LATELY_S)
        assert not directory.snapshot().servers

    def test_longer_than_needed_for_what_others_record_at_the_same_time(
        self, directory: Directory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While one snapshot is being made many changes come in; the next shows them all."""
        halted = Halted(monkeypatch)
        ads = [origin(f"O{number}", f"/x{number}") for number in range(9)]
        threads = [threading.Thread(target=directory.record, args=(ad, 60)) for ad in ads]
        threads[0].start()
        assert halted.has_begun.wait(10)
        for thread in threads[1:]:
            thread.start()
        while len(directory._changes) < len(ads) - 1:
            assert not halted.made
        halted.goes_on.set()
        for thread in threads:
            thread.join(10)
        assert halted.made == [{ads[0].data_url}, {ad.data_url for ad in ads[1:]}]
        assert len(directory.snapshot().servers) == len(ads)

    def test_when_to_sweep_is_when_something_expires_or_soon(self, directory: Directory, clock: FakeClock) -> None:
        assert directory.sweep_in_s() == SWEEP_S
        directory.record(origin("O", "/x"), SWEEP_S + 0.25)
        assert directory.sweep_in_s() == SWEEP_S
        clock.advance(SWEEP_S)
        assert directory.sweep_in_s() == pytest.approx(0.25)


def test_caches_that_come_together_share_one_list_too(directory: Directory) -> None:
    for name in ("C", "D"):
        directory.record(cache(name, *(namespace(f"/x{number}") for number in range(3))), 60, at_once=False)
    directory.show()
    one, other = directory.snapshot().servers.values()
    assert one.namespaces is other.namespaces


def test_what_was_recorded_for_later_is_shown_as_a_whole(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    halted = Halted(monkeypatch)
    halted.goes_on.set()
    for name in ("O", "P"):
        directory.record(origin(name, "/x"), 60, at_once=False)
    assert not directory.snapshot().servers
    directory.show()
    directory.show()
    assert halted.made == [{origin("O").data_url, origin("P").data_url}]
    assert len(directory.snapshot().servers) == 2


class TestWhatIsHeld:
    def test_the_object_of_before_is_held_while_a_server_says_the_same(self, directory: Directory) -> None:
        first = directory.record(origin("O", "/a"), 60)
        assert directory.record(origin("O", "/a"), 60) is first
        assert directory.snapshot().servers[first.data_url] is first
        other = directory.record(origin("O", "/b"), 60)
        assert other is not first
        assert directory.snapshot().servers[other.data_url] is other

    def test_a_server_that_has_spoken_to_another_worker_lives_on(self, directory: Directory, clock: FakeClock) -> None:
        ad = directory.record(origin("O", "/a"), 60)
        snapshot = directory.snapshot()
        clock.advance(50)
        assert directory.renew(ad.data_url, 60)
        clock.advance(50)
        assert directory.snapshot() is snapshot
        clock.advance(10)
        assert not directory.renew(ad.data_url, 60)
        assert not directory.snapshot().servers

    def test_one_that_has_ended_there_renews_nothing(self, directory: Directory) -> None:
        ad = directory.record(origin("O", "/a"), 60)
        assert directory.renew(ad.data_url, 0)
        assert directory.snapshot().servers
