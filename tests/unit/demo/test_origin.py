from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from director_wsgi.demo.exchange import Response
from director_wsgi.demo.origin import Export, Origin
from director_wsgi.demo.samples import AWKWARD_NAME
from director_wsgi.demo.storage import Storage
from tests.unit.demo.ask import asking, content

EXPORTS = (
    Export(prefix="/pub"),
    Export(prefix="/rw", writes=True),
    Export(prefix="/secret", public_reads=False),
    Export(prefix="/pub/inner", public_reads=False),
)
DAV = "{DAV:}"


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    objects = tmp_path / "objects"
    for path, data in {
        "pub/x": b"0123456789",
        "secret/x": b"s",
        "pub/inner/x": b"i",
        f"pub/{AWKWARD_NAME}": b"a",
    }.items():
        (objects / path).parent.mkdir(parents=True, exist_ok=True)
        (objects / path).write_bytes(data)
    (objects / "rw").mkdir()
    (tmp_path / "outside").write_bytes(b"out of reach")
    return Origin(Storage(tmp_path, max_object_bytes=100), EXPORTS, may_read=lambda token: token == "good")


def ask(origin: Origin, method: str, path: str, **more: object) -> tuple[Response, bytes]:
    response = origin.answer(asking(method, path, **more))  # type: ignore[arg-type]
    return response, content(response)


def listed(body: bytes) -> dict[str, tuple[bool, str]]:
    """By href: is it a collection, and its length."""
    found = {}
    for response in ET.fromstring(body).iter(f"{DAV}response"):
        href = response.findtext(f"{DAV}href") or ""
        is_collection = response.find(f".//{DAV}collection") is not None
        found[href] = (is_collection, response.findtext(f".//{DAV}getcontentlength") or "")
    return found


def test_get_gives_the_bytes_and_what_describes_them(origin: Origin) -> None:
    response, body = ask(origin, "GET", "/pub/x")
    assert (response.status, body, response.length) == (200, b"0123456789", 10)
    assert response.header("accept-ranges") == "bytes"
    assert response.header("etag")
    assert response.header("last-modified")


