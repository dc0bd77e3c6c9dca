"""What gunicorn refuses by itself is answered as the director answers."""

import json
import re
import socket

import pytest

from tests.process.child import Answer, Child, exchange, get, parse

pytestmark = pytest.mark.process

HOST = b"Host: localhost\r\n"
TOKEN = "Z" * 7000


def assert_is_error(answer: Answer, status: int) -> None:
    assert answer.status == status
    assert answer.all("Content-Type") == ["application/json; charset=utf-8"]
    assert len(answer.all("Server")) == 1
    assert re.fullmatch(r"pelican/\d+\.\d+\.\d+", answer.all("Server")[0])
    assert answer.all("Content-Length") == [str(len(answer.body))]
    body = json.loads(answer.body)
    assert body.keys() == {"status", "msg"}
    assert body["status"] == "error"
    assert body["msg"]
    assert "<" not in body["msg"]


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        pytest.param(400, b"\x00\x01\x02 garbage\r\n\r\n", id="garbage"),
        pytest.param(400, b"get / HTTP/1.1\r\n" + HOST + b"\r\n", id="lower-case method"),
        pytest.param(400, b"GET / HTTP/9.9\r\n" + HOST + b"\r\n", id="unknown version"),
        pytest.param(400, b"GET / HTTP/1.1\r\n" + HOST + b"A b: c\r\n\r\n", id="blank in a field name"),
        pytest.param(400, b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n c\r\n\r\n", id="folded field"),
        pytest.param(400, b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", id="two hosts"),
        pytest.param(
            400,
            b"POST /drained HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            id="both length and coding",
        ),
        pytest.param(501, b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: zip\r\n\r\n", id="unknown coding"),
        pytest.param(417, b"GET / HTTP/1.1\r\n" + HOST + b"Expect: miracles\r\n\r\n", id="expectation"),
        pytest.param(414, b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", id="long line"),
        pytest.param(431, b"GET / HTTP/1.1\r\n" + HOST + b"A: " + b"x" * 9000 + b"\r\n\r\n", id="long field"),
        pytest.param(431, b"GET / HTTP/1.1\r\n" + HOST + b"A: x\r\n" * 150 + b"\r\n", id="many fields"),
        pytest.param(500, b"GET /boom HTTP/1.1\r\n" + HOST + b"\r\n", id="defect of the application"),
        pytest.param(500, b"GET /bad-header HTTP/1.1\r\n" + HOST + b"\r\n", id="invalid header of the application"),
    ],
)
def test_an_error_of_gunicorns_own_is_json_with_our_server(served: Child, status: int, request_: bytes) -> None:
    answer = served.ask(request_)

    assert_is_error(answer, status)
    assert answer.all("Connection") == ["close"]


CHUNKED = b" HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("chunks", [b"xyz\r\n", b"3\r\nabcdef\r\n0\r\n\r\n", b"3;=\r\nabc\r\n0\r\n\r\n"])
def test_a_body_that_is_no_http_is_an_oserror_to_the_application(served: Child, chunks: bytes) -> None:
    answer = served.ask(b"POST /drained" + CHUNKED + chunks)

    assert answer.status == 400
    assert answer.body == b"InvalidBody"


def test_a_body_that_nobody_reads_is_answered_once_whatever_it_is(served: Child) -> None:
    received = exchange(served.port, b"GET /" + CHUNKED + b"xyz\r\n")

    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert received.count(b"HTTP/1.1 ") == 1


def test_a_client_that_sends_nonsense_leaves_no_traceback(served: Child) -> None:
    before = served.output.count("Traceback")

    for request in (b"\x00\x01\x02 garbage\r\n\r\n", b"GET / HTTP/1.1\r\nA b: c\r\n\r\n", b"GET /half", b""):
        exchange_and_hang_up(served.port, request)
    served.ask(get("/"))

    assert served.output.count("Traceback") == before


def exchange_and_hang_up(port: int, request: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(request)


def test_what_a_refused_client_sent_is_neither_echoed_nor_logged(served: Child) -> None:
    answer = served.ask(b"GET /a?authz=canary-in-a-bad-line HTTP/1.1 more\r\n" + HOST + b"\r\n")

    assert_is_error(answer, 400)
    assert b"canary" not in answer.body
    assert "canary-in-a-bad-line" not in served.output


def test_a_defect_is_told_to_the_log_and_not_to_the_client(served: Child) -> None:
    answer = served.ask(get("/boom?authz=canary-in-a-query"))

    assert b"canary" not in answer.body
    assert b"Traceback" not in answer.body
    assert "canary-of-the-defect" in served.output
    assert "canary-in-a-query" not in served.output


def test_the_answer_to_a_refused_head_has_no_body(served: Child) -> None:
    answer = served.ask(b"HEAD /boom HTTP/1.1\r\n" + HOST + b"\r\n")

    assert answer.status == 500
    assert answer.body == b""
    assert int(answer.all("Content-Length")[0]) > 0


def test_7_kb_of_token_pass_in_a_header_and_in_the_query(served: Child) -> None:  # C-40
    in_header = json.loads(served.ask(get("/", f"Authorization: Bearer {TOKEN}")).body)
    in_query = json.loads(served.ask(get(f"/?authz={TOKEN}")).body)

    assert in_header["authorization_length"] == len("Bearer ") + len(TOKEN)
    assert in_query["query_length"] == len("authz=") + len(TOKEN)


def test_an_answer_of_the_application_has_our_server_once(served: Child) -> None:  # C-06
    answer = served.ask(get("/"))

    assert answer.status == 200
    assert len(answer.all("Server")) == 1
    assert answer.all("Server")[0].startswith("pelican/")


def test_a_client_cannot_set_path_scheme_or_peer_through_gunicorn(served: Child) -> None:
    fields = (
        "X-Forwarded-Proto: https",
        "X-Forwarded-Protocol: http",
        "X-Forwarded-For: 192.0.2.1",
        "SCRIPT_NAME: /elsewhere",
        "PATH_INFO: /elsewhere",
    )

    seen = json.loads(served.ask(get("/", *fields)).body)

    assert (seen["path"], seen["scheme"], seen["peer"]) == ("/", "http", "127.0.0.1")


def test_tokens_reach_neither_the_log_nor_the_access_log(served: Child) -> None:
    jwt = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJlLWNhbmFyeQ"
    for request in (
        get("/log?authz=canary-query", "Authorization: Bearer canary-header"),
        get("/log?authz=Bearer%20canary-encoded&x=1"),
        get(f"/log/{jwt}"),
        get("/log?access_token=canary-access", f"Referer: https://x.example/?authz={jwt}"),
    ):
        served.ask(request)
    served.wait_for_output('"GET /log?access_token=')

    output = served.output
    assert "Handled http://" in output
    for canary in ("canary-query", "canary-header", "canary-encoded", "canary-access", "c2lnbmF0dXJl", "eyJzdWI"):
        assert canary not in output


def test_every_line_of_the_log_is_one_record(served: Child) -> None:
    served.ask(get("/log"))
    served.wait_for_output("Handled http://")

    for line in served.output.splitlines():
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [A-Z]+ \d+ \S+: |127\.0\.0\.1 - - \[", line), line


def test_connections_left_open_by_clients_hold_nobody_up(served: Child) -> None:
    pipelined = get("/")
    held = [socket.create_connection(("127.0.0.1", served.port), timeout=10) for _ in range(10)]
    try:
        for connection in held:
            connection.sendall(pipelined)
        # Each is answered and half-closed by the server, and none closes: all stay open while the next one is served.
        assert all(connection.recv(5) == b"HTTP/" for connection in held)
        answers = [parse(exchange(served.port, get("/"), timeout_s=5)) for _ in range(3)]
    finally:
        for connection in held:
            connection.close()

    assert [answer.status for answer in answers] == [200, 200, 200]
