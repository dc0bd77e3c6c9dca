"""Laws of a store, as its interface states them. Each `opened()` stands for another process."""

import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from director_wsgi.federation.store import sqlite
from director_wsgi.federation.store.errors import StoreBusy, StoreError
from director_wsgi.federation.store.records import Changes, Drop, Put, Record
from director_wsgi.federation.store.schema import transaction
from director_wsgi.federation.store.sqlite import DROPS_KEPT, ENDED_KEPT_S, PURGED_AT_ONCE, SqliteStore
from director_wsgi.limits.deadline import Deadline
from tests.fakes import FakeClock
from tests.unit.federation.store.conftest import Opened
from tests.unit.federation.store.puts import ENDS_AT, NOW, ROOM, drop, keys, put


def test_what_one_puts_another_reads(opened: Opened) -> None:
    writer, reader = opened(), opened()
    before = reader.revision()
    revision = writer.put([put("a", b"\x00one")], ROOM).revision
    assert reader.revision() == revision > before
    expected = Record(kind="ad", key="a", body=b"\x00one", expires_at=ENDS_AT, granted_s=900.0, revision=revision)
    assert reader.changes(before) == Changes(records=(expected,), revision=revision)
    assert reader.get("ad", "a") == expected
    assert reader.get("other", "a") is None


