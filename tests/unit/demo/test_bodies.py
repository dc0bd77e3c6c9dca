import io

import pytest

from director_wsgi.demo.bodies import BadFramingError, ChunkedBody, SizedBody


def everything(body: SizedBody | ChunkedBody, size: int) -> bytes:
    pieces = []
    while piece := body.read(size):
        assert len(piece) <= size
        pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_sized_body_ends_where_it_said(size: int) -> None:
    stream = io.BytesIO(b"01234next")
    assert everything(SizedBody(stream, 5), size) == b"01234"
    assert stream.read() == b"next"


@pytest.mark.parametrize("size", [1, 3, 100])
def test_chunks_are_joined_and_extensions_and_trailers_forgotten(size: int) -> None:
    stream = io.BytesIO(b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\nnext")
    assert everything(ChunkedBody(stream), size) == b"abc0123456789"
    assert stream.read() == b"next"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"3\r\nab",
        b"-1\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b"\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"3\r\nabc\r\n0\r\n",
        b"f" * 16 + b"\r\n",
        b"1" * 10_000,
        b"0\r\n" + b"a: b\r\n" * 1000,
    ],
)
def test_chunks_that_are_cut_off_or_not_framed_are_refused(data: bytes) -> None:
    with pytest.raises(BadFramingError):
        everything(ChunkedBody(io.BytesIO(data)), 100)


def test_a_sized_body_that_is_cut_off_is_refused() -> None:
    with pytest.raises(BadFramingError):
        everything(SizedBody(io.BytesIO(b"abc"), 4), 100)


@pytest.mark.parametrize(("most", "drained"), [(5, True), (4, False)])
def test_draining_a_sized_body_reads_no_more_than_allowed(most: int, drained: bool) -> None:
    stream = io.BytesIO(b"01234next")
    assert SizedBody(stream, 5).drain(most) is drained
    assert stream.tell() == (5 if drained else 0)


@pytest.mark.parametrize(("most", "drained"), [(4, True), (3, False)])
def test_draining_chunks_reads_no_more_than_allowed(most: int, drained: bool) -> None:
    assert ChunkedBody(io.BytesIO(b"3\r\nabc\r\n0\r\n\r\n")).drain(most) is drained
