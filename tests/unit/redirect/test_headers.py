"""What a redirection says is what each kind of client reads in it.

The readers below do what the clients' own parsers were seen to do, clumsiness included.
"""

import re
from collections.abc import Callable
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests.utils import parse_header_links

from director_wsgi.federation.models import Capabilities, ServerAd, TokenGeneration, TokenIssuer
from director_wsgi.federation.snapshot import Source
from director_wsgi.federation.urls import quote_path
from director_wsgi.redirect.headers import describe, link, location, redirect_headers
from director_wsgi.redirect.request import Token
from tests.make import READS, asks, cache, namespace, origin

Entry = tuple[str, int]


def as_go_reads(header: str) -> list[Entry]:
    """Pelican's command line: split at every comma, drop blanks, split at every semicolon."""
    entries = []
    for piece in header.split(","):
        url, *parameters = piece.replace(" ", "").split(";")
        values = dict(parameter.split("=", 1) for parameter in parameters)
        entries.append((url.removeprefix("<").removesuffix(">"), int(values["pri"])))
    return entries


def as_pelicanfs_reads(header: str) -> list[Entry]:
    entries = []
    for piece in header.split(","):
        url, *parameters = piece.split(";")
        assert url.strip().startswith("<")
        assert url.strip().endswith(">")
        values = dict(parameter.strip().split("=", 1) for parameter in parameters)
        entries.append((url.strip()[1:-1], int(values["pri"])))
    return entries


def as_xrootd_reads(header: str) -> list[Entry]:
    """A strict grammar: a value is quoted, or an integer."""
    entry = re.compile(r'\s*<([^>]*)>((?:\s*;\s*[a-z]+=(?:"[^"]*"|\d+))*)\s*(?:,|$)')
    entries, position = [], 0
    while position < len(header):
        match = entry.match(header, position)
        assert match, header[position:]
        values = dict(re.findall(r'([a-z]+)=("[^"]*"|\d+)', match[2]))
        assert values["rel"] == '"duplicate"'
        entries.append((match[1], int(values["pri"])))
        position = match.end()
    return entries


def as_requests_reads(header: str) -> list[Entry]:
    return [(entry["url"], int(entry["pri"])) for entry in parse_header_links(header)]


READERS = (as_go_reads, as_pelicanfs_reads, as_xrootd_reads, as_requests_reads)

object_paths = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=8).filter(
        lambda part: part not in {".", ".."}
    ),
    min_size=1,
    max_size=5,
).map(lambda parts: "/ns/" + "/".join(parts))


@pytest.mark.parametrize("read", READERS)
@given(path=object_paths, count=st.integers(1, 9))
def test_every_client_reads_the_same_servers_in_the_same_order(
    read: Callable[[str], list[Entry]], path: str, count: int
) -> None:
    servers = [cache(f"C{number}") for number in range(count)]

    entries = read(link(servers, quote_path(path), 1))

    assert [priority for _url, priority in entries] == list(range(1, min(count, 6) + 1))
    for (url, _priority), server in zip(entries, servers, strict=False):
        assert url.startswith(server.base_url + "/ns/")
        assert unquote(urlsplit(url).path) == path
        assert not urlsplit(url).query


@given(
    path=object_paths,
    query=st.lists(
        st.tuples(st.text("abcdé &=+%#", min_size=1, max_size=5), st.text("xyz é&=+%#;", max_size=5)), max_size=4
    ),
    token=st.none() | st.text("abcXYZ._-", min_size=1, max_size=10),
)
def test_a_location_holds_path_query_and_token_unharmed(
    path: str, query: list[tuple[str, str]], token: str | None
) -> None:
    request = asks(path, query=tuple(query), token=Token(value=token, authority="x") if token else None)

    url = urlsplit(location(origin("O"), quote_path(path), request))

    assert url.scheme == "https"
    assert unquote(url.path) == path
    expected = sorted([*query, *([("authz", token)] if token else [])], key=lambda pair: pair[0])
    assert parse_qsl(url.query, keep_blank_values=True) == expected


def told(server: ServerAd, *more: ServerAd, prefix: str = "/x") -> list[tuple[str, str]]:
    sources = [Source(ad, ad.namespaces[0]) for ad in (server, *more)]
    return list(describe(sources, prefix=prefix))


def test_the_namespace_is_told_as_the_first_origin_tells_it() -> None:
    headers = told(origin("A", namespace("/x", READS)), origin("B", "/x"))
    assert headers == [("X-Pelican-Namespace", "namespace=/x, require-token=true")]


def test_collections_are_at_the_first_origin_that_lists_if_the_namespace_told_of_lists() -> None:
    listing = Capabilities(reads=True, listings=True)
    silent = origin("A", namespace("/x", listing), capabilities=READS)
    headers = told(silent, origin("B", namespace("/x", listing)))
    assert headers[0][1].endswith("collections-url=https://b.example.org:8443")


def test_one_line_for_each_issuer() -> None:
    issuers = (TokenIssuer(issuer="https://i.example.org"), TokenIssuer(issuer="https://j.example.org"))
    headers = told(origin("A", namespace("/x", token_issuers=issuers)))
    assert [value for name, value in headers if name == "X-Pelican-Authorization"] == [
        "issuer=https://i.example.org",
        "issuer=https://j.example.org",
    ]


def test_commas_and_semicolons_of_a_servers_own_path_are_encoded_too() -> None:
    server = origin("A", base_url="https://a.example.org/base,x;y")
    header = link([server], "/x/f,g", 1)
    assert as_go_reads(header) == [("https://a.example.org/base%2Cx%3By/x/f%2Cg", 1)]


def test_the_base_path_is_that_of_the_generations_own_issuer() -> None:
    headers = told(
        origin(
            "A",
            namespace(
                "/x",
                token_issuers=(
                    TokenIssuer(issuer="https://i.example.org", base_paths=("/wrong",)),
                    TokenIssuer(issuer="https://j.example.org", base_paths=("/x", "/y")),
                ),
                token_generations=(
                    TokenGeneration(strategy="OAuth2", max_scope_depth=2, issuer="https://j.example.org"),
                ),
            ),
        )
    )
    assert headers[-1] == (
        "X-Pelican-Token-Generation",
        "issuer=https://j.example.org, max-scope-depth=2, strategy=OAuth2, base-path=/x",
    )


def test_what_an_origin_advertises_cannot_break_a_header() -> None:
    evil = "https://i.example.org\r\nSet-Cookie: x"
    headers = told(origin("A", namespace("/x", token_issuers=(TokenIssuer(issuer=evil),)), data_url=evil))
    broker = redirect_headers(
        (origin("A", broker_url=evil),), asks("/x/f"), "/x/f", prefix="/x", namespace_headers=tuple(headers)
    )
    assert not any(set(value) & {"\r", "\n"} for _name, value in broker)
