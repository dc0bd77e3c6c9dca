"""Laws of what is taken from a client's `traceparent` and `tracestate`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.runtime.tracing.context import parse, traceparent

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"


def test_a_parent_is_read() -> None:
    parent = parse(GOOD, "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7")
    assert parent is not None
    assert (f"{parent.trace_id:032x}", f"{parent.span_id:016x}", parent.is_sampled) == (TRACE, SPAN, True)
    assert parent.state == "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"


@pytest.mark.parametrize(("flags", "is_sampled"), [("00", False), ("01", True), ("02", False), ("ff", True)])
def test_one_flag_says_whether_it_is_recorded(flags: str, is_sampled: bool) -> None:
    parent = parse(GOOD[:-2] + flags)
    assert parent is not None
    assert parent.is_sampled is is_sampled


@pytest.mark.parametrize("text", [f"01-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what-comes-later", f" {GOOD}\t"])
def test_later_versions_and_blanks_around_are_no_mistake(text: str) -> None:
    assert parse(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"{GOOD},{GOOD}",
        f"{GOOD}\n",
        f"00-{TRACE}-{SPAN}-0x",
        f"01-{TRACE}-{SPAN}-01-{'x' * 1000}",
        "٠٠" + GOOD[2:],
    ],
)
def test_what_is_no_parent_does_not_count(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    "state",
    [
        "a=" + "x" * 600,
        ",".join(f"k{n}=v" for n in range(33)),
        "a=1,a=2",
        "no equals sign",
        "UPPER=1",
        "a=b=c",
        "a=1\r\nX-Evil: 1",
        "a=é",
        " , ",
    ],
)
def test_a_state_that_is_none_is_left_out_and_the_parent_counts(state: str) -> None:
    parent = parse(GOOD, state)
    assert parent is not None
    assert parent.state == ""


@given(st.text(max_size=200), st.text(max_size=600))
def test_nothing_that_may_come_raises(parent: str, state: str) -> None:
    parse(parent, state)
    parse(GOOD, state)


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_what_is_written_reads_back(trace_id: int, span_id: int, is_sampled: bool) -> None:
    parent = parse(traceparent(trace_id, span_id, is_sampled=is_sampled))
    assert parent is not None
    assert (parent.trace_id, parent.span_id, parent.is_sampled) == (trace_id, span_id, is_sampled)
