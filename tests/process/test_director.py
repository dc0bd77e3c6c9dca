"""The director itself, behind gunicorn, without any federation: what a process test can say and a unit test cannot."""

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.child import SETTINGS, Child, exchange, get, hup, parse, run, wait_until
from tests.process.conftest import ENVIRON, Pair
from tests.process.test_refusals import CHUNKED, assert_is_error

pytestmark = pytest.mark.process

ARGUMENTS = ("-c", str(SETTINGS), "-b", "127.0.0.1:0")  # the settings name the application
REGISTER = "/api/v1.0/director/registerOrigin"


@pytest.fixture(scope="module")
def director(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    with run(tmp_path_factory.mktemp("director"), *ARGUMENTS, environ=ENVIRON) as child:
        yield child.wait_until_ready()


@pytest.fixture(scope="module", autouse=True)
def silent(director: Child) -> Iterator[socket.socket]:
    """A sender that falls silent in its body. It takes seconds to be given up, so it begins with the first test."""
    with socket.create_connection(("127.0.0.1", director.port), timeout=15) as connection:
        connection.sendall(b"POST " + REGISTER.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        yield connection


def test_it_describes_its_federation(director: Child) -> None:
    answer = director.ask(get("/.well-known/pelican-configuration"))

    assert answer.status == 200
    assert json.loads(answer.body)["namespace_registration_endpoint"] == "https://127.0.0.1:1"


@pytest.mark.parametrize(
    "request_",
    [
        get("/no/such/namespace"),
        get("/api/v1.0/director/no-such-thing"),
        b"MKCOL /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"POST " + REGISTER.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnull",
        get("/caf%ff"),
        get("/%00"),
        b"GET /x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\nConnection: close\r\n\r\n",
    ],
)
def test_every_refusal_is_json_with_one_server(director: Child, request_: bytes) -> None:
    answer = director.ask(request_)

    assert 400 <= answer.status < 500
    assert_is_error(answer, answer.status)


def test_raw_utf8_in_a_target_is_a_path(director: Child) -> None:
    answer = director.ask("GET /café HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())

    assert_is_error(answer, 429)
    assert "'/café'" in json.loads(answer.body)["msg"]


def test_a_body_that_is_no_http_is_the_senders_fault(director: Child) -> None:
    answer = director.ask(b"POST " + REGISTER.encode() + CHUNKED + b"xyz\r\n")

    assert_is_error(answer, 400)
    assert "Traceback" not in director.output


def test_a_worker_to_which_nobody_has_advertised_yet_does_not_say_that_there_is_nothing(tmp_path: Path) -> None:
    with run(tmp_path, *ARGUMENTS, environ=ENVIRON | {"PELICAN_DIRECTOR_STARTUPWINDOW": "2s"}) as child:
        child.wait_until_ready()
        assert child.ask(get("/x")).status == 429
        wait_until(lambda: child.ask(get("/x")).status == 404, "the end of the window")
        hup(child)

        assert child.ask(get("/x")).status == 429


def test_hup_and_term_leave_no_thread_waited_for_and_no_process(tmp_path: Path, pair: Pair) -> None:
    with run(tmp_path, *ARGUMENTS, environ=pair.environ()) as child:
        child.wait_until_ready()
        assert child.ask(get("/x"), pair.trusting()).status == 429
        hup(child)
        child.signal(signal.SIGTERM)

        assert child.wait_for_end() == 0
        wait_until(lambda: child.members() == [], "the end of every process")
        assert "Traceback" not in child.output
        assert "not everything was given back" not in child.output


def test_many_connections_one_after_another_are_all_answered(director: Child) -> None:
    statuses = [parse(exchange(director.port, get("/x"))).status for _ in range(100)]

    assert set(statuses) == {429}


def test_a_sender_that_falls_silent_in_its_body_is_given_up(director: Child, silent: socket.socket) -> None:
    received = b""
    while chunk := silent.recv(65536):
        received += chunk

    assert 400 <= parse(received).status < 500
    assert "Traceback" not in director.output
