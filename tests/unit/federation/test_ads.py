"""Laws of reading advertisements. Each file of the corpus is one body, below a line that says what becomes of it."""

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.errors import InvalidAd
from director_wsgi.federation import ads, lists
from director_wsgi.federation.ads import MAX_MEMBERS, MAX_NAMESPACES, MAX_OTHER_CHARS, ParsedAd, parse_ad
from director_wsgi.federation.models import ServerKind
from director_wsgi.federation.wire import decode

CORPUS = sorted((Path(__file__).parents[2] / "corpus" / "ads").glob("*.ad"))
ORIGIN, CACHE = ServerKind.ORIGIN, ServerKind.CACHE


def read(file: Path) -> tuple[ServerKind, str, str, bytes]:
    head, _, body = file.read_bytes().partition(b"\n")
    kind, outcome, expected = head.decode().split(" ", 2)
    return ServerKind(kind), outcome, expected, body


def seen(parsed: ParsedAd) -> dict[str, object]:
    """What a line of the corpus may speak of."""
    ad = parsed.ad
    first = ad.namespaces[0] if ad.namespaces else None
    values = {name: getattr(ad, name) for name in ad.__dataclass_fields__}
    return values | {
        "required_features": list(ad.required_features),
        "paths": [namespace.path for namespace in ad.namespaces],
        "public_reads": first and first.capabilities.public_reads,
        "issuer": first.token_issuers[0].issuer if first and first.token_issuers else None,
        "latitude": ad.coordinate and ad.coordinate.latitude,
        "expiry_at": parsed.expiry_at,
        "sent_at": parsed.sent_at,
    }


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.stem)
def test_each_body_of_the_corpus_is_accepted_or_refused_as_it_says(file: Path) -> None:
    kind, outcome, expected, body = read(file)
    if outcome == "refused":
        with pytest.raises(InvalidAd) as caught:
            parse_ad(body, kind)
        assert str(caught.value).startswith(expected)
        return
    wanted = json.loads(expected)
    found = seen(parse_ad(body, kind))
    assert {name: found[name] for name in wanted} == wanted


def test_the_corpus_holds_both_kinds_of_outcome() -> None:
    outcomes = [read(file)[1] for file in CORPUS]
    assert outcomes.count("accepted") > 30
    assert outcomes.count("refused") > 60


def body_of(*namespaces: object, **values: object) -> bytes:
    return json.dumps(
        {"data-url": "https://c", "namespaces": list(namespaces), **values}, separators=(",", ":")
    ).encode()


def test_c77_one_slash_is_cut_from_the_end_of_a_path_in_the_text_given_back_too() -> None:
    (namespace,) = parse_ad(body_of({"path": "/demo/", "future": 1}), ORIGIN).ad.namespaces
    assert namespace.path == "/demo"
    assert json.loads(namespace.wire) == {"path": "/demo", "future": 1}


def test_the_text_of_a_namespace_is_given_back_as_it_was_sent_if_it_was_compact() -> None:
    element = '{"Caps":{"Read":true},"path":"/demo","token-issuer":null,"future":[1.50,"x",18446744073709551615]}'
    body = f'{{"data-url":"https://c","namespaces":[{element}]}}'.encode()
    (namespace,) = parse_ad(body, CACHE).ad.namespaces
    assert json.loads(namespace.wire) == json.loads(element)
    plain = '{"Caps":{"Read":true},"path":"/demo","token-issuer":null}'
    (namespace,) = parse_ad(f'{{"data-url":"https://c","namespaces":[{plain}]}}'.encode(), CACHE).ad.namespaces
    assert namespace.wire == plain


def test_the_text_given_back_has_no_blanks_and_no_double_keys() -> None:
    body = b'{"data-url":"https://c","namespaces":[ {"path": "/theirs", "path": "/mine"} ]}'
    (namespace,) = parse_ad(body, CACHE).ad.namespaces
    assert namespace.path == "/mine"
    assert namespace.wire == '{"path":"/mine"}'


def test_equal_namespaces_of_different_servers_are_one_object() -> None:
    elements = [{"Caps": {"Read": True}, "path": f"/ns{i}"} for i in range(20)]
    one = parse_ad(body_of(*elements, name="A"), CACHE).ad
    other = parse_ad(body_of(*elements, name="B"), CACHE).ad
    assert all(a is b for a, b in zip(one.namespaces, other.namespaces, strict=True))


def test_namespaces_are_forgotten_with_the_last_advertisement_that_holds_them() -> None:
    element = {"Caps": {"Read": True}, "path": "/held-by-nobody-else"}
    text = json.dumps(element, separators=(",", ":"))
    parsed = parse_ad(body_of(element), CACHE)
    assert text in lists.by_text
    del parsed
    assert text not in lists.by_text


def test_a_known_element_is_recognised_only_where_it_ends() -> None:
    short = {"Caps": {}, "path": "/a"}
    held = parse_ad(body_of(short, {"Caps": {}, "path": "/b"}), CACHE)
    tricky = [short, {"Caps": {}, "path": "/x", "a": [{"b": 1}, {"Caps": {}}]}, {"Caps": {}, "path": '/},{"Caps"'}]
    found = parse_ad(body_of(*tricky), CACHE).ad
    assert [namespace.path for namespace in found.namespaces] == ["/a", "/x", '/},{"Caps"']
    assert found.namespaces[0] is held.ad.namespaces[0]


