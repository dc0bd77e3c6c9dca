"""Laws of lists of namespaces that are recognised by their bytes."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.federation import ads, lists
from director_wsgi.federation.ads import ParsedAd, parse_ad, remember
from director_wsgi.federation.lists import LONG_BYTES, KnownLists, ListKey, interned
from director_wsgi.federation.models import NamespaceAd, ServerKind
from tests.make import namespace

CACHE = ServerKind.CACHE


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> KnownLists:
    fresh = KnownLists()
    monkeypatch.setattr(ads, "_known_lists", fresh)
    return fresh


def elements(count: int, path: str = "/lab") -> list[dict[str, object]]:
    return [{"Caps": {"Read": True}, "path": f"{path}/{number}", "x": "x" * 200} for number in range(count)]


def body(namespaces: list[dict[str, object]], name: str = "C", **more: object) -> bytes:
    said = {"name": name, "data-url": "https://c.example.org", "namespaces": namespaces, "status": "ok", **more}
    return json.dumps(said, separators=(",", ":"), ensure_ascii=False).encode()


def admitted(text: bytes) -> ParsedAd:
    parsed = parse_ad(text, CACHE)
    remember(parsed, parsed.ad)
    return parsed


def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on nothing may read a list element by element."""

    def fail(*_: object) -> None:
        raise AssertionError("read element by element")

    monkeypatch.setattr(ads, "_namespaces", fail)


@pytest.mark.parametrize("path", ["/lab", "/büro/🎈"])
def test_a_list_that_comes_again_byte_for_byte_is_not_read_again(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    held = admitted(body(elements(100, path), "Büro"))
    unread(monkeypatch)
    found = parse_ad(body(elements(100, path), "Another ☃ name", status="warning"), CACHE)
    assert found.ad.status == "warning"
    assert found.listed.key is None
    assert [n.path for n in found.ad.namespaces] == [f"{path}/{number}" for number in range(100)]
    assert all(a is b for a, b in zip(found.ad.namespaces, held.ad.namespaces, strict=True))


def test_a_list_that_differs_anywhere_is_read(known: KnownLists) -> None:
    first = elements(100)
    held = admitted(body(first))
    for changed in (first[:-1], first[1:], [*first, {"path": "/more"}], [*first[:50], {"path": "/x"}, *first[51:]]):
        found = parse_ad(body(changed), CACHE)
        assert [n.path for n in found.ad.namespaces] == [element["path"] for element in changed]
        assert found.listed.key is not None
    text = body(first)
    other = text.replace(b'"/lab/50"', b'"/lab/xx"')
    assert len(other) == len(text)
    assert [n.path for n in parse_ad(other, CACHE).ad.namespaces][50] == "/lab/xx"
    assert len(known) == 1
    assert held.ad.namespaces


def test_of_lists_that_begin_alike_the_one_is_found_that_ends_there() -> None:
    whole = elements(200)
    held = [admitted(body(whole[:count])) for count in (100, 150, 200)]
    for count in (200, 100, 150):
        assert len(parse_ad(body(whole[:count]), CACHE).ad.namespaces) == count
    assert len(held) == 3


def test_what_was_not_admitted_pushes_nothing_out(known: KnownLists) -> None:
    parse_ad(body(elements(100)), CACHE)
    assert len(known) == 0


def test_a_short_list_is_not_worth_it(known: KnownLists) -> None:
    admitted(body(elements(3)))
    assert len(known) == 0
    assert len(json.dumps(elements(100))) > LONG_BYTES


def test_a_list_ends_with_those_who_hold_its_namespaces(known: KnownLists) -> None:
    text = body(elements(100, "/held-by-nobody-else"))
    held = admitted(text)
    key = held.listed.key
    assert key is not None
    assert known.get(key) == held.ad.namespaces
    del held
    assert known.get(key) is None
    assert len(parse_ad(text, CACHE).ad.namespaces) == 100  # and it is read again


def test_what_one_cache_may_not_serve_another_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list is remembered as it was sent, not as it was restricted."""
    parsed = parse_ad(body(elements(100)), CACHE)
    restricted = replace(parsed.ad, namespaces=parsed.ad.namespaces[:10])
    remember(replace(parsed, ad=restricted), restricted)
    unread(monkeypatch)
    assert len(parse_ad(body(elements(100)), CACHE).ad.namespaces) == 100


def test_the_number_of_lists_is_bounded_and_the_last_learned_stay() -> None:
    known = KnownLists(capacity=3)
    one = namespace("/a")
    keys = [ListKey.of(b"%d" % number) for number in range(4)]
    for key in keys[:3]:
        known.learn(key, [one])
    known.learn(keys[0], [one])
    known.learn(keys[3], [one])
    assert [key for key in keys if known.get(key)] == [keys[0], keys[2], keys[3]]


@given(st.lists(st.integers(0, 60), min_size=1, max_size=6), st.text("}],{ x", max_size=80), st.integers(0, 5))
def test_nothing_is_found_but_what_stands_there(cuts: list[int], text: str, at: int) -> None:
    known = KnownLists()
    one = namespace("/a")
    body = text.encode()
    for cut in cuts:
        known.learn(ListKey.of(body[:cut]), [one])
    found = known.find(body, at)
    if found is not None:
        _, length = found
        assert any(body[:cut] == body[at : at + length] for cut in cuts)
    ends = [cut for cut in cuts if cut <= len(body) and body[:cut].endswith(b"}]")]
    if ends:
        assert known.find(body, 0) == ((one,), min(ends))


def test_equal_namespaces_are_one_object_and_others_are_not() -> None:
    one = interned(namespace("/interned", wire='{"path":"/interned"}'))
    assert interned(namespace("/interned", wire='{"path":"/interned"}')) is one
    other = NamespaceAd(path="/other", wire=one.wire)
    assert interned(other) is other
    del one
    assert '{"path":"/interned"}' not in lists.by_text
