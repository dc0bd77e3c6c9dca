"""TLS, spoken by gunicorn itself."""

import contextlib
import json
import shutil
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.process.child import SETTINGS, STAND_IN, Child, exchange, get, hup, parse, run
from tests.process.conftest import ENVIRON, Pair, make_pair
from tests.process.test_refusals import assert_is_error

pytestmark = pytest.mark.process

ARGUMENTS = ("-c", str(SETTINGS), "-b", "127.0.0.1:0", STAND_IN)


class Speaking(NamedTuple):
    """A director that speaks TLS, and its certificate."""

    child: Child
    pair: Pair


@pytest.fixture(scope="module")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Speaking]:
    """One for all tests that leave it as it was."""
    directory = tmp_path_factory.mktemp("speaking")
    pair = make_pair(directory)
    with run(directory, *ARGUMENTS, environ=pair.environ()) as child:
        yield Speaking(child.wait_until_ready(), pair)


def test_it_speaks_tls_when_certificate_and_key_are_given(speaking: Speaking) -> None:
    answer = speaking.child.ask(get("/"), speaking.pair.trusting())

    assert json.loads(answer.body)["scheme"] == "https"
    assert len(answer.all("Server")) == 1


def test_plain_http_on_the_tls_port_is_told_so(speaking: Speaking) -> None:
    answer = speaking.child.ask(get("/"))

    assert_is_error(answer, 400)
    assert b"HTTPS" in answer.body
    assert_still_well(speaking)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x16", id="one byte"),
        pytest.param(b"\x16\x03\x01\x00\x05abcde", id="garbage in a handshake"),
        pytest.param(b"\x00" * 600, id="zeros"),
    ],
)
def test_garbage_on_the_tls_port_is_no_event(speaking: Speaking, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", speaking.child.port), timeout=5) as connection:
        connection.sendall(sent)

    assert_still_well(speaking)


def test_a_client_that_distrusts_the_certificate_is_no_event(tmp_path: Path, speaking: Speaking) -> None:
    stranger = make_pair(tmp_path, "stranger")
    with pytest.raises(ssl.SSLCertVerificationError):
        exchange(speaking.child.port, get("/"), stranger.trusting())

    assert_still_well(speaking)


def assert_still_well(speaking: Speaking) -> None:
    assert speaking.child.ask(get("/"), speaking.pair.trusting()).status == 200
    assert "Traceback" not in speaking.child.output


def test_sessions_can_be_resumed(speaking: Speaking) -> None:
    trusting = speaking.pair.trusting()
    trusting.maximum_version = ssl.TLSVersion.TLSv1_2  # where the session is known once the handshake is over
    session = None
    for _ in range(2):
        with (
            socket.create_connection(("127.0.0.1", speaking.child.port), timeout=5) as plain,
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


def test_clients_that_stall_in_the_handshake_or_in_a_request_are_given_up(speaking: Speaking, served: Child) -> None:
    """All at once, since each takes as long as they are waited for."""
    port, trusting = speaking.child.port, speaking.pair.trusting()
    with contextlib.ExitStack() as stack:

        def connected(port: int) -> socket.socket:
            return stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=15))

        def spoken() -> ssl.SSLSocket:
            return stack.enter_context(trusting.wrap_socket(connected(port), server_hostname="localhost"))

        kept_alive = spoken()
        kept_alive.sendall(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert kept_alive.recv(65536).startswith(b"HTTP/1.1 200")
        in_handshake, first, plain = connected(port), spoken(), connected(served.port)
        in_handshake.sendall(b"\x16\x03\x01")
        for stalled in (kept_alive, first, plain):
            stalled.sendall(b"GET / HT")

        for stalled in (in_handshake, kept_alive, first, plain):
            with contextlib.suppress(ssl.SSLEOFError):  # the end may come without TLS's own goodbye
                assert stalled.recv(1) == b""
    assert_still_well(speaking)
    assert parse(exchange(served.port, get("/"))).status == 200
    assert "Traceback" not in served.output
