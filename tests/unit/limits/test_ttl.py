"""The laws of TTLTable."""

import itertools
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.limits.ttl import BATCH, TTLTable
from tests.fakes import FakeClock


@pytest.fixture
def table(clock: FakeClock) -> TTLTable[str, int]:
    return TTLTable(3, clock)


def test_what_was_put_is_found(table: TTLTable[str, int]) -> None:
    table.put("a", 1, 10.0)
    assert table.get("a") == 1
    assert "a" in table
    assert len(table) == 1


def test_what_was_not_put_is_not_found(table: TTLTable[str, int]) -> None:
    assert table.get("a") is None
    assert table.pop("a") is None
    assert "a" not in table


def test_an_entry_lives_until_its_last_moment_and_not_at_it(table: TTLTable[str, int], clock: FakeClock) -> None:
    table.put("a", 1, 10.0)
    clock.advance(9.999)
    assert table.get("a") == 1
    clock.advance(0.001)
    assert table.get("a") is None
    assert "a" not in table
    assert table.pop("a") is None
    assert len(table) == 0


def test_each_entry_has_a_life_of_its_own(table: TTLTable[str, int], clock: FakeClock) -> None:
    table.put("long", 1, 10.0)
    table.put("short", 2, 1.0)
    clock.advance(5.0)
    assert (table.get("long"), table.get("short")) == (1, None)


def test_putting_again_replaces_value_and_life(table: TTLTable[str, int], clock: FakeClock) -> None:
    table.put("a", 1, 10.0)
    table.put("a", 2, 1.0)
    assert table.get("a") == 2
    clock.advance(5.0)
    assert table.get("a") is None
    table.put("a", 3, 1.0)
    table.put("a", 4, 10.0)
    clock.advance(5.0)
    assert table.get("a") == 4


@pytest.mark.parametrize("ttl_s", [0.0, -1.0, float("-inf")])
def test_what_has_no_life_is_not_kept_and_removes_what_was_there(table: TTLTable[str, int], ttl_s: float) -> None:
    table.put("a", 1, 10.0)
    table.put("a", 2, ttl_s)
    table.put("b", 2, ttl_s)
    assert table.get("a") is None
    assert len(table) == 0


def test_an_endless_life_does_not_end(table: TTLTable[str, int], clock: FakeClock) -> None:
    table.put("a", 1, float("inf"))
    clock.advance(1e12)
    assert table.get("a") == 1


def test_a_life_that_is_no_number_is_refused(table: TTLTable[str, int]) -> None:
    with pytest.raises(ValueError, match="NaN"):
        table.put("a", 1, float("nan"))


@pytest.mark.parametrize("capacity", [0, -1])
def test_a_table_without_room_is_refused(capacity: int) -> None:
    with pytest.raises(ValueError, match="room"):
        TTLTable(capacity)


def test_the_least_recently_used_makes_room(table: TTLTable[str, int]) -> None:
    for key in "abc":
        table.put(key, 1, 10.0)
    table.get("a")
    assert "b" in table  # looking does not count as a use
    table.put("d", 1, 10.0)
    assert [key for key in "abcd" if key in table] == ["a", "c", "d"]


def test_the_dead_make_room_before_the_living(table: TTLTable[str, int], clock: FakeClock) -> None:
    table.put("old", 1, 100.0)
    table.put("dead", 1, 1.0)
    table.put("new", 1, 100.0)
    clock.advance(2.0)
    table.put("newer", 1, 100.0)
    assert [key for key in ("old", "new", "newer") if key in table] == ["old", "new", "newer"]


def test_with_less_room_the_least_recently_used_go_at_once(table: TTLTable[str, int]) -> None:
    for number, key in enumerate("abc"):
        table.put(key, number, 10.0)
    table.get("a")
    table.resize(1)
    assert [table.get(key) for key in "abc"] == [0, None, None]
    table.put("d", 3, 10.0)
    assert [table.get(key) for key in "ad"] == [None, 3]


def test_with_more_room_nothing_goes_and_more_stays(table: TTLTable[str, int], clock: FakeClock) -> None:
    for key in "abc":
        table.put(key, 1, 10.0)
    table.resize(5)
    for key in "defg":
        table.put(key, 1, 5.0)
    assert [key in table for key in "abcdefg"] == [False, False, True, True, True, True, True]
    clock.advance(5.0)
    assert [key in table for key in "cdefg"] == [True, False, False, False, False]


def test_a_table_cannot_be_left_without_room(table: TTLTable[str, int]) -> None:
    table.put("a", 1, 10.0)
    with pytest.raises(ValueError, match="at least one"):
        table.resize(0)
    assert (table.capacity, table.get("a")) == (3, 1)