@pytest.mark.parametrize(
    ("wanted", "status", "body", "described"),
    [
        ("bytes=0-0", 206, b"0", "bytes 0-0/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=7-100", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-30", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("bytes=5-4", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("lines=0-1", 200, b"0123456789", None),
        ("bytes=" + "9" * 1000 + "-", 200, b"0123456789", None),
    ],
)
def test_ranges(origin: Origin, wanted: str, status: int, body: bytes | None, described: str | None) -> None:
    response, got = ask(origin, "GET", "/pub/x", headers={"Range": wanted})
    assert (response.status, response.header("content-range")) == (status, described)
    assert body is None or (got, response.length) == (body, len(body))


def test_head_describes_the_whole_object_whatever_the_range(origin: Origin) -> None:
    response, _ = ask(origin, "HEAD", "/pub/x", headers={"Range": "bytes=0-0"})
    assert (response.status, response.length) == (200, 10)


@pytest.mark.parametrize(
    "path",
    [
        "/pub/../../outside",
        "/pub/../outside",
        "/pub/..",
        "/pub/./x",
        "/pub/none",
        "/pub/x/below",
        "/pub/" + "n" * 256,
        "/pub/" + "/".join(["d" * 200] * 40),
        "/other/x",
        "/publ",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PROPFIND"])
def test_what_is_not_there_or_out_of_reach_is_404(origin: Origin, method: str, path: str) -> None:
    assert ask(origin, method, path)[0].status == 404


def test_a_link_that_leads_out_of_the_folder_is_404(origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "objects/pub/link").symlink_to(tmp_path / "outside")
    assert ask(origin, "GET", "/pub/link")[0].status == 404
    assert not any("link" in href for href in listed(ask(origin, "PROPFIND", "/pub")[1]))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_collection_has_no_bytes(origin: Origin, method: str) -> None:
    assert ask(origin, method, "/pub")[0].status == 409


@pytest.mark.parametrize(("authz", "status"), [("", 401), ("bad", 403), ("good", 200)])
@pytest.mark.parametrize("path", ["/secret/x", "/pub/inner/x"])
def test_what_is_not_public_needs_a_token_and_the_longest_prefix_decides(
    origin: Origin, path: str, authz: str, status: int
) -> None:
    assert ask(origin, "GET", path, authz=authz)[0].status == status
    assert ask(origin, "PROPFIND", path, authz=authz)[0].status == (207 if status == 200 else status)


def test_listing_of_a_collection_holds_it_and_its_members_with_encoded_names(origin: Origin) -> None:
    response, body = ask(origin, "PROPFIND", "/pub", headers={"Depth": "1"})
    assert response.status == 207
    assert listed(body) == {
        "/pub/": (True, "0"),
        "/pub/x": (False, "10"),
        "/pub/inner/": (True, "0"),
        "/pub/50%20%25%20of%20%231%3F%20%E6%9C%A8%E6%98%9F%2C%20%C3%9Cmlaut%20%26%20S%C3%B6hne%3B%20v2.txt": (
            False,
            "1",
        ),
    }
    assert b"<D:multistatus" in body  # XRootD's client compares the name as text


def test_depth_0_is_the_thing_itself(origin: Origin) -> None:
    assert list(listed(ask(origin, "PROPFIND", "/pub/", headers={"Depth": "0"})[1])) == ["/pub/"]
    assert list(listed(ask(origin, "PROPFIND", "/pub/x", headers={"Depth": "1"})[1])) == ["/pub/x"]


def test_depth_infinity_is_refused(origin: Origin) -> None:
    assert ask(origin, "PROPFIND", "/pub", headers={"Depth": "infinity"})[0].status == 403


def test_put_makes_collections_and_then_replaces(origin: Origin, tmp_path: Path) -> None:
    assert ask(origin, "PUT", "/rw/a/b/ü %", body=b"one")[0].status == 201
    assert ask(origin, "PUT", "/rw/a/b/ü %", body=b"two")[0].status == 204
    assert ask(origin, "GET", "/rw/a/b/ü %")[1] == b"two"
    assert list((tmp_path / "incoming").iterdir()) == []


def test_a_reader_keeps_the_bytes_it_began_with(origin: Origin) -> None:
    ask(origin, "PUT", "/rw/x", body=b"one")
    reading = origin.answer(asking("GET", "/rw/x"))
    ask(origin, "PUT", "/rw/x", body=b"two")
    assert content(reading) == b"one"


def test_a_body_that_is_too_large_or_cut_off_changes_nothing(origin: Origin, tmp_path: Path) -> None:
    class CutOff:
        def read(self, size: int, /) -> bytes:
            raise ConnectionResetError

    ask(origin, "PUT", "/rw/x", body=b"one")
    assert ask(origin, "PUT", "/rw/x", body=b"-" * 101)[0].status == 413
    with pytest.raises(ConnectionResetError):
        origin.storage.write("/rw/x", CutOff())
    assert ask(origin, "GET", "/rw/x")[1] == b"one"
    assert list((tmp_path / "incoming").iterdir()) == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "MKCOL"])
def test_who_writes_where_nobody_may_is_refused(origin: Origin, method: str) -> None:
    assert ask(origin, method, "/pub/x", body=b"!")[0].status == 403
    assert ask(origin, "GET", "/pub/x")[1] == b"0123456789"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/rw/../pub/x", 404),
        ("PUT", "/rw", 409),
        ("PUT", "/rw/file/below", 409),
        ("DELETE", "/rw/none", 404),
        ("DELETE", "/rw/full", 409),
        ("DELETE", "/rw/file", 204),
        ("MKCOL", "/rw/new", 201),
        ("MKCOL", "/rw/full", 405),
        ("MKCOL", "/rw/no/parent", 409),
        ("LOCK", "/rw/file", 405),
    ],
)
def test_writes_and_their_refusals(origin: Origin, method: str, path: str, status: int) -> None:
    ask(origin, "PUT", "/rw/file", body=b"f")
    ask(origin, "PUT", "/rw/full/x", body=b"x")
    assert ask(origin, method, path, body=b"!")[0].status == status


def test_an_empty_collection_can_be_deleted(origin: Origin) -> None:
    ask(origin, "MKCOL", "/rw/new")
    assert ask(origin, "DELETE", "/rw/new")[0].status == 204
    assert ask(origin, "PROPFIND", "/rw/new")[0].status == 404


def test_options_name_the_methods_without_blanks(origin: Origin) -> None:
    response, _ = ask(origin, "OPTIONS", "/anything")
    assert "PROPFIND" in (response.header("Allow") or "").split(",")
