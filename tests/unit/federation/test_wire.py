"""Laws of reading Go's wire form. The expected URLs are what Go's own `URL.String` prints."""

import pytest

from director_wsgi.federation.wire import Fields, WireError


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"Scheme": "https", "Host": "h", "Path": "a b"}, "https://h/a%20b"),
        ({"Host": "h"}, "//h"),
        ({"Scheme": "mailto", "Opaque": "a@b"}, "mailto:a@b"),
        ({"Scheme": "https", "Path": "/a%2Fb", "RawPath": "/a%252Fb"}, "https:///a%252Fb"),
        ({"Scheme": "https", "Host": "h", "Path": "/a/b", "RawPath": "/a%2Fb"}, "https://h/a%2Fb"),
        ({"Scheme": "https", "Host": "h", "Path": "/a/b", "RawPath": "/something%20else"}, "https://h/a/b"),
        ({"Scheme": "https", "Host": "h", "RawQuery": "q=1", "Fragment": "f g"}, "https://h?q=1#f%20g"),
        ({"Scheme": "https", "Host": "h", "ForceQuery": True}, "https://h?"),
        ({"Scheme": "x", "OmitHost": True, "Path": "/p"}, "x:/p"),
        ({"Scheme": "https", "Host": "h", "Path": "/é,;<>\"[]*'"}, "https://h/%C3%A9,;%3C%3E%22%5B%5D%2A%27"),
        ({}, ""),
    ],
)
def test_a_url_object_becomes_the_url_that_go_prints(fields: dict[str, object], url: str) -> None:
    assert Fields({"issuer": fields}, "TokenIssuer").url("issuer") == url


@pytest.mark.parametrize("opaque", ["", "x"])
@pytest.mark.parametrize(
    "member",
    [
        *({name: 1} for name in ("Scheme", "Opaque", "Host", "Path", "RawPath", "RawQuery", "Fragment", "RawFragment")),
        *({name: "true"} for name in ("OmitHost", "ForceQuery")),
        {"User": "me"},
        {"User": []},
    ],
    ids=str,
)
def test_what_go_cannot_decode_is_refused_even_where_it_does_not_count(member: dict[str, object], opaque: str) -> None:
    """Namespaces are handed on as they came, and a cache that cannot decode one of them stops advertising."""
    url = {"Scheme": "https", "Host": "h", "User": {}, "Opaque": opaque} | member
    with pytest.raises(WireError, match="cannot unmarshal"):
        Fields({"issuer": url}, "TokenIssuer").url("issuer")


@pytest.mark.parametrize(
    ("value", "kind"),
    [(True, "bool"), ("x", "string"), (1, "number"), (1.5, "number"), ([], "array"), ({}, "object")],
)
def test_a_wrong_type_is_named_with_its_field(value: object, kind: str) -> None:
    fields = Fields({"a": value}, "T", "outer.")
    reader = fields.flag if kind != "bool" else fields.text
    with pytest.raises(WireError, match=rf"cannot unmarshal {kind} into Go struct field T\.outer\.a of type "):
        reader("a")


def test_what_is_absent_or_null_is_gos_zero_value() -> None:
    for fields in (Fields({}, "T"), Fields(dict.fromkeys("abcdefgh"), "T")):
        assert (fields.text("a"), fields.flag("b"), fields.integer("c"), fields.number("d")) == ("", False, 0, 0.0)
        assert (fields.texts("e"), fields.struct("f", "S"), list(fields.structs("g", "S"))) == ((), None, [])
        assert (fields.instant("h"), fields.url("h")) == (None, "")
