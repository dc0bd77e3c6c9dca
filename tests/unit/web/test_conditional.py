"""Laws of conditions: RFC 9110 on what a client has, or wants."""

import pytest
from flask import Request
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import create_environ

from director_wsgi.web.conditional import instead_of

pytestmark = pytest.mark.unit

TAG = '"0123456789abcdef"'
ENTITY_CHARACTERS = st.characters(
    min_codepoint=0x21, max_codepoint=0xFF, exclude_characters='"', exclude_categories=["Cc"]
)


def told(tag: str = TAG, **headers: str) -> int | None:
    return instead_of(Request(create_environ(headers={n.replace("_", "-"): v for n, v in headers.items()})), tag)


ONE_OF_THEM = [TAG, f'"x", {TAG}', f'"x",{TAG},"y"', f" , ,{TAG}", f'"a,b", {TAG}', f'W/"x" ,\t {TAG} , ', "*", " * "]
NONE_OF_THEM = [
    "0123456789abcdef",
    '"0123456789ABCDEF"',
    '"0123456789abcdef',
    '"x0123456789abcdef"',
    '"*"',
    "*, *",
    "W/",
    '"a,0123456789abcdef,b"',
]
WEAKLY = [f"W/{TAG}", f'"x", W/{TAG}', f'W/"x",W/{TAG}']


@pytest.mark.parametrize("header", [*ONE_OF_THEM, *WEAKLY])
def test_who_has_it_strongly_or_weakly_needs_nothing(header: str) -> None:
    assert told(If_None_Match=header) == 304


@pytest.mark.parametrize("header", ["", *NONE_OF_THEM])
def test_who_has_others_gets_it(header: str) -> None:
    assert told(If_None_Match=header) is None


@pytest.mark.parametrize("header", ["", *ONE_OF_THEM])
def test_who_wants_it_gets_it(header: str) -> None:
    assert told(If_Match=header) is None


@pytest.mark.parametrize("header", [*NONE_OF_THEM, *WEAKLY])
def test_who_wants_others_gets_none_and_weakly_is_not_good_enough(header: str) -> None:
    assert told(If_Match=header) == 412


def test_what_is_wanted_comes_before_what_is_had() -> None:
    assert told(If_Match='"x"', If_None_Match=TAG) == 412
    assert told(If_Match=TAG, If_None_Match=TAG) == 304


def test_without_a_condition_or_with_one_by_date_it_is_sent() -> None:
    assert told() is None
    assert told(If_Modified_Since="Sat, 01 Jan 2050 00:00:00 GMT") is None
    assert told(If_Unmodified_Since="Sat, 01 Jan 2000 00:00:00 GMT") is None


@given(st.lists(st.tuples(st.booleans(), st.text(ENTITY_CHARACTERS)), max_size=6), st.text(ENTITY_CHARACTERS))
def test_whatever_others_there_are(others: list[tuple[bool, str]], mine: str) -> None:
    header = ", ".join(f'{"W/" if is_weak else ""}"{text}"' for is_weak, text in others)
    assert (told(f'"{mine}"', If_None_Match=header) == 304) == (mine in [text for _, text in others])
    if others:
        assert (told(f'"{mine}"', If_Match=header) is None) == ((False, mine) in others)


@given(st.lists(st.sampled_from([TAG, '"', ",", " ", "W/", "w/", "*", "x", "\x80"]), max_size=12).map("".join))
def test_in_what_is_no_list_of_tags_nothing_is_found_that_is_not_there(header: str) -> None:
    assert told(If_None_Match=header) is None or TAG in header or header.strip() == "*"
