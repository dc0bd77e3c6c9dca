"""`curl -L` through the director: every method, every kind of name, and what stands in the redirect itself."""

from urllib.parse import unquote, urlsplit

import pytest

from tests.e2e.curl import Curl, Fetched
from tests.e2e.federation import AWKWARD_NAME, QUESTION_NAME, SECRET, TOKEN, TREE, Federation
from tests.e2e.links import links_of
from tests.e2e.programs import sha256
from tests.e2e.xrootd import XrootdServer


@pytest.fixture(scope="module")
def curl(federation: Federation) -> Curl:
    return Curl(federation.ca, federation.home)


def came_from(fetched: Fetched) -> str:
    """Return scheme, host and port of the server that gave the last answer."""
    parts = urlsplit(fetched.url)
    return f"{parts.scheme}://{parts.netloc}"


def test_get_brings_every_byte_of_a_large_object(curl: Curl, federation: Federation) -> None:
    got = curl(federation.url("/shared/large.bin"))
    assert (got.status, got.redirects, came_from(got)) == (200, 1, federation.north.url)
    assert len(got.body) >= 64 << 20
    assert sha256(got.body) == federation.large_sha256


def test_get_of_a_range_brings_that_range(curl: Curl, federation: Federation) -> None:
    got = curl(federation.url("/shared/tree/one.txt"), "--range", "2-5")
    assert (got.status, got.body) == (206, TREE["/shared/tree/one.txt"][2:6])


def test_name_with_blanks_percent_hash_comma_semicolon_and_other_letters(curl: Curl, federation: Federation) -> None:
    path = f"/shared/names/{AWKWARD_NAME}"
    got = curl(federation.url(path))
    assert (got.status, came_from(got)) == (200, federation.south.url)
    assert got.body == federation.south.read(path)


def test_name_with_a_question_mark(curl: Curl, federation: Federation) -> None:
    """Against the loopback server: XRootD 5.5 decodes the path and then cuts it at the question mark."""
    got = curl(federation.url(f"/dav/{QUESTION_NAME}"))
    assert (got.status, came_from(got)) == (200, federation.webdav_url)
    assert got.body == federation.dav_objects[QUESTION_NAME]


def test_head_shows_the_length_that_the_origin_shows(curl: Curl, federation: Federation) -> None:
    got = curl(federation.url("/shared/large.bin"), "--head")
    assert (got.status, got.redirects) == (200, 1)
    assert got.header("Content-Length") == str(len(federation.large))


@pytest.mark.parametrize("holder", ["north", "south"])
def test_object_at_one_of_two_origins_is_found_there(curl: Curl, federation: Federation, holder: str) -> None:
    """Both ways round: whichever of the two is ranked first, one of these would fail without a stat."""
    origin: XrootdServer = getattr(federation, holder)
    path = f"/shared/only-{holder}.txt"
    got = curl(federation.url(path))
    assert (got.status, came_from(got)) == (200, origin.url)
    assert got.body == origin.read(path)


