"""Laws of pages: how the numbers of several workers become one, and what outlives a worker."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.runtime.pages import FORMAT, NOBODY, OTHER, Across, Family, Page, Row, decode, encode, kept, together

SERVER = ("O1", "https://o1.example.org", "Origin")


def family(across: Across, rows: dict[Row, float], *, name: str = "f", most: int = 100) -> Family:
    labels = {sample: tuple(f"l{index}" for index in range(len(values))) for sample, values in rows}
    return Family(name=name, kind="gauge", text="For tests.", across=across, most=most, labels=labels, rows=dict(rows))


def page(worker: str, *families: Family, is_live: bool = True) -> Page:
    return Page(worker=worker, families={one.name: one for one in families}, is_live=is_live)


def number(families: list[Family], row: Row = ("f", ())) -> float:
    (one,) = families
    return one.rows[row]


@pytest.mark.parametrize(
    ("across", "becomes"),
    [(Across.COUNTED, 5), (Across.COUNTED_OF_SERVER, 5), (Across.SUM, 5), (Across.MAX, 3), (Across.MIN, 2)],
)
def test_numbers_of_several_workers_become_one(across: Across, becomes: float) -> None:
    pages = [page("1", family(across, {("f", ()): 2})), page("2", family(across, {("f", ()): 3}))]
    assert number(together(pages, None)) == becomes
    assert [one.families["f"].rows[("f", ())] for one in pages] == [2, 3]  # none is changed


def test_what_does_not_become_one_is_told_with_its_worker_only_if_there_are_several() -> None:
    one, other = (page(pid, family(Across.EACH, {("f", ()): float(pid)})) for pid in ("1", "2"))
    assert together([one], None)[0].rows == {("f", ()): 1}
    (both,) = together([one, other], None)
    assert both.rows == {("f", ("1",)): 1, ("f", ("2",)): 2}
    assert both.labels["f"] == ("worker",)


def test_of_a_worker_that_has_ended_only_what_is_counted_counts() -> None:
    gauges, counts = (
        [page("1", family(across, {("f", ()): 1})), page("2", family(across, {("f", ()): 8}), is_live=False)]
        for across in (Across.SUM, Across.COUNTED)
    )
    assert number(together(gauges, None)) == 1
    assert number(together(counts, None)) == 9


def test_what_no_living_worker_tells_is_not_told() -> None:
    assert together([page("2", family(Across.COUNTED, {("f", ()): 8}), is_live=False)], None) == []


def test_counts_of_servers_that_are_not_advertised_any_more_vanish() -> None:
    gone = ("O2", "https://o2.example.org", "Origin")
    rows: dict[Row, float] = {("f", (*SERVER, "ok")): 1, ("f", (*gone, "ok")): 2}
    told = page("1", family(Across.COUNTED_OF_SERVER, rows))
    (shown,) = together([told], {SERVER})
    assert shown.rows == {("f", (*SERVER, "ok")): 1}
    assert told.tells_of_strays({SERVER})
    assert not told.tells_of_strays({SERVER, gone})
    assert not told.tells_of_strays(None)


@given(st.lists(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 9)), max_size=5))
def test_a_sum_does_not_change_as_workers_end(told: list[dict[str, int]]) -> None:
    pages = [
        page(str(index), family(Across.COUNTED, {("f", (key,)): count for key, count in counts.items()}))
        for index, counts in enumerate(told)
    ]
    whole = sum(sum(counts.values()) for counts in told)
    ended = NOBODY
    for index, one in enumerate(pages):
        ended = kept(ended, {str(index): one}, None)
        living = [page("new", family(Across.COUNTED, {("f", ("a",)): 0})), *pages[index + 1 :]]
        (shown,) = together([*living, ended], None)
        assert sum(shown.rows.values()) == whole
    assert ended.kept == tuple(str(index) for index in range(len(pages)))


def test_beyond_its_bound_what_is_kept_is_other_and_the_sum_is_right() -> None:
    rows: dict[Row, float] = {("f", (str(index),)): 1 for index in range(10)}
    (shown,) = kept(NOBODY, {"1": page("1", family(Across.COUNTED, rows, most=3))}, None).families.values()
    assert len(shown.rows) == 4
    assert shown.rows[("f", (OTHER,))] == 7


def test_a_family_whose_labels_have_changed_does_not_mix_with_its_new_version() -> None:
    old = family(Across.COUNTED, {("f", ("x", "y")): 5})
    new = family(Across.COUNTED, {("f", ("x",)): 1})
    assert number(together([page("1", new), page("2", old, is_live=False)], None), ("f", ("x",))) == 1


_text = st.text(max_size=5)
_families = st.builds(
    lambda name, across, rows: family(across, {(name, values): count for values, count in rows.items()}, name=name),
    _text,
    st.sampled_from(Across),
    st.dictionaries(st.tuples(_text), st.integers() | st.floats(allow_nan=False), max_size=4),
)


@given(st.lists(_families, max_size=3, unique_by=lambda one: one.name), st.text(max_size=5))
def test_a_page_can_be_read_as_it_was_written(families: list[Family], worker: str) -> None:
    written = page(worker, *families)
    read = decode(b"".join(encode(written)))
    assert (read.worker, read.families, read.is_live) == (worker, written.families, False)


@given(st.binary(max_size=60))
def test_what_is_no_page_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011, whatever it says
        decode(data)


@pytest.mark.parametrize("first", [f"[{FORMAT + 1},null,[]]", "[]", "{}", "[[[", f'[{FORMAT},"1",[]]\n[1]'])
def test_another_format_is_refused(first: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011, whatever it says
        decode(first.encode())
