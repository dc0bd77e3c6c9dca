"""Go's notation for lengths of time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.runtime.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2s", 2.0),
        ("2000ms", 2.0),
        ("1m30s", 90.0),
        ("1h", 3600.0),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("1.s", 1.0),
        ("+5s", 5.0),
        ("-1m", -60.0),
        ("0", 0.0),
        ("0s", 0.0),
        ("250us", 0.00025),
        ("250µs", 0.00025),  # U+00B5
        ("250μs", 0.00025),  # U+03BC
        ("1ns", 1e-9),
        ("1s1s", 2.0),
        ("2562047h47m16.854775807s", 9223372036.854775807),
    ],
)
def test_a_duration_is_read_as_go_reads_it(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["3", "3.5", "-3", "10"])
def test_a_bare_number_is_refused_in_upstreams_words(text: str) -> None:
    with pytest.raises(
        ValueError, match=r'include a unit suffix \(e\.g\., "10s", "5m", "1h"\); got bare number: ' + text
    ):
        parse_duration(text)


@pytest.mark.parametrize("text", ["", "s", ".s", "1 s", " 1s", "1s ", "1d", "1S", "--1s", "1e3s", "1s2", "٣s", "NaNs"])
def test_what_go_refuses_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


def test_what_go_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="292 years"):
        parse_duration("2562047h47m16.854775808s")


@pytest.mark.parametrize("text", ["9" * 5000 + "s", "9" * 5000])
def test_a_monstrous_number_is_refused_unread(text: str) -> None:
    with pytest.raises(ValueError, match="too long"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (-0.0, "0s"),
        (1e-9, "1ns"),
        (1.5e-6, "1.5µs"),
        (0.0015, "1.5ms"),
        (1.0, "1s"),
        (60.0, "1m"),
        (90.5, "1m30.5s"),
        (3600.0, "1h"),
        (3601.0, "1h0m1s"),
        (5400.0, "1h30m"),
        (-90.0, "-1m30s"),
        (1e300, "2562047h47m16.854775807s"),
    ],
)
def test_a_duration_is_written_as_an_operator_would(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(min_value=-(2**53), max_value=2**53))
def test_what_is_written_reads_back_the_same(nanoseconds: int) -> None:
    seconds = nanoseconds / 10**9
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.text() | st.from_regex(r"[-+]?([0-9.]{0,6}(ns|us|ms|s|m|h|d)?){0,4}", fullmatch=True))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert abs(seconds) <= 2**63 / 10**9
