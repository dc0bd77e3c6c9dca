"""The answers to what gunicorn refuses."""

import inspect
import json

import pytest
from gunicorn.http import errors, message, wsgi
from gunicorn.workers import gthread

from director_wsgi.runtime.sockets import InvalidBody
from director_wsgi.runtime.worker import (
    KEPT_AT_THE_END_S,
    SERVER,
    DirectorWorker,
    _BodyReader,
    error_answer,
    refusal,
)

pytestmark = pytest.mark.unit

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.ParseException) and kind.__module__ == errors.__name__
]
WITHOUT_PARTICULARS = (errors.ParseException, errors.InvalidSchemeHeaders)


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_of_gunicorns_parser_is_told_in_words_that_echo_nothing(kind: type[Exception]) -> None:
    error = kind() if kind in WITHOUT_PARTICULARS else kind("canary")
    status, words = refusal(error)

    assert 400 <= status <= 501
    assert "canary" not in words
    ours = issubclass(
        kind, (errors.InvalidResponseHeader, errors.InvalidResponseHeaderName, errors.ConfigurationProblem)
    )
    assert (status == 500) is ours


def test_anything_else_is_a_defect_that_tells_nothing() -> None:
    assert refusal(RuntimeError("canary")) == (500, "Internal server error")


@pytest.mark.parametrize("status", [400, 403, 414, 417, 431, 500, 501])
def test_an_answer_is_framed_by_its_length_and_ends_the_connection(status: int) -> None:
    head, _, body = error_answer(status, 'words with "quotes" and ö').partition(b"\r\n\r\n")
    lines = head.decode("ascii").split("\r\n")

    assert lines[0].startswith(f"HTTP/1.1 {status} ")
    assert f"Server: {SERVER}" in lines
    assert "Connection: close" in lines
    assert f"Content-Length: {len(body)}" in lines
    assert json.loads(body) == {"status": "error", "msg": 'words with "quotes" and ö'}


class Failing:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def read(self, size: int) -> bytes:
        raise self.error


@pytest.mark.parametrize("error", [errors.InvalidChunkSize(b"canary"), errors.ChunkMissingTerminator(b"canary")])
def test_a_body_that_is_no_http_is_an_oserror_without_its_content(error: Exception) -> None:
    with pytest.raises(InvalidBody) as caught:
        _BodyReader(Failing(error)).read(10)

    assert "canary" not in str(caught.value)


def test_other_failures_of_reading_pass_as_they_are() -> None:
    with pytest.raises(ConnectionResetError):
        _BodyReader(Failing(ConnectionResetError())).read(10)


def test_a_worker_that_ends_does_not_wait_long_for_connections_that_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (gthread, "STOP_KEEPALIVE_LINGER"),  # an AttributeError if gunicorn calls it otherwise by now
        (wsgi, "SERVER"),
        (message, "RFC9112_TARGET_INVALID"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))
    monkeypatch.setattr(gthread.ThreadWorker, "init_process", lambda _worker: None)

    DirectorWorker.__new__(DirectorWorker).init_process()

    assert gthread.STOP_KEEPALIVE_LINGER == KEPT_AT_THE_END_S < 1