def test_the_number_of_namespaces_is_bounded() -> None:
    element = b'{"path":"/a"}'
    body = b'{"data-url":"https://c","namespaces":[' + b",".join([element] * (MAX_NAMESPACES + 1)) + b"]}"
    with pytest.raises(InvalidAd, match="namespaces has more than 20000 elements"):
        parse_ad(body, CACHE)


def test_the_size_of_a_namespace_is_bounded() -> None:
    with pytest.raises(InvalidAd, match="longer than 65536 characters"):
        parse_ad(body_of({"path": "/a", "x": "y" * 70_000}), CACHE)


def test_what_is_no_namespace_is_bounded_as_a_whole_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body of 16 MiB full of `[]` would become half a gigabyte, whoever sent it."""
    third = "[" + ",".join(["[]"] * (MAX_OTHER_CHARS // 9)) + "]"
    parse_ad(f'{{"data-url":"https://o","x":{third},"y":{third}}}'.encode(), ORIGIN)
    longest = 0

    def watched(text: str, at: int, max_chars: int) -> tuple[object, int]:
        nonlocal longest
        longest = max(longest, max_chars)
        return decode(text, at, max_chars)

    monkeypatch.setattr(ads, "decode", watched)
    with pytest.raises(InvalidAd, match=r"a value at character \d+ is longer than \d+ characters"):
        parse_ad(f'{{"data-url":"https://o","x":{third},"y":{third},"z":{third}}}'.encode(), ORIGIN)
    assert longest == MAX_OTHER_CHARS


def test_the_number_of_members_is_bounded() -> None:
    values = {f"member-{number}": 0 for number in range(MAX_MEMBERS)}
    with pytest.raises(InvalidAd, match=f"the object has more than {MAX_MEMBERS} members"):
        parse_ad(body_of(**values), CACHE)


@pytest.mark.parametrize("url", ["https://[1.2.3]:8444", "https://[:::]", "https://[fe80::1::]:1"])
@pytest.mark.parametrize("field", ["data-url", "web-url", "broker-url"])
def test_what_is_in_brackets_is_an_address(field: str, url: str) -> None:
    """Else splitting the URL would fail later, for everybody who asks for a list with this server in it."""
    with pytest.raises(InvalidAd, match=re.escape(url)):
        parse_ad(json.dumps({"data-url": "https://o:1", field: url}).encode(), ORIGIN)
    accepted = parse_ad(json.dumps({"data-url": "https://o:1", field: "https://[2001:db8::1]:1"}).encode(), ORIGIN)
    assert urlsplit(accepted.ad.base_url).hostname


def test_the_number_of_elements_of_any_array_is_bounded() -> None:
    with pytest.raises(InvalidAd, match="base-paths has more than 1000 elements"):
        parse_ad(body_of({"path": "/a", "token-issuer": [{"base-paths": ["/a"] * 1001}]}), CACHE)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4))
KEYS = st.sampled_from(
    [
        "data-url",
        "namespaces",
        "name",
        "expiry",
        "now",
        "coordinate",
        "capabilities",
        "startTime",
        "Data-Url",
        "web-url",
    ]
)


@given(st.binary(max_size=400))
def test_no_bytes_raise_anything_but_invalid_ad(body: bytes) -> None:
    with pytest.raises(InvalidAd):
        parse_ad(body, ORIGIN)


@given(st.dictionaries(KEYS, VALUES), st.binary(max_size=3))
def test_no_json_raises_anything_but_invalid_ad(values: dict[str, object], tail: bytes) -> None:
    body = json.dumps({"data-url": "https://o", **values}).encode("utf-8", "surrogatepass") + tail
    try:
        parse_ad(body, CACHE)
    except InvalidAd as error:
        assert str(error)  # noqa: PT017, some of these bodies are good


NAMESPACE = st.fixed_dictionaries(
    {"path": st.text().map("/".__add__) | VALUES},
    optional={"Caps": VALUES, "token-generation": VALUES, "token-issuer": VALUES, "x": VALUES},
)


@given(st.lists(NAMESPACE, max_size=4))
def test_every_namespace_accepted_is_clean_and_its_text_says_the_same(namespaces: list[object]) -> None:
    body = json.dumps({"data-url": "https://o", "namespaces": namespaces}, ensure_ascii=True).encode()
    try:
        ad = parse_ad(body, ORIGIN).ad
    except InvalidAd:
        return
    for namespace in ad.namespaces:
        assert namespace.path == "/" or not namespace.path.endswith("/")
        assert not {"..", "."} & set(namespace.path.split("/"))
        assert json.loads(namespace.wire)["path"] == namespace.path
        assert namespace.wire.isascii()


@given(st.data())
def test_a_body_cut_anywhere_is_refused(data: st.DataObject) -> None:
    _, _, _, body = read(next(file for file in CORPUS if file.stem == "origin-as-documented"))
    cut = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(InvalidAd):
        parse_ad(body[:cut], ORIGIN)
