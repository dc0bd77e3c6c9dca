"""Laws of advertisements as bytes."""

import json
import zlib
from dataclasses import asdict, fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.federation.ads import parse_ad
from director_wsgi.federation.downtimes import Downtime
from director_wsgi.federation.models import Coordinate, NamespaceAd, ServerAd, ServerKind, TokenGeneration, TokenIssuer
from director_wsgi.federation.store import codec
from director_wsgi.federation.store.codec import UnreadableBody, decode_ad, encode_ad
from tests.make import READS, cache, namespace


def packed(head: str | bytes, *lines: str | bytes) -> bytes:
    """A body in the form of this version that says just this."""
    first, rest = (
        zlib.compress(b"\n".join(text.encode() if isinstance(text, str) else text for text in texts))
        for texts in ([head], lines)
    )
    return bytes((codec.VERSION,)) + len(first).to_bytes(4, "big") + first + rest


DEGREES = st.floats(allow_nan=False, allow_infinity=False)
ADS = st.builds(
    ServerAd,
    kind=st.sampled_from(ServerKind),
    name=st.text(),
    data_url=st.text(),
    base_url=st.text(),
    start_time=st.integers(-(1 << 63), 1 << 63),
    instance_id=st.text(),
    generation_id=st.integers(0, 1 << 64),
    coordinate=st.none()
    | st.builds(Coordinate, latitude=DEGREES, longitude=DEGREES, source=st.text(), remembered=st.booleans()),
    namespaces=st.lists(
        st.builds(
            NamespaceAd,
            path=st.text(),
            wire=st.text(),
            token_generations=st.lists(st.builds(TokenGeneration, issuer=st.text()), max_size=2).map(tuple),
            token_issuers=st.lists(
                st.builds(TokenIssuer, base_paths=st.lists(st.text(), max_size=2).map(tuple)), max_size=2
            ).map(tuple),
        ),
        max_size=3,
    ).map(tuple),
    required_features=st.lists(st.text(), max_size=2).map(tuple),
    downtimes=st.lists(
        st.builds(Downtime, description=st.text(), deleted_at_ms=st.none() | st.integers()), max_size=2
    ).map(tuple),
)


@given(ADS)
def test_an_advertisement_comes_back_as_it_was(ad: ServerAd) -> None:
    found = decode_ad(encode_ad(ad))
    assert found == ad
    assert asdict(found) == asdict(ad)  # also what equality leaves out


def test_equal_namespaces_of_different_servers_are_one_object_again() -> None:
    wire = '{"Caps":{"Read":true},"path":"/shared","token-issuer":null}'
    bodies = [encode_ad(cache(name, namespace("/shared", READS, wire=wire))) for name in ("A", "B")]
    one, other = map(decode_ad, bodies)
    assert one.namespaces[0] is other.namespaces[0]
    assert one.namespaces[0].wire == wire


def test_a_namespace_from_the_store_is_the_one_that_its_sender_has_sent() -> None:
    element = {"Caps": {"Read": True}, "path": "/sent-and-stored"}
    text = json.dumps({"data-url": "https://c", "namespaces": [element]})
    sent = parse_ad(text.encode(), ServerKind.CACHE).ad
    body = encode_ad(sent)
    assert decode_ad(body).namespaces[0] is sent.namespaces[0]
    del sent
    stored = decode_ad(body)  # and the other way round
    assert parse_ad(text.encode(), ServerKind.CACHE).ad.namespaces[0] is stored.namespaces[0]


def long_cache(name: str) -> ServerAd:
    return cache(name, *(namespace(f"/long/{number}", wire=f'{{"path":"/long/{number}"}}') for number in range(1000)))


def test_a_list_that_is_known_is_neither_put_together_nor_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    one = long_cache("A")
    first = encode_ad(one)
    held = decode_ad(first)

    def fail(_value: object) -> str:
        raise AssertionError("done again")

    monkeypatch.setattr(codec, "_pack_namespace", fail)
    monkeypatch.setattr(codec, "_namespace", fail)
    second = encode_ad(replace(one, name="B"))
    found = decode_ad(second)
    assert (found.name, held.name) == ("B", "A")
    assert found == replace(one, name="B")
    assert all(x is y for x, y in zip(found.namespaces, held.namespaces, strict=True))


