"""Laws of the operators' HTTP: small, strict, and nothing that is asked ends it."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.runtime.admin import Answer, Answering, Asked, _answered, _made, _written

Fields = dict[str, str]


def _respond(head: bytes, answer: Answering) -> bytes:
    told, with_body = _answered(head, answer)
    return _written(told if isinstance(told, Answer) else _made(told), with_body=with_body)


def answered(head: bytes, status: int = 200) -> tuple[int, Fields, bytes, list[Asked]]:
    """Status, fields and body of the response, and what was asked for."""
    asked: list[Asked] = []

    def answer(one: Asked) -> Answer:
        asked.append(one)
        return Answer(status=status, body=b'{"a":1}')

    raw = _respond(head, answer)
    top, _, body = raw.partition(b"\r\n\r\n")
    line, *fields = top.decode("ascii").split("\r\n")
    return int(line.split()[1]), dict(field.split(": ", 1) for field in fields), body, asked


def test_what_is_asked_for_is_told_as_it_was_sent() -> None:
    *_, asked = answered(b"GET /a%2Fb?verbose&x=%20 HTTP/1.1\r\nHost: x\r\nAUTHORIZATION:  Bearer t0k\xe9 \r\nX: y")
    assert asked == [Asked(path="/a%2Fb", query="verbose&x=%20", authorization="Bearer t0ké")]


def test_the_answer_is_whole_and_ends_the_connection() -> None:
    status, fields, body, _ = answered(b"GET /livez HTTP/1.0", status=503)
    assert (status, body) == (503, b'{"a":1}')
    assert fields["Content-Length"] == "7"
    assert fields["Content-Type"] == "application/json; charset=utf-8"
    assert (fields["Connection"], fields["Cache-Control"]) == ("close", "no-store")
    assert fields["Server"].startswith("pelican/")
    assert fields["Date"].endswith(" GMT")


def test_head_is_answered_as_get_without_the_body() -> None:
    _, of_get, body, _ = answered(b"GET /livez HTTP/1.1")
    status, of_head, nothing, _ = answered(b"HEAD /livez HTTP/1.1")
    assert (status, body, nothing) == (200, b'{"a":1}', b"")
    assert of_head["Content-Length"] == of_get["Content-Length"]


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"OPTIONS", b"get"])
def test_nothing_but_get_and_head_is_possible(method: bytes) -> None:
    status, fields, _, asked = answered(method + b" /livez HTTP/1.1")
    assert (status, fields["Allow"], asked) == (405, "GET, HEAD", [])


@pytest.mark.parametrize(
    "line",
    [b"", b"GET", b"GET /livez", b"GET livez HTTP/1.1", b"GET /livez HTTP/2.0", b"GET  /livez HTTP/1.1", b"\x16\x03\x01",
     b"GET /a b HTTP/1.1", b"GET /\xff HTTP/1.1", b"GET http://x/livez HTTP/1.1", b"GET /livez HTTP/1.1\n", b" GET / HTTP/1.1"],
)  # fmt: skip
def test_what_is_no_http_is_refused(line: bytes) -> None:
    status, _, body, asked = answered(line)
    assert (status, asked) == (400, [])
    assert body == b'{"status": "error", "msg": "The request is not valid HTTP"}'


@given(st.binary(max_size=200))
def test_whatever_is_sent_gets_an_answer(head: bytes) -> None:
    assert answered(head)[0] in {200, 400, 405}


def test_a_defect_is_answered_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_asked: Asked) -> Answer:
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR):
        raw = _respond(b"GET /readyz?secret HTTP/1.1\r\nAuthorization: Bearer canary", fail)
    assert raw.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    (record,) = caplog.records
    assert "/readyz" in record.getMessage()
    assert not {"secret", "canary"} & set(record.getMessage().split())


def test_an_authorization_is_not_shown() -> None:
    assert "canary" not in repr(Asked(path="/", authorization="Bearer canary"))