def test_a_large_table_that_becomes_small_keeps_nobody_waiting_for_all_of_it(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    table: TTLTable[int, int] = TTLTable(10 * BATCH, clock)
    for number in range(10 * BATCH):
        table.put(number, number, 10.0)
    lock, sizes = table._lock, []

    class Watched:
        def __enter__(self) -> None:
            lock.acquire()
            sizes.append(len(table._entries))

        def __exit__(self, *_: object) -> None:
            lock.release()

    monkeypatch.setattr(table, "_lock", Watched())
    table.resize(7)
    assert max(before - after for before, after in itertools.pairwise(sizes)) == BATCH
    assert [table.get(number) for number in range(10 * BATCH - 7, 10 * BATCH)] == list(
        range(10 * BATCH - 7, 10 * BATCH)
    )
    assert len(table) == 7


def test_memory_does_not_grow_with_what_is_replaced_or_makes_room(table: TTLTable[str, int]) -> None:
    for number in range(1000):
        table.put("same", number, 100.0)
        table.put(f"other {number}", number, 100.0)
        table.pop(f"other {number}")
    assert len(table) == 1
    assert len(table._ends) < 100


def test_many_that_died_at_once_go_a_few_at_a_time(clock: FakeClock) -> None:
    table: TTLTable[int, int] = TTLTable(10 * BATCH, clock)
    for number in range(10 * BATCH):
        table.put(number, number, 1.0)
    clock.advance(1.0)
    table.put(-1, 0, 1.0)
    assert len(table._entries) == 9 * BATCH + 1
    assert (table.get(9 * BATCH), table.get(-1)) == (None, 0)
    assert table.expire() == 9 * BATCH


def test_what_was_put_again_does_not_die_of_its_first_end(table: TTLTable[str, int], clock: FakeClock) -> None:
    table.put("a", 1, 1.0)
    table.put("a", 2, 10.0)
    clock.advance(5.0)
    assert table.expire() == 0
    table.put("b", 3, 10.0)
    assert (table.get("a"), len(table)) == (2, 2)


def test_keys_that_have_no_order_may_end_together(clock: FakeClock) -> None:
    table: TTLTable[object, int] = TTLTable(3, clock)
    for key in (None, 1, "a"):
        table.put(key, 1, 1.0)
    clock.advance(1.0)
    assert table.expire() == 3


def test_pop_takes_the_entry_out(table: TTLTable[str, int]) -> None:
    table.put("a", 1, 10.0)
    assert table.pop("a") == 1
    assert table.get("a") is None


def test_none_may_be_a_value_though_it_looks_like_a_miss(clock: FakeClock) -> None:
    table: TTLTable[str, None] = TTLTable(3, clock)
    table.put("a", None, 10.0)
    assert table.get("a") is None
    assert "a" in table


def test_expire_removes_the_dead_and_counts_them(table: TTLTable[str, int], clock: FakeClock) -> None:
    table.put("a", 1, 1.0)
    table.put("b", 1, 2.0)
    table.put("c", 1, 3.0)
    clock.advance(2.0)
    assert table.expire() == 2
    assert table.expire() == 0
    assert len(table) == 1


class LateClock(FakeClock):
    """Moves on by a second each time it is read, as a clock may between two readings."""

    def __call__(self) -> float:
        self.advance(1.0)
        return self.now


@pytest.mark.parametrize("ttl_s", [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5])
def test_dying_between_two_looks_at_the_clock_is_a_miss(ttl_s: float) -> None:
    table: TTLTable[str, int] = TTLTable(3, LateClock())
    table.put("a", 1, ttl_s)
    assert table.get("a") in {1, None}
    table.put("b", 1, ttl_s)
    assert table.pop("b") in {1, None}
    assert table.pop("b") is None


Step = tuple[str, int, float]


@given(
    st.lists(
        st.tuples(st.sampled_from(["put", "get", "pop", "wait"]), st.integers(0, 5), st.sampled_from([-1.0, 1.0, 3.0])),
        max_size=60,
    )
)
def test_it_behaves_as_a_plain_list_of_entries_would(steps: list[Step]) -> None:
    clock = FakeClock()
    table: TTLTable[int, int] = TTLTable(3, clock)
    entries: list[tuple[int, int, float]] = []  # key, value, end; the least recently used first
    for number, (step, key, seconds) in enumerate(steps):
        if step == "wait":
            clock.advance(abs(seconds))
        entries = [entry for entry in entries if entry[2] > clock.now]
        here = [entry for entry in entries if entry[0] == key]
        rest = [entry for entry in entries if entry[0] != key]
        if step == "put":
            table.put(key, number, seconds)
            entries = [*rest, (key, number, clock.now + seconds)][-3:] if seconds > 0 else rest
        elif step == "get":
            assert table.get(key) == (here[0][1] if here else None)
            entries = rest + here
        elif step == "pop":
            assert table.pop(key) == (here[0][1] if here else None)
            entries = rest
        assert len(table) == len(entries)


def test_threads_do_not_disturb_each_other(clock: FakeClock) -> None:
    table: TTLTable[int, int] = TTLTable(50, clock)
    problems: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for number in range(2000):
                key = (seed * 31 + number * 7) % 100
                table.put(key, key, 1.0 + number % 3)
                assert table.get(key - 1) in {None, key - 1}
                table.pop(key - 2)
                if number % 100 == 0:
                    clock.advance(0.5)
                    table.expire()
        except BaseException as error:  # noqa: BLE001, told to the test below
            problems.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(table) <= 50
