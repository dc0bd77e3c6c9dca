"""Targets to object paths and back."""

import posixpath
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.errors import BadRequest
from director_wsgi.federation.urls import quote_path
from director_wsgi.redirect.paths import clean, depth_below, encode_query, parse_query, split_target


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [
        ("/", "/"),
        ("", "/"),
        ("//", "/"),
        ("/a", "/a"),
        ("/a/", "/a"),
        ("//a//b//", "/a/b"),
        ("/a/./b/.", "/a/b"),
        ("/a/../b", "/b"),
        ("/../../a", "/a"),
        ("/a/..", "/"),
        ("/.a/..b/c..", "/.a/..b/c.."),
        ("/a\n/../b", "/b"),
        ("a/b", "/a/b"),
    ],
)
def test_clean_is_go_path_clean(path: str, cleaned: str) -> None:
    assert clean(path) == cleaned


segments = st.lists(st.sampled_from(["", ".", "..", "a", "b c", "ä", "...", "\n"]), max_size=8)


@given(segments)
def test_cleaning_agrees_with_posix_normalisation_and_is_idempotent(parts: list[str]) -> None:
    path = "/" + "/".join(parts)

    cleaned = clean(path)

    assert cleaned == "/" + posixpath.normpath(path).lstrip("/")
    assert clean(cleaned) == cleaned


def test_cleaning_takes_time_in_proportion_to_the_path() -> None:
    """A quadratic pattern takes minutes for this, and holds the interpreter lock meanwhile."""
    for path in ("/a" * 4000, "/" + "x" * 8000, "/." * 4000):
        for _ in range(2000):
            clean(path)


names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(names)
def test_a_name_survives_the_way_from_target_to_url(name: str) -> None:
    """Decoded once, encoded once: blanks, `%`, `#`, `?` and every other character arrive at the server as they left."""
    path, query = split_target("/ns/" + quote(name, safe=""))

    url = "https://o.example.org" + quote_path(path)

    assert query == ""
    assert unquote(urlsplit(url).path) == "/ns/" + name
    assert urlsplit(url).query == urlsplit(url).fragment == ""


def test_the_unescaped_set_is_that_of_go() -> None:
    every = "".join(map(chr, range(0x20, 0x7F)))
    assert quote_path(every) == (
        "%20%21%22%23$%25&%27%28%29%2A+,-./0123456789:;%3C=%3E%3F@ABCDEFGHIJKLMNOPQRSTUVWXYZ%5B%5C%5D%5E_"
        "%60abcdefghijklmnopqrstuvwxyz%7B%7C%7D~"
    )


@pytest.mark.parametrize("target", ["/a%", "/a%2", "/a%zz", "/a%FF", "/a%C3", "/%00", "/a\xff"])
def test_what_is_no_path_is_refused(target: str) -> None:
    with pytest.raises(BadRequest):
        split_target(target)


def test_an_absolute_target_loses_its_authority() -> None:
    assert split_target("http://host:8444/a/b?c=d") == ("/a/b", "c=d")
    assert split_target("https://host?c") == ("/", "c")


def test_a_raw_hash_and_an_encoded_slash_belong_to_the_path() -> None:
    assert split_target("/a#b%2Fc") == ("/a#b/c", "")


def test_parameters_without_value_are_kept_and_broken_ones_dropped() -> None:
    assert parse_query("directread&a=1&a=2&x=%zz&y=1;z=2&&=e") == (
        ("directread", ""),
        ("a", "1"),
        ("a", "2"),
        ("", "e"),
    )


def test_a_query_without_end_is_refused() -> None:
    with pytest.raises(BadRequest):
        parse_query("&".join(["a=1"] * 101))


pairs = st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=5)


@given(pairs)
def test_a_query_survives_the_round_trip_sorted(wanted: list[tuple[str, str]]) -> None:
    wanted = [(n.encode("utf-8", "replace").decode(), v.encode("utf-8", "replace").decode()) for n, v in wanted]

    encoded = encode_query(wanted)

    assert list(parse_query(encoded)) == sorted(wanted, key=lambda pair: pair[0])
    assert parse_qsl(encoded, keep_blank_values=True) == sorted(wanted, key=lambda pair: pair[0])


@given(st.text(max_size=60))
def test_no_target_whatsoever_does_worse_than_a_refusal(text: str) -> None:
    try:
        path, query = split_target(text.encode("utf-8", "replace").decode("latin-1"))
        parse_query(query)
    except BadRequest:
        return
    assert clean(path).startswith("/")


@pytest.mark.parametrize(
    ("path", "prefix", "depth"),
    [("/demo/a/b", "/demo", 2), ("/demo", "/demo", 0), ("/a/b", "/", 0), ("/a/b/c", "/a/b", 1)],
)
def test_depth_counts_the_components_below_the_namespace(path: str, prefix: str, depth: int) -> None:
    assert depth_below(path, prefix) == depth
