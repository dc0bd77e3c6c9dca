"""The load generator of `demo saturation` against real sockets, and the origins that hang."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
import requests

from director_wsgi.demo.hanging import HangingOrigins
from director_wsgi.demo.openloop import CUT_OFF, MALFORMED, TIMED_OUT, Load, Order, Outcome, run
from director_wsgi.demo.scene import Arrival

HELD = "/biology/held-by-0/1.dat"


def outcomes(port: int, *arrivals: Arrival, ago_s: float = 0.0, timeout_s: float = 10.0) -> list[Outcome]:
    order = Order(port=port, starts_at=time.monotonic() - ago_s, timeout_s=timeout_s, arrivals=arrivals)
    return asyncio.run(run(order))


@contextmanager
def serving(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port whose connections are all handed to one thread."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), name="test-serving")
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)
        assert not thread.is_alive()


class TestLoad:
    def test_a_request_does_not_wait_for_the_answer_to_the_one_before(self) -> None:
        def serve(listener: socket.socket) -> None:
            connections = [listener.accept()[0] for _ in range(2)]  # both, before either is answered
            for connection in connections:
                connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
                connection.close()

        with serving(serve) as port:
            told = outcomes(port, Arrival(0, "/a"), Arrival(0.01, "/b"))
        assert [outcome.status for outcome in told] == [204, 204]

    def test_latency_counts_from_the_scheduled_instant_and_the_generators_own_delay_is_told(self) -> None:
        with HangingOrigins(1) as origins:
            (told,) = outcomes(origins.ports[0], Arrival(0, HELD), ago_s=3.0)
        assert told.status == 200
        assert told.latency_s >= told.lateness_s >= 3.0

    def test_a_client_gives_up_at_its_time_counted_from_the_scheduled_instant(self) -> None:
        with HangingOrigins(1) as origins:
            origins.hang(0)
            (told,) = outcomes(origins.ports[0], Arrival(0, HELD), ago_s=9.9)
        assert (told.status, told.failure) == (0, TIMED_OUT)
        assert told.latency_s >= 10

    def test_who_is_not_there_is_told_from_who_is_silent(self) -> None:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            (told,) = outcomes(nobody.getsockname()[1], Arrival(0, "/x"))
        assert (told.status, told.failure) == (0, CUT_OFF)

    @pytest.mark.parametrize(("said", "failure"), [(b"HTTP/1.1 307 T", CUT_OFF), (b"nonsense\r\n\r\n", MALFORMED)])
    def test_half_an_answer_is_none(self, said: bytes, failure: str) -> None:
        def serve(listener: socket.socket) -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(said)

        with serving(serve) as port:
            (told,) = outcomes(port, Arrival(0, "/x"))
        assert (told.status, told.failure) == (0, failure)

    def test_a_child_does_the_same_and_tells_it_in_the_order_of_the_arrivals(self) -> None:
        arrivals = [Arrival(n / 100, HELD.replace("0/", f"{n % 2}/")) for n in range(6)]
        with HangingOrigins(1) as origins:
            order = Order(port=origins.ports[0], starts_at=time.monotonic() + 0.5, timeout_s=10.0, arrivals=arrivals)
            with Load(order) as load:
                told = load.outcomes()
                assert load.has_ended()
        assert [outcome.status for outcome in told] == [200, 404] * 3

    def test_a_child_that_is_not_waited_for_is_ended(self) -> None:
        order = Order(port=1, starts_at=time.monotonic() + 600, timeout_s=10.0, arrivals=[Arrival(0, "/x")])
        with Load(order) as load:
            assert not load.has_ended()
        assert load.has_ended()


class TestOrigins:
    @staticmethod
    def head(origins: HangingOrigins, path: str = HELD, *, which: int = 0, timeout_s: float = 10.0) -> int:
        with requests.Session() as session:
            session.trust_env = False
            return session.head(f"http://127.0.0.1:{origins.ports[which]}{path}", timeout=timeout_s).status_code

    def test_an_origin_has_the_objects_whose_path_says_so(self) -> None:
        with HangingOrigins(2) as origins:
            assert [self.head(origins, which=which) for which in (0, 1)] == [200, 404]
            assert self.head(origins, "/other/path") == 404

    def test_it_hangs_alone_and_answers_again_when_it_is_healed(self) -> None:
        with HangingOrigins(2) as origins:
            origins.hang(0)
            with pytest.raises(requests.ReadTimeout):
                self.head(origins, timeout_s=0.2)
            assert self.head(origins, which=1) == 404
            origins.heal(0)
            assert origins.first_answer_at(0) is None
            healed_at = time.monotonic()
            assert self.head(origins) == 200
            answered_at = origins.first_answer_at(0)
            assert answered_at is not None
            assert answered_at >= healed_at
            self.head(origins)
            assert origins.first_answer_at(0) == answered_at

    def test_closing_cuts_what_hangs_and_leaves_no_thread(self) -> None:
        origins = HangingOrigins(1)
        origins.hang(0)
        with socket.create_connection(("127.0.0.1", origins.ports[0]), timeout=10) as connection:
            connection.sendall(b"HEAD / HTTP/1.1\r\n\r\n")
            origins.close()
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""
        assert "demo-origins" not in {thread.name for thread in threading.enumerate()}