def test_nothing_changed_is_nothing_read(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, reader = opened(), opened()
    newest = writer.put([put("a")], ROOM).revision
    assert reader.revision() == newest
    monkeypatch.setattr(sqlite, "_counters", lambda _connection: pytest.fail("read although nothing has changed"))
    assert reader.revision() == newest


def test_revisions_are_one_order_over_all_writers_and_kinds(opened: Opened) -> None:
    one, other = opened(), opened()
    start = one.revision()
    one.put([put("a"), put("b", kind="director")], ROOM)
    other.put([put("c")], ROOM)
    one.put([put("a", b"new")], ROOM)
    found = other.changes(start).records
    assert [(record.kind, record.key) for record in found] == [("director", "b"), ("ad", "c"), ("ad", "a")]
    assert [record.revision for record in found] == [start + 2, start + 3, start + 4]


def test_a_renewal_comes_without_its_body_to_whoever_has_it(store: SqliteStore) -> None:
    start = store.revision()
    first = store.put([put("a"), put("b")], ROOM).revision
    renewed = store.put([put("a", None, expires_at=ENDS_AT + 60)], ROOM)
    assert renewed.missing == ()
    late = store.changes(first)
    assert late.records == ()
    assert [(entry.key, entry.expires_at) for entry in late.renewed] == [("a", ENDS_AT + 60)]
    early = store.changes(start)
    assert keys(early) == ["b", "a"]
    assert early.records[1].expires_at == ENDS_AT + 60
    assert early.renewed == ()


def test_a_renewal_of_what_is_not_there_is_given_back_and_the_rest_is_done(store: SqliteStore) -> None:
    lost = put("lost", None)
    written = store.put([put("a"), lost, put("b")], ROOM)
    assert written.missing == (lost,)
    assert keys(store.changes(0)) == ["a", "b"]


def test_what_was_dropped_is_reported_until_it_is_put_again(store: SqliteStore) -> None:
    first = store.put([put("a"), put("b")], ROOM).revision
    second = store.put([drop("a")], ROOM).revision
    assert store.changes(first) == Changes(dropped=(("ad", "a"),), revision=second)
    assert store.changes(second).dropped == ()
    assert store.get("ad", "a") is None
    store.put([put("a", b"again")], ROOM)
    assert store.changes(first).dropped == ()
    assert keys(store.changes(first)) == ["a"]


def test_dropping_what_is_not_there_changes_nothing(store: SqliteStore) -> None:
    before = store.put([put("a")], ROOM).revision
    assert store.put([drop("b")], ROOM).revision == before


def test_what_may_be_out_of_date_replaces_nothing_and_brings_back_nothing(store: SqliteStore) -> None:
    store.put([put("a", b"newer"), put("b")], ROOM)
    before = store.put([drop("b")], ROOM).revision
    assert store.put([put("a", b"older", unless_known=True), put("b", unless_known=True)], ROOM).revision == before
    store.put([put("c", unless_known=True)], ROOM)
    assert [(record.key, record.body) for record in store.changes(0).records] == [("a", b"newer"), ("c", b"body")]


@pytest.mark.parametrize("since", [0, -1, 5, 1 << 60])
def test_whoever_asks_from_nowhere_in_this_store_is_given_the_whole(store: SqliteStore, since: int) -> None:
    store.put([put("a"), put("b")], ROOM)
    store.put([put("a", None), drop("b")], ROOM)
    found = store.changes(since)
    assert found.is_whole
    assert keys(found) == ["a"]
    assert (found.renewed, found.dropped) == ((), ())


def test_a_store_that_starts_anew_is_never_taken_for_the_one_before(
    opened: Opened, path: Path, tmp_path: Path, wall: FakeClock
) -> None:
    old = opened()
    seen = old.put([put(f"k{number}") for number in range(1000)], ROOM).revision
    wall.advance(1.0)
    new = opened(tmp_path / "new.sqlite")
    new.put([put("a")], ROOM)
    assert new.changes(seen).is_whole


def test_a_put_is_done_as_a_whole_or_not_at_all(store: SqliteStore) -> None:
    before = store.put([put("a")], ROOM).revision
    with pytest.raises(UnicodeEncodeError):
        store.put([put("b"), drop("a"), put("\ud800")], ROOM)
    assert store.revision() == before
    assert keys(store.changes(0)) == ["a"]


def test_no_end_is_an_end_too(store: SqliteStore) -> None:
    store.put([put("a", expires_at=float("inf"))], ROOM)
    found = store.get("ad", "a")
    assert found is not None
    assert found.remaining_s(NOW) == 900.0


def test_an_end_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        put("a", expires_at=float("nan"))


@pytest.mark.parametrize(("now", "left"), [(NOW, 900.0), (NOW + 100, 800.0), (NOW + 1000, 0.0), (NOW - 5000, 900.0)])
def test_what_is_left_is_never_more_than_was_granted(now: float, left: float) -> None:
    assert put("a").remaining_s(now) == left


def test_what_ended_is_kept_for_a_while_and_then_removed_without_a_word(store: SqliteStore, wall: FakeClock) -> None:
    store.put([put("a"), put("b", expires_at=ENDS_AT + 5000)], ROOM)
    wall.advance(900 + ENDED_KEPT_S - 1)
    first = store.put([put("c", expires_at=ENDS_AT + 5000)], ROOM).revision
    assert store.get("ad", "a") is not None  # the clock may have been wrong
    wall.advance(2)
    store.put([put("d", expires_at=ENDS_AT + 5000)], ROOM)
    assert store.get("ad", "a") is None
    found = store.changes(first)
    assert (keys(found), found.dropped) == (["d"], ())


def test_what_lived_for_a_moment_is_kept_for_no_longer_whoever_puts_it_under_ever_new_names(
    store: SqliteStore, wall: FakeClock
) -> None:
    for number in range(100):
        ends_at = wall() + 1.0
        store.put([Put(kind="ad", key=f"k{number}", body=b"body", expires_at=ends_at, granted_s=1.0)], ROOM)
        wall.advance(0.25)
    assert len(store.changes(0).records) <= 2 * 4 + 1


def test_one_put_removes_no_more_than_a_bounded_number_of_what_ended(store: SqliteStore, wall: FakeClock) -> None:
    store.put([put(f"k{number}") for number in range(PURGED_AT_ONCE + 10)], ROOM)
    wall.advance(900 + ENDED_KEPT_S + 1)
    store.put([], ROOM)
    assert len(store.changes(0).records) == 10
    store.put([], ROOM)
    assert store.changes(0).records == ()


def test_drops_are_forgotten_in_the_end_and_then_the_whole_is_given(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "DROPS_KEPT", 10)
    assert DROPS_KEPT > 10
    first = store.put([put("a"), put("b")], ROOM).revision
    dropped = store.put([drop("a")], ROOM).revision
    store.put([put("b") for _ in range(9)], ROOM)
    assert store.changes(first).dropped == (("ad", "a"),)
    store.put([put("b")], ROOM)
    assert store.changes(first).is_whole
    assert not store.changes(dropped).is_whole


def test_a_writer_waits_for_another_no_longer_than_its_deadline_and_readers_do_not_wait(opened: Opened) -> None:
    one, other = opened(), opened()
    before = one.put([put("a")], ROOM).revision
    with one._writer.use(ROOM) as connection, transaction(connection):
        with pytest.raises(StoreBusy):
            other.put([put("b")], Deadline.after(0.05))
        with pytest.raises(StoreBusy):
            one.put([put("b")], Deadline.after(0.05))  # another thread of the same process
        assert other.revision() == one.revision() == before
        assert keys(other.changes(0)) == keys(one.changes(0)) == ["a"]
    other.put([put("b")], Deadline.after(0.05))


def test_a_closed_store_says_so_and_may_be_closed_again(store: SqliteStore) -> None:
    store.put([put("a")], ROOM)
    store.close()
    store.close()
    for call in (store.revision, lambda: store.put([], ROOM), lambda: store.take_lease("x", "me", 1)):
        with pytest.raises(StoreError, match="was closed"):
            call()


def test_everything_is_there_when_it_is_opened_again(opened: Opened) -> None:
    first = opened()
    written = first.put([put("a"), put("b")], ROOM)
    first.put([drop("b")], ROOM)
    first.close()
    again = opened()
    assert again.revision() == written.revision + 1
    assert keys(again.changes(0)) == ["a"]


def test_threads_may_share_a_store(store: SqliteStore) -> None:
    start = store.revision()

    def work(name: str) -> None:
        for number in range(50):
            store.put([put(f"{name}{number}")], ROOM)
            store.changes(start)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [record.revision for record in store.changes(start).records] == list(range(start + 1, start + 201))


# The store against the plainest thing that obeys the same laws.

KEYS = st.sampled_from("abc")
CHANGES = st.lists(
    st.one_of(
        st.builds(put, KEYS, st.binary(max_size=3)),
        st.builds(put, KEYS, st.none()),
        st.builds(put, KEYS, st.binary(max_size=3), unless_known=st.just(True)),
        st.builds(drop, KEYS),
    ),
    max_size=6,
)


class Model:
    """Every record by key: its body, whether it is there, and the revisions of its body and of its last change."""

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self.rows: dict[str, tuple[bytes | None, int, int]] = {}

    def apply(self, change: Put | Drop) -> bool:
        """Whether there was anything to renew."""
        body, body_revision, _ = self.rows.get(change.key, (None, 0, 0))
        if isinstance(change, Drop) or change.body is None:
            if body is None:
                return isinstance(change, Drop)
            self.revision += 1
            kept = None if isinstance(change, Drop) else body
            self.rows[change.key] = (kept, body_revision, self.revision)
        elif not (change.unless_known and change.key in self.rows):
            self.revision += 1
            self.rows[change.key] = (change.body, self.revision, self.revision)
        return True


@settings(max_examples=60, deadline=None)
@given(st.lists(CHANGES, max_size=6), st.data())
def test_a_store_is_a_table_of_records_with_revisions(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[Put | Drop]], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("store") / "store.sqlite"
    store = SqliteStore(path, clock=FakeClock(), wall=FakeClock(NOW))
    try:
        model = Model(store.revision())
        start = model.revision
        for batch in batches:
            missing = tuple(change for change in batch if not model.apply(change))
            written = store.put(batch, ROOM)
            assert (written.revision, written.missing) == (model.revision, missing)
        since = data.draw(st.integers(start, model.revision))
        found = store.changes(since)
        rows = sorted(model.rows.items(), key=lambda row: row[1][2])
        assert [(record.key, record.body) for record in found.records] == [
            (key, body) for key, (body, body_at, _) in rows if body is not None and body_at > since
        ]
        assert [entry.key for entry in found.renewed] == [
            key for key, (body, body_at, at) in rows if body is not None and body_at <= since < at
        ]
        assert [key for _, key in found.dropped] == [key for key, (body, _, at) in rows if body is None and at > since]
    finally:
        store.close()
