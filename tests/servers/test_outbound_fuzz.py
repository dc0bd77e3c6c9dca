"""Whatever bytes a server sends, a call ends with an answer that makes sense or with an OutboundError."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Answer, HttpClient, OutboundError
from tests.servers.conftest import MakeClient, MakeServer, head
from tests.servers.faults import FaultServer

PIECES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 204\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 \xb2\xb2\xb2 x\r\n",
        b"HTTP/1.1 -99 x\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: \xb2\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: +3\r\n",
        b"Content-Length: 3, 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Connection: close\r\n",
        b"Content-Type: multipart/mixed; boundary=x\r\n",
        b"Content-Type: message/rfc822\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b" folded\r\n",
        b"From nobody\r\n",
        b": empty\r\n",
        b"A: =?utf-8?q?=ff?=\r\n",
        b"A: b\rC: d\r\n",
        b"A: b\nC: d\n",
        b"\x00: \x00\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"abc",
        b"3\r\nabc\r\n",
        b"-3\r\n",
        b"-1\r\n",
        b"ffffffffffffffff\r\n",
        b"0\r\n\r\n",
        b"0\r\nTrailer: x\r\n\r\n",
    ]
)
STREAMS = st.lists(PIECES | st.binary(max_size=20), max_size=12).map(b"".join)


def makes_sense(answer: Answer, method: str) -> None:
    assert 200 <= answer.status <= 999
    assert not any("\n" in text or "\r" in text for header in answer.headers.items() for text in header)
    length = answer.headers.get("content-length")
    assert length is None or (length.isascii() and length.isdigit())
    if method == "HEAD":
        assert answer.body == b""


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_any_bytes_are_an_answer_or_an_error(method: str, fault_server: MakeServer, make_client: MakeClient) -> None:
    server, client = fault_server(), make_client()

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(STREAMS)
    @example(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 4500 + b"\r\n\r\n")
    @example(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 500 Next\r\n\r\n")
    def holds(data: bytes) -> None:
        ask(client, server, method, data)

    holds()


def ask(client: HttpClient, server: FaultServer, method: str, data: bytes) -> None:
    server.behave("raw", path="/odd", data=data)
    try:
        answer = client.send(method, f"{server.url}/odd", deadline=Deadline.after(10.0), max_bytes=1000)
    except OutboundError:
        pass
    else:
        makes_sense(answer, method)
    assert head(client, server, "/object").status == 200, "what was left does not reach the next"
