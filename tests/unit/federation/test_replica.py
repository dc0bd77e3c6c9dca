"""Laws of what workers tell each other."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from director_wsgi.federation import outbox
from director_wsgi.federation.alone import Alone
from director_wsgi.federation.duties import LEASE_S, MARGIN_S
from director_wsgi.federation.replica import ALIVE_S, WARN_EVERY_S, WORKER, Replica
from director_wsgi.federation.store.errors import StoreBroken, StoreBusy, StoreFull, StoreUnwritable
from director_wsgi.limits.deadline import Deadline
from tests.fakes import FakeClock
from tests.unit.federation.workers import Host, Worker


@pytest.fixture
def host(tmp_path: Path, clock: FakeClock, wall: FakeClock) -> Iterator[Host]:
    host = Host(tmp_path, clock, wall)
    yield host
    host.close()


@pytest.fixture
def one(host: Host) -> Worker:
    return host.worker()


@pytest.fixture
def two(one: Worker, host: Host) -> Worker:
    return host.worker()


class TestWhatIsSaid:
    def test_the_others_are_told_and_the_sender_is_not(self, host: Host, one: Worker, two: Worker) -> None:
        one.says("a", b"1")
        host.turns()
        assert one.notes.take() == []
        assert two.notes.take() == [("took", "a", b"1")]

    def test_nobody_is_told_twice(self, host: Host, one: Worker, two: Worker) -> None:
        one.says("a", b"1")
        host.turns(5)
        assert two.notes.take() == [("took", "a", b"1")]

    def test_who_comes_later_is_told_all_in_the_first_turn(self, host: Host, one: Worker) -> None:
        one.says("a", b"1")
        one.says("b", b"2")
        host.turns()
        late = host.worker()
        assert not late.replica.has_read
        late.replica.turn()
        assert late.replica.has_read
        assert late.notes.take() == [("took", "a", b"1"), ("took", "b", b"2")]

    def test_an_equal_token_renews_a_life_and_writes_no_body(self, host: Host, one: Worker, two: Worker) -> None:
        one.says("a", b"1")
        host.turns()
        one.says("a", b"1")
        host.turns()
        assert one.store.bodies("thing") == [("a", b"1"), ("a", None)]
        assert two.notes.take() == [("took", "a", b"1"), ("renewed", "a", None)]

    def test_without_a_token_the_body_is_always_written(self, host: Host, one: Worker) -> None:
        for _ in range(2):
            one.replica.publish("thing", "a", lambda: b"1", lifetime_s=60.0, token=None)
            host.turns()
        assert one.store.bodies("thing") == [("a", b"1"), ("a", b"1")]

    def test_who_has_been_told_renews_too_and_no_body_goes_to_and_fro(
        self, host: Host, one: Worker, two: Worker
    ) -> None:
        one.says("a", b"1")
        host.turns()
        for worker in (two, one, two):
            worker.says("a", b"1")
            host.turns()
        assert two.store.bodies("thing") == [("a", None), ("a", None)]
        assert one.store.bodies("thing") == [("a", b"1"), ("a", None)]

    def test_of_several_words_on_one_thing_the_last_is_written(self, host: Host, one: Worker, two: Worker) -> None:
        for body in (b"1", b"2", b"3"):
            one.says("a", body)
        host.turns()
        assert one.store.bodies("thing") == [("a", b"3")]
        assert two.notes.take() == [("took", "a", b"3")]

    def test_a_life_ends_when_it_was_said_to_however_late_it_is_written(self, host: Host, one: Worker) -> None:
        one.says("a", b"1", lifetime_s=60.0)
        host.advance(20.0)
        host.turns()
        record = one.store.get("thing", "a")
        assert record is not None
        assert record.remaining_s(host.wall()) == 40.0

    def test_what_has_ended_meanwhile_is_not_written(self, host: Host, one: Worker) -> None:
        one.says("a", b"1", lifetime_s=60.0)
        host.advance(60.0)
        host.turns()
        assert one.store.bodies("thing") == []

    def test_what_is_taken_back_is_taken_back_for_all(self, host: Host, one: Worker, two: Worker) -> None:
        one.says("a", b"1")
        host.turns()
        two.replica.drop("thing", "a")
        host.turns()
        assert one.notes.take() == [("dropped", "a", None)]
        assert one.store.get("thing", "a") is None
        one.says("a", b"1")
        host.turns()
        assert one.store.bodies("thing") == [("a", b"1"), ("a", b"1")], "the body is needed again"


class TestOrder:
    """Of two words on one thing all workers keep the same."""

    def test_what_waits_to_be_said_is_newer_than_what_is_read(self, host: Host, one: Worker, two: Worker) -> None:
        one.says("a", b"1")
        one.replica.turn()
        two.store.cannot_write = StoreBusy("later")
        two.says("a", b"2")
        two.replica.turn()
        assert two.notes.take() == []
        two.store.cannot_write = None
        host.turns()
        assert one.notes.take() == [("took", "a", b"2")]
        assert two.notes.take() == []

    def test_who_was_halted_says_nothing_older_than_what_others_have_said_meanwhile(
        self, host: Host, one: Worker, two: Worker
    ) -> None:
        """A server that has said that it shuts down says nothing more: nobody would set an older word right."""
        host.turns()
        one.says("a", b"up")
        host.advance(10.0)
        two.says("a", b"down")
        host.turns(of=[two])
        host.turns()
        record = one.store.get("thing", "a")
        assert record is not None
        assert record.body == b"down"
        assert two.notes.take() == []
        assert one.notes.take() == [("took", "a", b"down")]

    def test_nor_does_who_could_not_write(self, host: Host, one: Worker, two: Worker) -> None:
        host.turns()
        one.store.cannot_write = StoreFull("no room")
        one.says("a", b"up")
        host.turns(of=[one])
        host.advance(10.0)
        two.says("a", b"down")
        host.turns(of=[two])
        host.turns(of=[one])  # it reads what it believes to be older than what it has to say
        one.store.cannot_write = None
        host.turns()
        assert one.notes.take()[-1:] == [("took", "a", b"down")]
        assert two.notes.take() == []

    def test_who_was_halted_and_said_the_last_word_says_it(self, host: Host, one: Worker, two: Worker) -> None:
        two.says("a", b"1")
        host.turns()
        host.advance(1.0)
        one.says("a", b"2")
        host.advance(10.0)
        host.turns()
        assert two.notes.take() == [("took", "a", b"2")]

    def test_who_was_told_another_word_a_moment_ago_is_told_its_own(self, host: Host, one: Worker, two: Worker) -> None:
        """Between using its own and saying it, a worker may have been told an older word and be using that."""
        one.says("a", b"1")
        one.replica.turn()
        two.replica.turn()
        two.says("a", b"2")
        host.turns()
        assert two.notes.take() == [("took", "a", b"1"), ("took", "a", b"2")]

    def test_who_renewed_what_another_has_just_replaced_is_told_the_new_body(
        self, host: Host, one: Worker, two: Worker
    ) -> None:
        one.says("a", b"1")
        host.turns()
        two.says("a", b"2")
        one.says("a", b"1")
        one.store.before_put = two.replica.turn
        host.turns()
        assert one.store.bodies("thing")[-1] == ("a", None)
        assert one.notes.take() == [("took", "a", b"2")]

    @settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(
        steps=st.lists(
            st.tuples(st.sampled_from(["say", "drop", "turn", "fail"]), st.integers(0, 2), st.sampled_from("ab")),
            max_size=40,
        )
    )
    def test_whatever_happens_all_hold_the_same_in_the_end(
        self, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, str]]
    ) -> None:
        host = Host(tmp_path_factory.mktemp("host"), FakeClock(), FakeClock(1_767_225_600.0))
        workers = [host.worker() for _ in range(3)]
        held: list[dict[str, bytes]] = [{}, {}, {}]
        for number, (what, who, key) in enumerate(steps):
            worker = workers[who]
            if what == "say":
                held[who][key] = b"%d" % (number // 4)  # now and then the same again
                worker.says(key, held[who][key])
            elif what == "drop":
                held[who].pop(key, None)
                worker.replica.drop("thing", key)
            else:
                worker.store.cannot_write = StoreBusy("now") if what == "fail" else None
                worker.replica.turn()
                worker.store.cannot_write = None
                hear(worker, held[who])
        for _ in range(2):
            host.turns()
            for worker, mine in zip(workers, held, strict=True):
                hear(worker, mine)
        stored = {record.key: record.body for record in workers[0].store.changes(0).records if record.kind == "thing"}
        host.close()
        assert held == [stored, stored, stored]


def hear(worker: Worker, held: dict[str, bytes]) -> None:
    """Do as a follower does."""
    for what, key, body in worker.notes.take():
        if what == "took":
            assert body is not None
            held[key] = body
        elif what == "dropped":
            held.pop(key, None)


class TestFollowers:
    def test_one_that_does_not_know_what_lives_on_is_told_it(self, host: Host, one: Worker, two: Worker) -> None:
        one.says("a", b"1")
        host.turns()
        two.notes.take()
        two.notes.known = False
        one.says("a", b"1")
        host.turns()
        assert two.notes.take() == [("renewed", "a", None), ("took", "a", b"1")]

    def test_one_that_fails_at_something_is_told_the_rest(
        self, host: Host, one: Worker, two: Worker, caplog: pytest.LogCaptureFixture
    ) -> None:
        two.notes.fails_at = "a"
        for key in "abc":
            one.says(key, b"1")
        with caplog.at_level(logging.ERROR):
            host.turns()
        assert [key for _, key, _ in two.notes.take()] == ["b", "c"]
        assert len(caplog.records) == 1
        assert two.replica.trouble is None

    def test_that_all_has_been_told_is_told_once(self, host: Host, one: Worker, two: Worker) -> None:
        heard: list[int] = []
        two.replica.after_telling(lambda: heard.append(len(two.notes.take())))
        host.turns()
        heard.clear()
        for key in "abc":
            one.says(key, b"x")
        host.turns()
        assert [number for number in heard if number] == [3]

    def test_a_kind_that_nobody_follows_is_no_matter(self, host: Host, one: Worker, two: Worker) -> None:
        one.replica.publish("other", "a", lambda: b"1", lifetime_s=60.0, token=1)
        host.turns()
        assert two.notes.take() == []
        assert two.replica.trouble is None


class TestTrouble:
    def test_what_could_not_be_written_is_written_later(self, host: Host, one: Worker, two: Worker) -> None:
        one.store.cannot_write = StoreFull("no room")
        one.says("a", b"1")
        host.turns()
        assert one.replica.trouble is one.store.cannot_write
        assert one.replica.statistics().pending >= 1
        one.store.cannot_write = None
        host.turns()
        assert one.replica.trouble is None
        assert one.replica.statistics().pending == 0
        assert two.notes.take() == [("took", "a", b"1")]

    def test_what_is_said_meanwhile_wins(self, host: Host, one: Worker, two: Worker) -> None:
        one.store.cannot_write = StoreFull("no room")
        one.says("a", b"1")
        host.turns()
        one.says("a", b"2")
        one.store.cannot_write = None
        host.turns()
        assert two.notes.take() == [("took", "a", b"2")]

    def test_a_store_that_cannot_be_written_is_read_all_the_same(self, host: Host, one: Worker, two: Worker) -> None:
        two.store.cannot_write = StoreFull("no room")
        two.says("mine", b"1")
        one.says("a", b"1")
        host.turns()
        assert two.notes.take() == [("took", "a", b"1")]

    def test_a_store_that_was_emptied_gets_the_bodies_again(self, host: Host, one: Worker, two: Worker) -> None:
        one.says("a", b"1")
        host.turns()
        host.path.unlink()
        one.says("a", b"1")
        host.turns()
        assert [body for _, body in one.store.bodies("thing")] == [b"1", None, b"1"]
        assert two.notes.take() == [("took", "a", b"1")] * 2

    def test_a_broken_store_is_trouble_once_and_then_begins_anew(self, host: Host, one: Worker) -> None:
        one.says("a", b"1")
        host.turns()
        one.store.cannot_write = StoreBroken("was set aside")
        one.says("a", b"1")
        one.replica.turn()
        assert isinstance(one.replica.trouble, StoreBroken)
        one.store.cannot_write = None
        host.path.unlink()
        host.turns()
        record = one.store.get("thing", "a")
        assert record is not None
        assert record.body == b"1"

    def test_what_cannot_be_encoded_keeps_nothing_else_from_being_written(
        self, host: Host, one: Worker, two: Worker, caplog: pytest.LogCaptureFixture
    ) -> None:
        one.replica.publish("thing", "a", lambda: bytes([256]), lifetime_s=60.0, token=1)
        one.replica.publish("thing", "\ud800", lambda: b"1", lifetime_s=60.0, token=1)
        one.says("b", b"1")
        host.turns()
        assert two.notes.take() == [("took", "b", b"1")]
        assert one.replica.statistics().lost == 2
        assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]

    def test_an_unforeseen_error_ends_a_part_of_a_turn_only(
        self, host: Host, one: Worker, two: Worker, caplog: pytest.LogCaptureFixture
    ) -> None:
        two.says("b", b"1")
        two.replica.turn()
        one.store.cannot_write = RuntimeError("a mistake")
        one.says("a", b"1")
        one.replica.turn()
        assert one.notes.take() == [("took", "b", b"1")]
        assert "unforeseen" in caplog.text
        assert one.replica.statistics().lost == 1, "else one that can never be written would be tried for ever"
        one.store.cannot_write = None
        one.says("a", b"1")
        host.turns()
        assert two.notes.take() == [("took", "a", b"1")]

    def test_what_waits_is_bounded_and_the_oldest_go_first(
        self, host: Host, one: Worker, two: Worker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(outbox, "PENDING", 3)
        host.turns()
        one.store.cannot_write = StoreFull("no room")
        for key in "abcd":
            one.says(key, b"1")
        one.replica.turn()
        one.says("e", b"1")
        assert one.replica.statistics().pending == 3
        one.store.cannot_write = None
        host.turns()
        assert [key for _, key, _ in two.notes.take()] == ["c", "d", "e"]
        assert one.replica.statistics().lost == 2

    def test_it_is_logged_once_a_minute_however_often_it_comes_and_goes(
        self, host: Host, one: Worker, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO):
            for _ in range(10):
                one.store.cannot_read = StoreUnwritable("gone")
                one.replica.turn()
                one.store.cannot_read = None
                one.replica.turn()
            assert [record.levelname for record in caplog.records].count("WARNING") == 1
            host.advance(WARN_EVERY_S)
            one.store.cannot_read = StoreUnwritable("gone")
            one.replica.turn()
        assert [record.levelname for record in caplog.records].count("WARNING") == 2


class TestWorkers:
    def test_they_count_each_other(self, host: Host, one: Worker, two: Worker) -> None:
        assert one.replica.workers == 1
        host.turns()
        assert (one.replica.workers, two.replica.workers) == (2, 2)
        host.worker()
        host.turns(10)
        assert one.replica.workers == 3

    def test_one_that_ends_is_not_counted_any_more(self, host: Host, one: Worker, two: Worker) -> None:
        host.turns()
        assert two.replica.start(Deadline.after(5.0))
        assert two.replica.stop(Deadline.after(5.0))
        assert two.store.is_closed
        host.turns(of=[one])
        assert one.replica.workers == 1

    def test_one_that_died_is_not_counted_for_long(self, host: Host, one: Worker, two: Worker) -> None:
        host.turns()
        host.advance(ALIVE_S)
        assert one.replica.workers == 1
        host.turns(of=[one])
        assert one.replica.workers == 1

    def test_one_that_cannot_use_the_store_is_still_one(self, host: Host, one: Worker) -> None:
        one.store.cannot_read = one.store.cannot_write = StoreUnwritable("gone")
        host.turns(10)
        assert one.replica.workers == 1

    def test_that_one_lives_on_writes_no_body(self, host: Host, one: Worker) -> None:
        host.turns(5)
        assert [body for _, body in one.store.bodies(WORKER)] == [b"", None, None, None, None, None]


class TestLeases:
    def test_one_has_it_and_the_others_know_that_they_have_not(self, host: Host, one: Worker, two: Worker) -> None:
        for worker in (one, two):
            worker.replica.contend("host")
        host.turns(10)
        assert one.replica.holds("host")
        assert not two.replica.holds("host")
        assert one.replica.statistics().leases == ("host",)

    def test_nobody_has_what_it_did_not_contend_for(self, host: Host, one: Worker) -> None:
        host.turns()
        assert not one.replica.holds("host")

    def test_it_goes_over_within_five_seconds_and_no_two_have_it_at_once(
        self, host: Host, one: Worker, two: Worker
    ) -> None:
        for worker in (one, two):
            worker.replica.contend("host")
        host.turns()
        taken_at = None
        for tenth in range(60):
            host.advance(0.1)
            two.replica.turn()  # and `one` hangs
            assert not (one.replica.holds("host") and two.replica.holds("host"))
            if taken_at is None and two.replica.holds("host"):
                taken_at = tenth / 10
        assert taken_at is not None
        assert taken_at <= 5.0
        one.replica.turn()
        assert not one.replica.holds("host")

    def test_who_hangs_stops_to_believe_before_others_may_take_it(self, host: Host, one: Worker) -> None:
        one.replica.contend("host")
        host.turns()
        host.advance(LEASE_S - MARGIN_S)
        assert not one.replica.holds("host")
        assert one.store.holder("host") == "worker-0"

    def test_who_ends_gives_it_back(self, host: Host, one: Worker, two: Worker) -> None:
        for worker in (one, two):
            worker.replica.contend("host")
        host.turns()
        one.replica.start(Deadline.after(5.0))
        assert one.replica.stop(Deadline.after(5.0))
        host.advance(1.0)
        host.turns(of=[two])
        assert two.replica.holds("host")

    def test_while_the_store_cannot_be_used_everybody_does_it_but_not_before_a_lease_may_have_ended(
        self, host: Host, one: Worker, two: Worker
    ) -> None:
        for worker in (one, two):
            worker.replica.contend("host")
        host.turns()
        for worker in (one, two):
            worker.store.cannot_write = StoreFull("no room")
        host.turns(3)
        assert not two.replica.holds("host")
        host.turns(3)
        assert one.replica.holds("host")
        assert two.replica.holds("host")
        for worker in (one, two):
            worker.store.cannot_write = None
        host.turns(2)
        assert [worker.replica.holds("host") for worker in (one, two)].count(True) == 1


class TestWhetherItIsShared:
    def test_it_is_when_it_stands_in_the_store_and_not_before(self, host: Host, one: Worker, two: Worker) -> None:
        one.replica.start(Deadline.after(5.0))
        gate, is_writing = threading.Event(), threading.Event()

        def hang() -> None:
            is_writing.set()
            gate.wait(30.0)

        one.store.before_put = hang
        one.says("a", b"1")
        assert is_writing.wait(30.0)
        assert not one.replica.has_shared(0.0)
        gate.set()
        assert one.replica.has_shared(30.0)
        host.turns(of=[two])
        assert ("took", "a", b"1") in two.notes.take()
        assert one.replica.statistics().late == 1
        assert one.replica.stop(Deadline.after(5.0))

    def test_what_is_said_later_is_waited_for_anew(self, host: Host, one: Worker) -> None:
        one.says("a", b"1")
        host.turns()
        assert one.replica.has_shared(0.0)
        one.says("b", b"1")
        assert not one.replica.has_shared(0.0)

    @pytest.mark.parametrize("error", [StoreFull("no room"), RuntimeError("a mistake")], ids=["trouble", "mistake"])
    def test_nobody_waits_for_longer_than_until_a_write_fails(self, one: Worker, error: Exception) -> None:
        one.replica.start(Deadline.after(5.0))
        waits = threading.Event()

        def fail() -> None:
            waits.wait(30.0)
            one.store.cannot_write = None
            raise error

        one.store.before_put = fail
        one.says("a", b"1")
        threading.Timer(0.05, waits.set).start()
        assert not one.replica.has_shared(3600.0)
        assert one.replica.stop(Deadline.after(5.0))

    def test_in_trouble_nobody_waits(self, one: Worker) -> None:
        one.store.cannot_write = StoreFull("no room")
        one.replica.start(Deadline.after(5.0))
        one.says("a", b"1")
        assert not one.replica.has_shared(3600.0)
        assert one.replica.stop(Deadline.after(5.0))

    def test_nobody_waits_for_one_that_does_not_run(self, one: Worker) -> None:
        one.says("a", b"1")
        assert not one.replica.has_shared(3600.0)

    def test_what_cannot_be_written_at_all_is_not_waited_for(self, one: Worker) -> None:
        one.replica.start(Deadline.after(5.0))
        one.says("\ud800", b"1")
        assert one.replica.has_shared(3600.0)
        assert one.replica.stop(Deadline.after(5.0))


class TestItsLife:
    def test_what_was_said_last_is_written_when_it_ends(self, host: Host, one: Worker, two: Worker) -> None:
        one.replica.start(Deadline.after(5.0))
        one.says("a", b"1")
        assert one.replica.stop(Deadline.after(5.0))
        host.turns(of=[two])
        assert ("took", "a", b"1") in two.notes.take()

    def test_a_store_that_cannot_be_read_holds_up_no_start(self, one: Worker) -> None:
        one.store.cannot_read = StoreUnwritable("gone")
        assert not one.replica.start(Deadline.after(5.0))
        assert not one.replica.has_read
        assert one.replica.trouble is not None
        assert one.replica.stop(Deadline.after(5.0))

    def test_one_that_was_never_started_ends_at_once(self, one: Worker) -> None:
        assert one.replica.stop(Deadline.after(0.0))


def test_to_be_alone_looks_like_being_one_of_many() -> None:
    said = {name for name in vars(Replica) if not name.startswith("_")} - {"turn"}
    assert said == {name for name in dir(Alone) if not name.startswith("_")} - {"holder"}
    alone = Alone()
    assert alone.holds("host")
    assert alone.has_shared(0.0)
    assert alone.start(Deadline.after(0.0))
    assert alone.stop(Deadline.after(0.0))
