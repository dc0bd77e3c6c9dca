"""Whatever a server does, a call ends by its deadline, says what failed, and leaves nothing behind."""

import threading
from dataclasses import dataclass, field
from typing import Any

import pytest

from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Failure, OutboundError, TlsTrust
from tests.descriptors import open_files
from tests.servers.authority import Authority
from tests.servers.conftest import MakeClient, MakeServer, head
from tests.servers.faults import black_hole

DEADLINE_S = 0.2


@dataclass(frozen=True)
class Case:
    name: str
    failure: Failure
    arguments: dict[str, Any] = field(default_factory=dict)
    method: str = "HEAD"

    def __str__(self) -> str:
        return f"{self.method} {self.name} {' '.join(map(str, self.arguments.values()))}".strip()


HTTP_CASES = (
    Case("hang_after_accept", Failure.TIMED_OUT),
    Case("hang_after_request", Failure.TIMED_OUT),
    Case("drip", Failure.TIMED_OUT),
    Case("drip", Failure.TIMED_OUT, {"interval_s": 0.001}),
    Case("drip_status", Failure.TIMED_OUT),
    Case("drip_lines", Failure.TIMED_OUT),
    Case("drip_body", Failure.TIMED_OUT, method="GET"),
    Case("hang_in_body", Failure.TIMED_OUT, method="GET"),
    Case("endless_continue", Failure.TIMED_OUT),
    Case("endless_continue", Failure.TOO_LARGE, {"interval_s": 0.0}),
    Case("endless_headers", Failure.TOO_LARGE),
    Case("endless_trailers", Failure.TOO_LARGE, method="GET"),
    Case("huge_header", Failure.TOO_LARGE),
    Case("many_headers", Failure.TOO_LARGE),
    Case("slow", Failure.TIMED_OUT, {"seconds": 0.5}),
    Case("cut_off", Failure.CUT_OFF),
    Case("cut_off", Failure.CUT_OFF, {"after": b"H"}),
    Case("cut_off", Failure.CUT_OFF, {"after": b"HTTP/1.1 200"}),
    Case("cut_off", Failure.CUT_OFF, {"after": b"HTTP/1.1 200 OK\r\n"}),
    Case("cut_off", Failure.CUT_OFF, {"after": b"HTTP/1.1 200 OK\r\nContent-Length: 123"}),
    Case("cut_off", Failure.CUT_OFF, {"after": b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r"}),
    Case("cut_off", Failure.CUT_OFF, {"after": b"HTTP/1.1 100 Continue\r\n\r\n"}),
    Case("cut_off_in_body", Failure.CUT_OFF, method="GET"),
    Case("close_after_accept", Failure.CUT_OFF),
    Case("close_without_answer", Failure.CUT_OFF),
    Case("reset", Failure.CUT_OFF),
    Case("interim", Failure.MALFORMED),
    Case("raw", Failure.MALFORMED, {"data": b"SSH-2.0-OpenSSH_9.2\r\n"}),
    Case("raw", Failure.MALFORMED, {"data": b"\x00\xff\x80\r\n\r\n"}),
    Case("raw", Failure.MALFORMED, {"data": b"HTTP/1.1 OK\r\n\r\n"}),
    Case("raw", Failure.MALFORMED, {"data": b"HTTP/3.0 200 OK\r\n\r\n"}),
    Case("raw", Failure.MALFORMED, {"data": b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 5\r\n\r\n"}),
    Case("raw", Failure.MALFORMED, {"data": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"}),
    Case("raw", Failure.MALFORMED, {"data": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"}),
    Case("raw", Failure.MALFORMED, {"data": b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n"}),
    Case("raw", Failure.MALFORMED, {"data": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"}),
    Case(
        "raw",
        Failure.MALFORMED,
        {"data": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"},
        method="GET",
    ),
    Case(
        "raw", Failure.CUT_OFF, {"data": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"}, method="GET"
    ),
    Case("refuse", Failure.REFUSED),
)
"""What a server does to a request, and what it is called; the same under TLS but for what comes before the handshake."""

TLS_CASES = (
    Case("stall_in_tls", Failure.TIMED_OUT),
    Case("drip_in_tls", Failure.TIMED_OUT),
    Case("plain_in_tls", Failure.TLS),
    Case("close_after_accept", Failure.TLS),
    *(case for case in HTTP_CASES if case.name != "close_after_accept"),
)


@pytest.mark.parametrize(
    ("tls", "case"),
    [(False, case) for case in HTTP_CASES] + [(True, case) for case in TLS_CASES],
    ids=lambda value: str(value) if isinstance(value, Case) else ("https" if value else "http"),
)
def test_a_call_ends_by_its_deadline_and_says_what_failed(
    tls: bool, case: Case, fault_server: MakeServer, make_client: MakeClient
) -> None:
    server, client = fault_server(tls=tls), make_client()
    assert head(client, server).status == 200  # all that is loaded once is loaded
    server.drop_connections()
    server.wait_until(lambda: server.open_connections == 0)
    server.behave(case.name, **case.arguments)
    deadline = Deadline.after(DEADLINE_S)

    with pytest.raises(OutboundError) as failed:
        client.send(
            case.method,
            f"{server.url}/object?authz=secret",
            deadline=deadline,
            headers={"X-Token": "secret"},
            max_bytes=4000,
        )

    assert failed.value.failure is case.failure
    assert str(server.port) in str(failed.value)
    assert "secret" not in str(failed.value)
    assert "object" not in str(failed.value)
    assert deadline.has_passed() is (case.failure is Failure.TIMED_OUT)
    assert client.idle_connections == 0
    assert server.wait_until(lambda: server.open_connections == 0), "the connection is closed, not forgotten"


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_a_hundred_failed_calls_leave_neither_sockets_nor_threads(
    tls: bool, fault_server: MakeServer, make_client: MakeClient
) -> None:
    server, client = fault_server(tls=tls), make_client()
    head(client, server)
    server.drop_connections()
    assert server.wait_until(lambda: server.open_connections == 0)
    server.behave("close_after_accept")
    with pytest.raises(OutboundError):  # and takes the dead one out of the pool
        head(client, server)
    assert server.wait_until(lambda: server.open_connections == 0)
    files, threads = open_files(), threading.active_count()

    for name in ("cut_off", "reset", "close_without_answer", "huge_header", "interim") * 20:
        server.behave(name)
        with pytest.raises(OutboundError):
            head(client, server)

    assert server.wait_until(lambda: server.open_connections == 0)
    assert open_files() <= files
    assert threading.active_count() <= threads


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_a_connection_broken_at_once_is_never_taken_for_more(
    tls: bool, fault_server: MakeServer, make_client: MakeClient
) -> None:
    """How far a call gets before the reset arrives is chance; each time it must fail, and close what it opened."""
    server, client = fault_server(tls=tls), make_client()
    server.behave("reset_after_accept")
    seen = set()
    for _ in range(50):
        with pytest.raises(OutboundError) as failed:
            head(client, server)
        seen.add(failed.value.failure)
    assert seen <= {Failure.REFUSED, Failure.TLS if tls else Failure.CUT_OFF}
    assert server.wait_until(lambda: server.open_connections == 0)


def test_a_black_hole_costs_no_more_than_the_deadline(make_client: MakeClient) -> None:
    with black_hole() as port, pytest.raises(OutboundError) as failed:
        make_client().send("HEAD", f"http://127.0.0.1:{port}/", deadline=Deadline.after(DEADLINE_S))
    assert failed.value.failure is Failure.TIMED_OUT


def test_an_address_may_take_no_longer_than_the_connect_timeout(make_client: MakeClient) -> None:
    deadline = Deadline.after(60.0)
    with black_hole() as port, pytest.raises(OutboundError) as failed:
        make_client(connect_timeout_s=0.05).send("HEAD", f"http://127.0.0.1:{port}/", deadline=deadline)
    assert failed.value.failure is Failure.TIMED_OUT
    assert not deadline.has_passed()


def test_a_deadline_that_has_passed_sends_nothing(fault_server: MakeServer, make_client: MakeClient) -> None:
    server = fault_server()
    with pytest.raises(OutboundError) as failed:
        head(make_client(), server, seconds=0.0)
    assert failed.value.failure is Failure.TIMED_OUT
    assert server.connections == 0


@pytest.mark.parametrize(
    "certificate_for",
    [("elsewhere.example",), ("localhost",)],
    ids=["another name", "a name but not the address"],
)
def test_a_certificate_for_somebody_else_is_refused(
    certificate_for: tuple[str, ...], fault_server: MakeServer, make_client: MakeClient, test_ca: Authority
) -> None:
    server = fault_server(certificate=test_ca.issue(*certificate_for))
    with pytest.raises(OutboundError, match=r"127\.0\.0\.1") as failed:
        head(make_client(), server)
    assert failed.value.failure is Failure.TLS
    assert server.requests == ()


def test_an_expired_certificate_is_refused_and_named(
    fault_server: MakeServer, make_client: MakeClient, test_ca: Authority
) -> None:
    server = fault_server(certificate=test_ca.issue("127.0.0.1", days=-1))
    with pytest.raises(OutboundError, match="certificate has expired") as failed:
        head(make_client(), server)
    assert failed.value.failure is Failure.TLS


def test_an_unknown_authority_is_refused_unless_nobody_is_to_be_checked(
    fault_server: MakeServer, make_client: MakeClient
) -> None:
    server = fault_server(tls=True)
    with pytest.raises(OutboundError) as failed:
        head(make_client(trust=TlsTrust()), server)
    assert failed.value.failure is Failure.TLS
    assert head(make_client(trust=TlsTrust(skip_verify=True)), server).status == 200


def test_the_certificate_must_be_for_the_name_in_the_url_not_for_its_address(
    fault_server: MakeServer, make_client: MakeClient, test_ca: Authority
) -> None:
    server = fault_server(certificate=test_ca.issue("localhost"))
    answer = make_client().send("HEAD", f"https://localhost:{server.port}/", deadline=Deadline.after(5.0))
    assert answer.status == 200
    assert server.requests[0].headers["host"] == f"localhost:{server.port}"
