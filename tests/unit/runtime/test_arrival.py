"""A request has arrived when gunicorn's parser, which takes it up then, need not wait for more."""

from collections.abc import Iterator
from enum import Enum
from itertools import pairwise

import pytest
from gunicorn.config import Config
from gunicorn.http import RequestParser, errors
from hypothesis import example, given
from hypothesis import strategies as st

from director_wsgi.runtime import arrival
from director_wsgi.runtime.arrival import Arrival

PIECE_BYTES = 8192
"""How much at once the parser is given, as by the worker."""

GET = b"GET /a/b HTTP/1.1\r\nHost: x\r\n\r\n"
PUT = b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
LENGTH = b"POST /r HTTP/1.1\r\nHost: x\r\ncontent-LENGTH: 11 \r\n\r\n{\r\n\r\n0\r\n\r\n}"
CHUNKED = b"POST /r HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7;x=y\r\na\r\n0\r\n\r\r\n0A \t;z\r\n0123456789\r\n0\r\n\r\n"
TRAILERS = CHUNKED[:-2] + b"X-A: b\r\nX-C: d\r\n\r\n"
NO_BODY = b"POST /r HTTP/1.1\r\nHost: x\r\n\r\n"
EMPTY = b"POST /r HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
WHOLE = (GET, PUT, LENGTH, CHUNKED, TRAILERS, NO_BODY, EMPTY, b"\r\n" + GET, b"\r\n" + LENGTH)


class Starved(Exception):
    """The parser would wait."""


def what_has_come(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), PIECE_BYTES):
        yield data[at : at + PIECE_BYTES]
    raise Starved


class Outcome(Enum):
    WAITS, REFUSED, DONE = range(3)


def outcome(data: bytes, **settings: str) -> Outcome:
    """What gunicorn, and whoever reads a body, would do with this."""
    config = Config()
    for name, value in settings.items():
        config.set(name, value)
    parser = RequestParser(config, what_has_come(data), ("127.0.0.1", 1))
    try:
        request = next(parser)
        if request.method not in arrival.UPLOADS:
            request.body.read()
    except Starved:
        return Outcome.WAITS
    except errors.ParseException:
        return Outcome.REFUSED
    return Outcome.DONE


def arrived(*pieces: bytes) -> Arrival:
    found = Arrival()
    for piece in pieces:
        found.feed(piece)
    return found


@pytest.mark.parametrize("request_", WHOLE)
def test_it_is_whole_with_its_last_byte_and_not_before(request_: bytes) -> None:
    for end in range(len(request_)):
        assert not arrived(request_[:end]).is_whole, request_[:end]
        assert outcome(request_[:end]) is Outcome.WAITS
    assert arrived(request_).is_whole
    assert outcome(request_) is Outcome.DONE


parts = st.sampled_from(
    [
        *(b"GET", b"POST", b"PUT", b" ", b"/", b" HTTP/1.1", b" HTTP/1.0", b"\r\n", b"\r\n\r\n", b"\r", b"\n", b":"),
        *(b"Host: x\r\n", b"Content-Length: 3\r\n", b"content-length:0\r\n", b"Content-Length: x\r\n", b"X: y\r\n"),
        *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n", b"Expect: 100-continue\r\n"),
        *(b"0\r\n", b"3\r\n", b"abc", b"3;a=b\r\n", b"0 \r\n", b"xyz\r\n", b"\x00", b"\xff"),
    ]
)
requests = st.sampled_from(WHOLE)
streams = (
    st.lists(parts, max_size=12).map(b"".join)
    | st.builds(lambda head, rest: head + b"".join(rest), st.sampled_from([b"POST / HTTP/1.1\r\n"]), st.lists(parts))
    | st.builds(lambda one, other, end: (one + other)[:end], requests, requests, st.integers(0, 300))
    | st.builds(lambda request_, at, part: request_[:at] + part + request_[at:], requests, st.integers(0, 120), parts)
)


@given(streams, st.lists(st.integers(0, 300)))
@example(b"\r\n\r\n", [])
@example(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", [])
def test_nothing_that_is_whole_is_waited_for_and_nothing_that_need_not_wait_is_kept(
    stream: bytes, cuts: list[int]
) -> None:
    pieces = [
        stream[begin:end] for begin, end in pairwise(sorted({0, len(stream), *(c % (len(stream) + 1) for c in cuts)}))
    ]
    found = arrived(*pieces)
    assert bytes(found.data) == stream
    assert outcome(stream) is not (Outcome.WAITS if found.is_whole else Outcome.DONE)


@given(st.sampled_from(WHOLE), st.lists(st.integers(0, 300)))
def test_how_it_is_cut_makes_no_difference(request_: bytes, cuts: list[int]) -> None:
    pieces = [
        request_[begin:end] for begin, end in pairwise(sorted({0, len(request_), *(c % len(request_) for c in cuts)}))
    ]
    found = Arrival()
    for piece in pieces[:-1]:
        found.feed(piece)
        assert not found.is_whole
    found.feed(pieces[-1])
    assert found.is_whole


def test_what_is_missing_of_a_body_is_known() -> None:
    found = arrived(b"POST / HTTP/1.1\r\nContent-Length: 100\r\n")
    assert found.missing_bytes == 1
    found.feed(b"\r\n12345")
    assert (found.has_head, found.missing_bytes) == (True, 95)


def test_a_head_without_an_end_is_left_to_the_parser_to_refuse() -> None:
    field = b"X: " + b"x" * 8000 + b"\r\n"
    head = b"GET / HTTP/1.1\r\n" + field * (arrival.MOST_HEAD_BYTES // len(field))
    assert not arrived(head).is_whole
    assert arrived(head, field).is_whole
    assert outcome(head + field) is Outcome.REFUSED


@pytest.mark.parametrize(
    ("line", "most"),
    [
        (b"1;", arrival.MOST_SIZE_LINE_BYTES + 1),
        (b"0", arrival.MOST_SIZE_LINE_BYTES + 1),
        (b"0\r\n", arrival.MOST_HEAD_BYTES + 1),
    ],
    ids=["extension", "size", "fields behind"],
)
def test_chunks_without_an_end_are_left_to_the_parser_to_refuse(line: bytes, most: int) -> None:
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    many = b"x" * (most - len(line) - 1)
    assert not arrived(head, line, many[:-1]).is_whole
    assert arrived(head, line, many, b"x").is_whole
    assert outcome(head + line + many + b"x") is Outcome.REFUSED


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"GET / HTTP/1.1\r\nHost: x\n",
        b"GET /" + b"x" * arrival.MOST_LINE_BYTES,
        b"POST / HTTP/1.1\r\nExpect: a miracle\r\nContent-Length: 5\r\n\r\n",
    ],
    ids=["bare LF", "bare LF behind a field", "no end of the first line", "unknown expectation"],
)
def test_what_will_be_refused_is_not_waited_for(head: bytes) -> None:
    assert arrived(head).is_whole
    assert outcome(head) is Outcome.REFUSED