def test_lists_that_were_written_are_few_and_small(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(codec.WRITTEN + 2):
        encode_ad(long_cache(f"{number}"))
    assert len(codec._written._bodies) == codec.WRITTEN
    held = set(codec._written._bodies)
    monkeypatch.setattr(codec, "MAX_WRITTEN_CHARS", 10_000)
    encode_ad(long_cache("too long"))
    assert set(codec._written._bodies) == held


def test_namespaces_are_forgotten_with_the_last_advertisement_that_holds_them() -> None:
    held = decode_ad(encode_ad(cache("A", "/held-by-nobody-else")))
    assert held.namespaces[0] in codec._known.values()
    del held
    assert "/held-by-nobody-else" not in [namespace.path for namespace in codec._known.values()]


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_unreadable(body: bytes) -> None:
    for tried in (
        body,
        bytes((codec.VERSION,)) + body,
        packed(body),
        packed(codec._dump(codec._pack_head(cache("A"))), b"x" + body),
    ):
        with pytest.raises(UnreadableBody):
            decode_ad(tried)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2),
)


@given(st.integers(0, 30), VALUES, st.integers(0, 4), VALUES)
def test_a_value_of_another_type_is_unreadable_or_taken_as_it_is(
    at: int, value: object, namespace_at: int, other: object
) -> None:
    head = codec._pack_head(cache("A"))
    line = codec._pack_namespace(namespace("/a"))
    head[at % len(head)] = value
    line[namespace_at] = other
    for values in ([head], [codec._pack_head(cache("A")), line], [value], [codec._pack_head(cache("A")), other]):
        try:
            found = decode_ad(packed(*map(codec._dump, values)))
        except UnreadableBody:
            continue
        assert decode_ad(encode_ad(found)) == found or "nan" in repr(found)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "Registry"),
        ("kind", []),
        ("name", 5),
        ("name", None),
        ("start_time", 1.0),
        ("start_time", True),
        ("director_test_disabled", 0),
        ("coordinate", [1.0]),
        ("capabilities", {"reads": True}),
        ("required_features", "text"),
        ("downtimes", [None]),
    ],
)
def test_a_value_of_another_type_is_unreadable(field: str, value: object) -> None:
    head = codec._pack_head(cache("A"))
    head[[each.name for each in fields(ServerAd) if each.name != "namespaces"].index(field)] = value
    with pytest.raises(UnreadableBody):
        decode_ad(packed(codec._dump(head)))


@pytest.mark.parametrize("cut", [0, 1, 2, 10, -1])
def test_a_body_that_was_cut_off_or_has_more_behind_it_is_unreadable(cut: int) -> None:
    body = encode_ad(cache("A", "/a"))
    for tried in (body[:cut], body + b"x"):
        with pytest.raises(UnreadableBody):
            decode_ad(tried)


def test_another_version_is_unreadable() -> None:
    body = encode_ad(cache("A", "/a"))
    with pytest.raises(UnreadableBody, match="another version"):
        decode_ad(bytes((codec.VERSION + 1,)) + body[1:])


def test_no_body_becomes_larger_than_an_advertisement_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "MAX_TEXT_BYTES", 1000)
    with pytest.raises(UnreadableBody, match="too long"):
        decode_ad(encode_ad(cache("A", *(f"/{number}" for number in range(1000)))))


def test_nesting_without_end_is_unreadable() -> None:
    with pytest.raises(UnreadableBody):
        decode_ad(packed(b"[" * 1_000_000))
    with pytest.raises(UnreadableBody):
        decode_ad(packed(codec._dump(codec._pack_head(cache("A"))), b"[" * 1_000_000))


def test_the_form_of_this_version() -> None:
    """If this fails, the models have changed: a new `VERSION`, and new lists here."""
    assert codec.VERSION == 2

    def names(cls: Any) -> str:
        return " ".join(field.name for field in fields(cls))

    assert names(ServerAd) == (
        "kind name data_url base_url web_url broker_url registry_prefix server_id version status storage_type"
        " director_test_disabled coordinate capabilities namespaces required_features downtimes start_time instance_id"
        " generation_id"
    )
    assert names(NamespaceAd) == "path capabilities token_generations token_issuers wire"
    assert names(Coordinate) == "latitude longitude accuracy_radius_km source remembered"
    assert names(TokenGeneration) == "strategy vault_server max_scope_depth issuer"
    assert names(TokenIssuer) == "issuer base_paths restricted_paths"
    assert names(Downtime) == (
        "id server_name server_id created_by updated_by source kind description severity starts_at_ms ends_at_ms"
        " created_at_ms updated_at_ms deleted_at_ms"
    )
