"""The director's way to write an answer says what gunicorn's own does."""

from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn import util
from gunicorn.http.errors import InvalidResponseHeader, InvalidResponseHeaderName
from hypothesis import example, given
from hypothesis import strategies as st

from director_wsgi.runtime import response
from director_wsgi.runtime.response import ONE_PIECE_BYTES, DirectorResponse

pytestmark = pytest.mark.unit

GUNICORNS: Any = DirectorResponse.__base__  # its name in gunicorn may be taken by ours
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
Headers = list[tuple[Any, Any]]


class Wire:
    """What was sent, piece by piece."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.pieces.append(data)


@pytest.fixture(autouse=True)
def _one_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(util, "http_date", lambda *_at: DATE)
    monkeypatch.setattr(response, "_date", (0, ""))


def said(
    kind: Any,
    status: str,
    headers: Headers,
    parts: list[bytes],
    *,
    method: str = "GET",
    version: tuple[int, int] = (1, 1),
    closes: bool = False,
) -> tuple[list[bytes], bool, int] | str:
    """The pieces sent, whether the connection ends, and how much body was counted; or what was raised."""
    wire = Wire()
    request = SimpleNamespace(method=method, version=version, should_close=lambda: closes)
    answer = kind(request, wire, SimpleNamespace(protocol="http", sendfile=False))
    try:
        answer.start_response(status, headers)
        for part in parts:
            answer.write(part)
        answer.close()
    except (TypeError, ValueError, AttributeError, InvalidResponseHeader, InvalidResponseHeaderName) as error:
        return repr(error) + b"".join(wire.pieces).decode("latin-1")
    return wire.pieces, answer.should_close(), answer.sent


def joined(told: tuple[list[bytes], bool, int] | str) -> object:
    return told if isinstance(told, str) else (b"".join(told[0]), *told[1:])


NAMES = st.sampled_from(
    [*sorted(response._PLAIN), "location", "X-Other", "Connection", "Upgrade", "TE", "Bad Name", ""]
)
VALUES = st.text(st.characters(max_codepoint=0x17F), max_size=12) | st.sampled_from(
    ["", " a", "a\t", "a b", "upgrade", "websocket", "a\nb", "a\r\nX: y", "ÿ", "€"]
)
STATUSES = st.sampled_from(
    ["200 OK", "307 TEMPORARY REDIRECT", "204 NO CONTENT", "304 NOT MODIFIED", "100 C", "404", "x"]
)


@given(
    status=STATUSES,
    headers=st.lists(st.tuples(NAMES, VALUES), max_size=5),
    parts=st.lists(st.binary(max_size=20), max_size=3),
    length=st.none() | st.integers(0, 30) | st.just("exact"),
    method=st.sampled_from(["GET", "HEAD", "PUT"]),
    version=st.sampled_from([(1, 0), (1, 1)]),
    closes=st.booleans(),
)
@example(  # a redirect
    status="307 TEMPORARY REDIRECT",
    headers=[("Location", "https://x/a"), ("Link", '<https://x/a>; rel="duplicate"'), ("X-Pelican-JobId", "1")],
    parts=[b"<a>"],
    length="exact",
    method="GET",
    version=(1, 1),
    closes=False,
)
def test_it_sends_the_bytes_that_gunicorn_would(
    status: str,
    headers: Headers,
    parts: list[bytes],
    length: int | str | None,
    method: str,
    version: tuple[int, int],
    closes: bool,
) -> None:
    if length is not None:
        size = sum(map(len, parts)) if length == "exact" else length
        headers = [*headers, ("Content-Length", str(size))]
    ours, gunicorns = (
        said(kind, status, headers, parts, method=method, version=version, closes=closes)
        for kind in (DirectorResponse, GUNICORNS)
    )
    assert joined(ours) == joined(gunicorns)


@pytest.mark.parametrize("name", sorted(response._PLAIN))
@pytest.mark.parametrize("value", ["a\nb", "a\r", "\x00", "a\x7f", "€", 7, None, b"a"])
def test_a_value_that_splits_an_answer_is_refused_whatever_its_name(name: str, value: object) -> None:
    answer = DirectorResponse(SimpleNamespace(method="GET", version=(1, 1)), Wire(), None)

    with pytest.raises((InvalidResponseHeader, TypeError)):
        answer.process_headers([(name, value)])  # type: ignore[list-item]
    assert answer.headers == []


@pytest.mark.parametrize("size", [0, 1, ONE_PIECE_BYTES])
def test_head_and_body_leave_in_one_piece(size: int) -> None:
    told = said(DirectorResponse, "200 OK", [("Content-Length", str(size))], [b"x" * size])

    assert len(told[0]) == 1
    assert told[1:] == (False, size)


@pytest.mark.parametrize(
    ("length", "parts", "pieces"),
    [
        (ONE_PIECE_BYTES + 1, [b"x" * (ONE_PIECE_BYTES + 1)], 2),
        (4, [b"ab", b"cd"], 3),
        (3, [b"abcd"], 2),  # cut to what was promised
    ],
)
def test_any_other_body_is_sent_after_the_head(length: int, parts: list[bytes], pieces: int) -> None:
    told = said(DirectorResponse, "200 OK", [("Content-Length", str(length))], parts)

    assert len(told[0]) == pieces
    assert str(told[0][0], "latin-1").endswith("\r\n\r\n")
    assert b"".join(told[0][1:]) == b"".join(parts)[:length]


def test_a_head_that_cannot_be_written_has_not_been_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then gunicorn still may answer 500."""
    answer = DirectorResponse(
        SimpleNamespace(method="GET", version=(1, 1), should_close=bool), Wire(), SimpleNamespace()
    )
    answer.start_response("200 OK", [("Content-Length", "1")])
    monkeypatch.setattr(answer, "version", "€")

    for send in (answer.send_headers, lambda: answer.write(b"x")):
        with pytest.raises(UnicodeEncodeError):
            send()
        assert not answer.headers_sent


def test_the_date_is_that_of_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(util, "http_date", lambda at: f"date {at}")
    now = [784111777.9]
    monkeypatch.setattr(response.time, "time", lambda: now[0])

    told = [response._now()]
    now[0] += 0.05
    told.append(response._now())
    now[0] += 0.1
    told.append(response._now())

    assert told == ["date 784111777", "date 784111777", "date 784111778"]
