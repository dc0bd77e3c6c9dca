import pytest

from director_wsgi.demo.exchange import BadTargetError, parse_target
from tests.unit.demo.ask import asking


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/a/b", "/a/b"),
        (b"/a%20b%25%23%3Fc", "/a b%#?c"),
        (b"/%C3%BC/\xc3\xbc", "/ü/ü"),
        (b"/a#b", "/a#b"),
        (b"/a;b,c", "/a;b,c"),
        (b"https://localhost:1/a", "/a"),
        (b"/a%2Fb", "/a/b"),
        (b"/a+b", "/a+b"),
    ],
)
def test_path_is_decoded_once(target: bytes, path: str) -> None:
    assert parse_target(target)[0] == path


def test_query_is_decoded_in_order() -> None:
    assert parse_target(b"/x?b=1&a=%26&b=&c")[1] == (("b", "1"), ("a", "&"), ("b", ""), ("c", ""))


@pytest.mark.parametrize("target", [b"*", b"", b"/%ff", b"/\xff", b"/a%00b", b"/x?a=%ff", b"/x?" + b"a=1&" * 200])
def test_a_target_that_is_no_path_or_no_utf8_is_refused(target: bytes) -> None:
    with pytest.raises(BadTargetError):
        parse_target(target)


@pytest.mark.parametrize(
    ("authz", "header", "bearer"),
    [
        ("T", "", "T"),
        ("Bearer T", "", "T"),
        ("", "Bearer T", "T"),
        ("Q", "Bearer T", "Q"),
        ("", "Basic dTpw", None),
        ("", "Bearer None", None),  # what pelicanfs sends when it has no token
        ("", "", None),
    ],
)
def test_the_token_comes_from_the_query_or_else_from_the_header(authz: str, header: str, bearer: str | None) -> None:
    assert asking("GET", "/x", headers={"authorization": header}, authz=authz).bearer == bearer


def test_a_request_shows_no_token() -> None:
    shown = repr(asking("GET", "/x", headers={"Authorization": "Bearer hidden"}, authz="hidden"))
    assert "hidden" not in shown
