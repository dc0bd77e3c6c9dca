"""TLS, spoken by gunicorn itself."""

import contextlib
import json
import shutil
import socket
import ssl
from pathlib import Path

import pytest

from tests.process.child import SETTINGS, STAND_IN, Child, exchange, get, hup, parse, run
from tests.process.conftest import ENVIRON, Pair, make_pair
from tests.process.test_refusals import assert_is_error

pytestmark = pytest.mark.process

ARGUMENTS = ("-c", str(SETTINGS), "-b", "127.0.0.1:0", STAND_IN)


def test_it_speaks_tls_when_certificate_and_key_are_given(tmp_path: Path, pair: Pair) -> None:
    with run(tmp_path, *ARGUMENTS, environ=pair.environ()) as child:
        answer = child.wait_until_ready().ask(get("/"), pair.trusting())

        assert json.loads(answer.body)["scheme"] == "https"
        assert len(answer.all("Server")) == 1


def test_plain_http_on_the_tls_port_is_told_so(tmp_path: Path, pair: Pair) -> None:
    with run(tmp_path, *ARGUMENTS, environ=pair.environ()) as child:
        answer = child.wait_until_ready().ask(get("/"))

        assert_is_error(answer, 400)
        assert b"HTTPS" in answer.body
        assert_still_well(child, pair)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x16", id="one byte"),
        pytest.param(b"\x16\x03\x01\x00\x05abcde", id="garbage in a handshake"),
        pytest.param(b"\x00" * 600, id="zeros"),
    ],
)
def test_garbage_on_the_tls_port_is_no_event(tmp_path: Path, pair: Pair, sent: bytes) -> None:
    with run(tmp_path, *ARGUMENTS, environ=pair.environ()) as child:
        child.wait_until_ready()
        with socket.create_connection(("127.0.0.1", child.port), timeout=5) as connection:
            connection.sendall(sent)

        assert_still_well(child, pair)


def test_a_client_that_distrusts_the_certificate_is_no_event(tmp_path: Path, pair: Pair) -> None:
    stranger = make_pair(tmp_path, "stranger")
    with run(tmp_path, *ARGUMENTS, environ=pair.environ()) as child:
        child.wait_until_ready()
        with pytest.raises(ssl.SSLCertVerificationError):
            exchange(child.port, get("/"), stranger.trusting())

        assert_still_well(child, pair)


def assert_still_well(child: Child, pair: Pair) -> None:
    assert child.ask(get("/"), pair.trusting()).status == 200
    assert "Traceback" not in child.output


def test_a_client_that_hangs_in_the_handshake_is_given_up(tmp_path: Path, pair: Pair) -> None:
    with run(tmp_path, *ARGUMENTS, environ=pair.environ()) as child:
        child.wait_until_ready()
        with socket.create_connection(("127.0.0.1", child.port), timeout=15) as connection:
            connection.sendall(b"\x16\x03\x01")

            assert connection.recv(1) == b""
        assert_still_well(child, pair)


def test_sessions_can_be_resumed(tmp_path: Path, pair: Pair) -> None:
    trusting = pair.trusting()
    trusting.maximum_version = ssl.TLSVersion.TLSv1_2  # where the session is known once the handshake is over
    with run(tmp_path, *ARGUMENTS, environ=pair.environ()) as child:
        port = child.wait_until_ready().port
        session = None
        for _ in range(2):
            with (
                socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
                trusting.wrap_socket(plain, server_hostname="localhost", session=session) as connection,
            ):
                session = connection.session
                resumed = connection.session_reused

        assert resumed


def test_a_new_certificate_is_used_without_a_reload_and_a_broken_one_is_not(tmp_path: Path, pair: Pair) -> None:
    new = make_pair(tmp_path, "new")
    with run(tmp_path, *ARGUMENTS, environ=pair.environ()) as child:
        child.wait_until_ready()
        replace(pair, new)
        assert child.ask(get("/"), new.trusting()).status == 200

        pair.key.write_text("broken")
        assert child.ask(get("/"), new.trusting()).status == 200
        child.wait_for_output("the last good ones stay")


def test_a_certificate_that_breaks_before_a_reload_leaves_the_last_good_one_in_use(tmp_path: Path, pair: Pair) -> None:
    new = make_pair(tmp_path, "new")
    with run(tmp_path, *ARGUMENTS, environ=pair.environ()) as child:
        child.wait_until_ready()
        replace(pair, new)
        hup(child)
        pair.key.write_text("broken")
        hup(child)

        assert child.ask(get("/"), new.trusting()).status == 200
        assert "Traceback" not in child.output


def replace(pair: Pair, new: Pair) -> None:
    shutil.copy(new.key, pair.key)
    shutil.copy(new.certificate, pair.certificate)


@pytest.mark.parametrize("by", ["parameters", "flags"])
def test_a_certificate_and_a_key_that_do_not_belong_together_are_refused(tmp_path: Path, pair: Pair, by: str) -> None:
    mixed = Pair(pair.certificate, make_pair(tmp_path, "other").key)
    flags = ("--certfile", str(mixed.certificate), "--keyfile", str(mixed.key)) if by == "flags" else ()
    with run(tmp_path, *flags, *ARGUMENTS, environ=ENVIRON if flags else mixed.environ()) as child:
        assert child.wait_for_end() == 1

        assert str(mixed.key) in child.output
        assert "Traceback" not in child.output


@pytest.mark.parametrize("before", [b"", b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["first request", "kept alive"])
def test_a_client_that_stalls_in_a_request_gives_its_thread_back(tmp_path: Path, pair: Pair, before: bytes) -> None:
    with run(tmp_path, *ARGUMENTS, environ=pair.environ()) as child:
        port = child.wait_until_ready().port
        with (
            socket.create_connection(("127.0.0.1", port), timeout=15) as plain,
            pair.trusting().wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            if before:
                connection.sendall(before)
                assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            connection.sendall(b"GET / HT")
            with contextlib.suppress(ssl.SSLEOFError):  # the end may come without TLS's own goodbye
                assert connection.recv(1) == b""
        assert_still_well(child, pair)


def test_a_plain_client_that_stalls_in_a_request_gives_its_thread_back(tmp_path: Path) -> None:
    with run(tmp_path, *ARGUMENTS, environ=ENVIRON) as child:
        port = child.wait_until_ready().port
        with socket.create_connection(("127.0.0.1", port), timeout=15) as connection:
            connection.sendall(b"GET / HT")

            assert connection.recv(1) == b""
        assert parse(exchange(port, get("/"))).status == 200
        assert "Traceback" not in child.output
