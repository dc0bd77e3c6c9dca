"""The socket behind `Director.AdminBind`: opened once, handed on, never taken from somebody who listens there."""

import logging
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from director_wsgi.runtime.admin_listener import INHERITED, AdminListener


@pytest.fixture
def made() -> Iterator[AdminListener]:
    one = AdminListener()
    yield one
    one.close(is_last=True)


def local(port: int) -> str:
    return f"127.0.0.1:{port}"


def port_of(one: AdminListener) -> int:
    assert one.socket is not None
    return int(one.socket.getsockname()[1])


def opened(one: AdminListener) -> AdminListener:
    """At a port that nobody listened at a moment ago."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    one.open(local(port), {})
    return one


def test_without_a_place_there_is_none(made: AdminListener) -> None:
    environ: dict[str, str] = {}
    made.open("", environ)
    made.hand_on(environ)
    assert (made.socket, environ) == (None, {})


def test_it_listens_and_is_not_inherited_by_programs_that_are_started(made: AdminListener) -> None:
    opened(made)
    assert made.socket is not None
    assert not made.socket.get_inheritable()
    assert made.socket.gettimeout() == 0
    with closing(socket.create_connection(("127.0.0.1", port_of(made)), timeout=5)):
        made.socket.accept()[0].close()


def test_a_place_that_is_taken_is_refused(made: AdminListener) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(OSError, match="in use"):
            made.open(local(other.getsockname()[1]), {})
    assert made.socket is None


def test_a_socket_file_is_made_and_removed_by_the_last_master(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    for is_last in (False, True):
        one = AdminListener()
        one.open(f"unix:{path}", {})
        assert stat.S_ISSOCK(path.stat().st_mode)
        one.close(is_last=is_last)
        one.close(is_last=is_last)
        assert path.exists() is not is_last


def test_the_file_of_a_master_that_was_killed_is_replaced(made: AdminListener, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
        killed.listen()
    made.open(f"unix:{path}", {})
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_file_at_which_somebody_listens_is_left_to_it(made: AdminListener, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as client:
        other.bind(str(path))
        other.listen()
        with pytest.raises(OSError, match="in use"):
            made.open(f"unix:{path}", {})
        client.connect(str(path))


def test_a_file_that_is_no_socket_is_not_removed(made: AdminListener, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("precious")
    with pytest.raises(OSError, match="in use"):
        made.open(f"unix:{path}", {})
    assert path.read_text() == "precious"


def hand_over(one: AdminListener) -> dict[str, str]:
    """What the next master finds: its own copy of the socket, as over `exec`."""
    environ: dict[str, str] = {}
    one.hand_on(environ)
    process, _, number = environ[INHERITED].partition(":")
    assert os.get_inheritable(int(number))
    environ[INHERITED] = f"{process}:{os.dup(int(number))}"
    return environ


def test_the_next_master_goes_on_with_the_same_socket(made: AdminListener) -> None:
    opened(made)
    environ = hand_over(made)
    after = AdminListener()
    after.open(made.bind, environ)
    assert environ == {}
    assert port_of(after) == port_of(made)
    assert after.socket is not None
    assert not after.socket.get_inheritable()
    made.close(is_last=False)
    with closing(socket.create_connection(("127.0.0.1", port_of(after)), timeout=5)):
        after.socket.accept()[0].close()
    after.close(is_last=True)


def test_the_next_master_may_listen_elsewhere(made: AdminListener, tmp_path: Path) -> None:
    opened(made)
    for bind in (f"unix:{tmp_path / 'admin.sock'}", ""):
        environ = hand_over(made)
        number = int(environ[INHERITED].partition(":")[2])
        after = AdminListener()
        after.open(bind, environ)
        assert (after.socket is not None) is bool(bind)
        assert after.socket is None or after.socket.family == socket.AF_UNIX
        is_taken_again = after.socket is not None and after.socket.fileno() == number
        assert is_taken_again or not is_open(number)
        after.close(is_last=True)
    assert made.socket is not None  # and the one before it goes on
    assert made.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


def is_open(number: int) -> bool:
    return Path(f"/proc/self/fd/{number}").exists()


@pytest.mark.parametrize("told", ["", "x", "1:3", ":", "{pid}:x", "{pid}:99999", "{pid}:-1"])
def test_what_is_not_meant_for_this_process_is_not_taken(made: AdminListener, tmp_path: Path, told: str) -> None:
    environ = {INHERITED: told.format(pid=os.getpid())}
    made.open(f"unix:{tmp_path / 'admin.sock'}", environ)
    assert made.socket is not None
    assert environ == {}


def test_what_is_no_listening_socket_is_left_alone(made: AdminListener, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with socket.socket() as idle:
        for number in (reading, idle.fileno()):
            made.open("", {INHERITED: f"{os.getpid()}:{number}"})
            assert made.socket is None
            os.fstat(number)
    os.close(reading)
    os.close(writing)


def test_a_reload_does_not_move_it_and_says_so(made: AdminListener, caplog: pytest.LogCaptureFixture) -> None:
    opened(made)
    before = made.socket
    with caplog.at_level(logging.WARNING):
        made.stay(made.bind)
        assert not caplog.records
        made.stay("")
    assert made.socket is before
    assert "takes effect with a restart" in caplog.text