@pytest.mark.parametrize(
    ("head", "most"),
    [
        (b"POST / HTTP/1.1\r\n", arrival.MOST_BODY_BYTES),
        (b"GET / HTTP/1.1\r\n", arrival.SMALL_BODY_BYTES),
        (b"PUT / HTTP/1.1\r\n", 0),
    ],
    ids=["advertisement", "question", "upload"],
)
def test_a_body_is_waited_for_up_to_a_length(head: bytes, most: int) -> None:
    """A cache sends four letters with its questions (C-41)."""
    assert arrived(head + b"Content-Length: %d\r\n\r\n" % most).is_whole is (most == 0)
    assert arrived(head + b"Content-Length: %d\r\n\r\n" % (most + 1)).is_whole
    assert not arrived(head + b"Content-Length: %d\r\n\r\n" % (most + 1)).has_body
    assert arrived(head + b"Content-Length: 4\r\n\r\nnull").has_body


PROXIED = (
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\0\1\0\2",
    b"",
)


@pytest.mark.parametrize("before", PROXIED, ids=["v1", "v2", "none"])
@pytest.mark.parametrize("request_", [GET, LENGTH, b"\r\n" + CHUNKED])
def test_what_a_proxy_says_first_is_not_the_request(before: bytes, request_: bytes) -> None:
    stream = before + request_
    for end in range(len(stream)):
        found = Arrival(is_proxied=True)
        found.feed(stream[:end])
        assert not found.is_whole, stream[:end]
        assert outcome(stream[:end], proxy_protocol="auto") is Outcome.WAITS
    found.feed(stream[-1:])
    assert found.is_whole
    assert outcome(stream, proxy_protocol="auto") is Outcome.DONE


def test_a_length_that_is_not_understood_is_not_taken_for_none() -> None:
    assert not arrived(b"POST / HTTP/1.1\r\nContent-Length: 0000000050000\r\n\r\n").is_whole


def test_a_body_that_is_too_long_is_not_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrival, "MOST_BODY_BYTES", 100)
    assert not arrived(b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n").is_whole
    assert arrived(b"POST / HTTP/1.1\r\nContent-Length: 101\r\n\r\n").is_whole
    chunked = arrived(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nFF\r\n", b"x" * 96)
    assert not chunked.is_whole
    chunked.feed(b"x")
    assert chunked.is_whole


@pytest.mark.parametrize(
    ("head", "is_told"),
    [
        (b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n", True),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n", False),
        (b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n", False),
        (b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc", False),
        (b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n", False),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\nX: y\r\nexpect:100-Continue \r\n\r\n", True),
    ],
    ids=["waits", "does not ask", "HTTP/1.0", "has not waited", "not read", "waits, spelt otherwise"],
)
def test_who_waits_to_be_told_to_go_on_is_told_once(head: bytes, is_told: bool) -> None:
    found = arrived(head)
    assert [found.is_to_be_told_to_go_on() for _ in range(2)] == [is_told, False]
    assert found.was_told_to_go_on is is_told


class Counting(bytearray):
    """Knows how much of it was searched."""

    searched = 0

    def find(self, what: bytes, begin: int = 0, end: int | None = None) -> int:  # type: ignore[override]
        end = len(self) if end is None else min(end, len(self))
        found = super().find(what, begin, end)
        self.searched += (end if found < 0 else found + len(what)) - begin
        return found


CHUNKS = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"GET / HTTP/1.1\r\n", b"X: y\r\n" * 5000),
        (CHUNKS, b"1\r\n{\r\n" * 5000),
        (CHUNKS + b"0\r\n", b"a\r\n\r" * 5000),
        (CHUNKS + b"ffff;" + b"a" * 9000 + b"\r\n", b"x" * 30_000),
        (b"PROXY ", b"x" * 8000),
        (b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n", b"\r\n" * 15_000),
    ],
    ids=["head", "chunks", "fields behind", "size", "proxy", "body"],
)
def test_what_comes_by_the_byte_is_looked_at_once(begin: bytes, more: bytes) -> None:
    found = Arrival(is_proxied=True)
    found.data = Counting()
    found.feed(begin)
    for byte in more:
        found.feed(bytes([byte]))
    assert not found.is_whole
    assert isinstance(found.data, Counting)
    # What a proxy says first ends within 107 bytes.
    assert found.data.searched < 120 * (len(begin) + len(more))