def test_put_lands_at_an_origin_and_is_found_again(curl: Curl, federation: Federation, rng_bytes: bytes) -> None:
    source = federation.home / "put.bin"
    source.write_bytes(rng_bytes)
    path = "/shared/put/by curl.bin"
    assert curl(federation.url(path)).status == 404  # so that the director has reason to believe it absent
    put = curl(federation.url(path), "--upload-file", str(source))
    assert (put.status // 100, put.redirects) == (2, 1)
    holders = [origin for origin in federation.origins if origin.read(path) is not None]
    assert [origin.url for origin in holders] == [came_from(put)]
    assert holders[0].read(path) == rng_bytes
    assert curl(federation.url(path)).body == rng_bytes


def test_delete_removes_the_object_from_its_origin(curl: Curl, federation: Federation) -> None:
    """In a namespace of one origin: a DELETE is not preceded by a stat, and goes to whichever is ranked first."""
    path = "/scratch/doomed.txt"
    federation.north.write(path, b"soon gone\n")
    gone = curl(federation.url(path), "--request", "DELETE")
    assert (gone.status, gone.redirects, came_from(gone)) == (200, 1, federation.north.url)
    assert federation.north.read(path) is None
    assert curl(federation.url(path)).status == 404


def test_propfind_lists_a_collection_at_an_origin(curl: Curl, federation: Federation) -> None:
    got = curl(federation.url("/shared/tree/"), "--request", "PROPFIND", "--header", "Depth: 1")
    assert (got.status, got.redirects) == (207, 1)
    for name in ("one.txt", "two.txt", "branch"):
        assert f"<D:href>/shared/tree/{name}".encode() in got.body


def test_propfind_of_one_object(curl: Curl, federation: Federation) -> None:
    got = curl(federation.url("/shared/twice.txt"), "--request", "PROPFIND", "--header", "Depth: 0")
    assert (got.status, got.redirects) == (207, 1)
    assert f"<lp1:getcontentlength>{len(federation.north.read('/shared/twice.txt') or b'')}<".encode() in got.body


def test_object_of_no_origin_is_404_in_json(curl: Curl, federation: Federation) -> None:
    got = curl(federation.url("/shared/no such object"))
    assert (got.status, got.redirects) == (404, 0)
    assert got.message == "All sources report object was not found"
    assert "link" not in got.headers
    assert "location" not in got.headers


def test_path_of_no_namespace_is_404_in_json(curl: Curl, federation: Federation) -> None:
    got = curl(federation.url("/nowhere/x"))
    assert (got.status, got.redirects) == (404, 0)
    assert got.message
    assert "page not found" not in got.message.lower()


@pytest.mark.parametrize("path", ["/shared/twice.txt", f"/shared/names/twice {AWKWARD_NAME}"])
def test_every_link_brings_the_object(curl: Curl, federation: Federation, path: str) -> None:
    answer = curl(f"{federation.url(path)}?directread", follow=False)
    links = links_of(answer.header("Link"))
    assert answer.status == 307
    assert [link.priority for link in links] == [1, 2]
    assert {link.server for link in links} == {origin.url for origin in federation.origins}
    assert unquote(links[0].url) == unquote(answer.header("Location").partition("?")[0])
    for link in links:
        got = curl(link.url, follow=False)
        assert (got.status, got.body) == (200, federation.north.read(path))


def test_link_leaves_out_the_origin_that_lacks_the_object(curl: Curl, federation: Federation) -> None:
    answer = curl(f"{federation.url('/shared/only-south.txt')}?directread", follow=False)
    assert [link.server for link in links_of(answer.header("Link"))] == [federation.south.url]


def test_cache_is_preferred_and_gives_the_same_bytes(curl: Curl, federation: Federation) -> None:
    path = f"/cached/{AWKWARD_NAME}"
    got = curl(federation.url(path))
    assert (got.status, came_from(got)) == (200, federation.cache_url)
    assert got.body == federation.north.read(path)


def test_direct_read_passes_the_cache_by(curl: Curl, federation: Federation) -> None:
    path = f"/cached/{AWKWARD_NAME}"
    got = curl(f"{federation.url(path)}?directread")
    assert (got.status, came_from(got)) == (200, federation.north.url)
    assert got.body == federation.north.read(path)


def test_namespace_header_tells_clients_where_to_list(curl: Curl, federation: Federation) -> None:
    got = curl(federation.url("/shared/tree/one.txt"), follow=False)
    fields = got.header("X-Pelican-Namespace").split(", ")
    assert fields[:2] == ["namespace=/shared", "require-token=false"]
    assert fields[2].removeprefix("collections-url=") in {origin.url for origin in federation.origins}


def test_location_holds_the_path_encoded_exactly_once(curl: Curl, federation: Federation) -> None:
    path = f"/shared/names/{AWKWARD_NAME}"
    got = curl(federation.url(path), follow=False)
    assert unquote(urlsplit(got.header("Location")).path) == path


def test_token_travels_in_location_since_curl_keeps_the_header_to_itself(curl: Curl, federation: Federation) -> None:
    """Curl withholds Authorization from another host or port, so the origin sees only what Location holds."""
    path, data = SECRET
    refused = curl(federation.url(path))
    got = curl(federation.url(path), "--header", f"Authorization: Bearer {TOKEN}")
    assert (refused.status, came_from(refused)) == (401, federation.webdav_url)
    assert (got.status, got.body, came_from(got)) == (200, data, federation.webdav_url)
    assert TOKEN not in federation.director_log.read_text()
