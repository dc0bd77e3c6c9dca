"""What arrives well: answers and bodies, and connections kept for the next request."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Answer, Failure, HttpClient, NameResolver, OutboundError
from director_wsgi.outbound.names import Found
from tests.fakes import FakeClock
from tests.servers.conftest import Allowing, MakeClient, MakeServer, head
from tests.servers.faults import FaultServer, black_hole

BOTH = pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])


def get(client: HttpClient, server: FaultServer, path: str = "/object", **options: Any) -> Answer:
    return client.send("GET", server.url + path, deadline=Deadline.after(10.0), **options)


def failure_of(client: HttpClient, method: str, server: FaultServer, **options: Any) -> Failure:
    with pytest.raises(OutboundError) as failed:
        client.send(method, f"{server.url}/object", deadline=Deadline.after(10.0), **options)
    return failed.value.failure


# -- answers


@pytest.mark.parametrize("code", [200, 204, 206, 304, 307, 401, 403, 404, 429, 500, 503, 999])
def test_any_status_is_an_answer(code: int, fault_server: MakeServer, make_client: MakeClient) -> None:
    server = fault_server()
    server.behave("status", code=code)
    assert head(make_client(), server).status == code


def test_no_redirect_is_followed(fault_server: MakeServer, make_client: MakeClient) -> None:
    server = fault_server()
    server.behave("redirect_loop")
    assert get(make_client(), server).status == 307
    assert server.count() == 1


@pytest.mark.parametrize("location", ["http://[", "//", "\x80\xff", "http://x:99999/", ""])
def test_no_redirect_is_looked_at(location: str, fault_server: MakeServer, make_client: MakeClient) -> None:
    server = fault_server()
    server.behave("status", code=302, headers={"Location": location})
    assert head(make_client(), server).headers["Location"] == location


def test_a_head_says_the_length_and_reads_no_body(fault_server: MakeServer, make_client: MakeClient) -> None:
    server = fault_server()
    server.behave("ok", length=123_456)
    answer = head(make_client(), server)
    assert answer.headers["content-length"] == "123456"
    assert answer.body == b""


def test_a_missing_length_stays_missing(fault_server: MakeServer, make_client: MakeClient) -> None:
    server = fault_server()
    server.behave("omit_length")
    assert "Content-Length" not in head(make_client(), server).headers


def test_equal_headers_are_joined_and_folded_ones_unfolded(fault_server: MakeServer, make_client: MakeClient) -> None:
    server = fault_server()
    lines = b"A: 1\r\na: 2\r\nFolded: x\r\n  y\r\nContent-Length: 7\r\nContent-Length: 7\r\n"
    server.behave("raw", data=b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n", keep=True)
    headers = head(make_client(), server).headers
    assert headers["a"] == "1, 2"
    assert headers["folded"] == "x y"
    assert headers["content-length"] == "7"


def test_a_continue_in_between_is_passed_over(fault_server: MakeServer, make_client: MakeClient) -> None:
    server = fault_server()
    server.behave("continue_then_ok")
    assert get(make_client(), server).body == b"x" * 10


FRAMINGS = pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ok", {"body": b"x" * 100}),
        ("omit_length", {}),
        ("chunked", {"body": b"x" * 100, "chunk_bytes": 100}),
        ("chunked", {"body": b"x" * 100, "chunk_bytes": 1}),
    ],
    ids=["length", "end of stream", "one chunk", "tiny chunks"],
)


@BOTH
@FRAMINGS
def test_a_body_arrives_whole(
    tls: bool, name: str, arguments: dict[str, Any], fault_server: MakeServer, make_client: MakeClient
) -> None:
    server = fault_server(tls=tls)
    server.behave(name, **arguments)
    assert get(make_client(), server).body == b"x" * 100


@FRAMINGS
def test_a_body_may_be_as_large_as_allowed_and_no_larger(
    name: str, arguments: dict[str, Any], fault_server: MakeServer, make_client: MakeClient
) -> None:
    server, client = fault_server(), make_client()
    server.behave(name, **arguments)
    assert len(get(client, server, max_bytes=100).body) == 100
    assert failure_of(client, "GET", server, max_bytes=99) is Failure.TOO_LARGE


def test_a_large_body_is_read_whole(fault_server: MakeServer, make_client: MakeClient) -> None:
    server = fault_server()
    body = bytes(range(256)) * 4096
    server.behave("chunked", body=body, chunk_bytes=65_536)
    assert get(make_client(), server, max_bytes=2 << 20).body == body


# -- requests


def test_a_request_arrives_as_it_was_given(fault_server: MakeServer, make_client: MakeClient) -> None:
    server, client = fault_server(), make_client(user_agent="director/1")
    target = "/a%2fb/~c%7E;d,e/..//f?x=%20&y='\"<>|^`{}\\"
    client.send(
        "put", f"{server.url}{target}#fragment", deadline=Deadline.after(10.0), headers={"X-Mine": "é"}, body=b"bytes"
    )
    seen = server.requests[0]
    assert (seen.method, seen.path, seen.body) == ("PUT", target, b"bytes")
    assert seen.headers["x-mine"] == "é"
    assert seen.headers["user-agent"] == "director/1"
    assert seen.headers["accept-encoding"] == "identity"


def test_a_user_agent_of_a_call_replaces_the_usual_one(fault_server: MakeServer, make_client: MakeClient) -> None:
    server = fault_server()
    get(make_client(), server, headers={"user-AGENT": "mine"})
    assert server.requests[0].headers["user-agent"] == "mine"


def test_no_cookie_is_kept(fault_server: MakeServer, make_client: MakeClient) -> None:
    server, client = fault_server(), make_client()
    server.behave("ok", headers={"Set-Cookie": "a=b"})
    head(client, server)
    head(client, server)
    assert "cookie" not in server.requests[1].headers


def test_nothing_is_taken_from_the_environment(
    fault_server: MakeServer, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    server = fault_server()
    assert head(make_client(), server).status == 200
    assert "authorization" not in server.requests[0].headers


def test_an_early_refusal_of_a_body_is_an_answer(fault_server: MakeServer, make_client: MakeClient) -> None:
    server = fault_server()
    server.behave("status", code=413)
    answer = make_client().send("POST", f"{server.url}/", deadline=Deadline.after(10.0), body=b"x" * (4 << 20))
    assert answer.status == 413


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/path",
        "ftp://127.0.0.1/",
        "http://",
        "http:///path",
        "http://user:secret@127.0.0.1/",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:65536/",
        "http://127.0.0.1:port/",
        "http://[::1/",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/a\r\nX: secret",
        "http://127.0.0.1/\x00",
        "http://127.0.0.1/\x7f",
        "http://127.0.0.1/ü",
        "http://ü.example/",
        "http://a%41.example/",
        "http://127.0.0.1/ok\n",
    ],
)
def test_a_url_that_cannot_be_sent_as_it_stands_is_malformed(url: str, make_client: MakeClient) -> None:
    with pytest.raises(OutboundError) as failed:
        make_client().send("HEAD", url, deadline=Deadline.after(10.0))
    assert failed.value.failure is Failure.MALFORMED
    assert "secret" not in str(failed.value)


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"X": "secret\r\nY: z"}},
        {"headers": {"X": "secret\n"}},
        {"headers": {"X": "secret…"}},
        {"headers": {"X\r\nY": "secret"}},
        {"headers": {"": "secret"}},
        {"headers": {"X Y": "z"}},
        {"headers": {"Ü": "secret"}},
        {"method": "GET /secret HTTP/1.1\r\n"},
        {"method": ""},
        {"method": "GÉT"},
    ],
    ids=repr,
)
def test_what_is_no_header_or_method_is_malformed_and_opens_no_connection(
    options: dict[str, Any], fault_server: MakeServer, make_client: MakeClient
) -> None:
    server = fault_server()
    usual: dict[str, Any] = {"method": "GET", "url": server.url, "deadline": Deadline.after(10.0)}
    with pytest.raises(OutboundError) as failed:
        make_client().send(**(usual | options))
    assert failed.value.failure is Failure.MALFORMED
    assert "secret" not in str(failed.value)
    assert failed.value.__suppress_context__ or failed.value.__context__ is None, "a traceback would quote the header"
    assert server.connections == 0


# -- connections


@BOTH
def test_a_connection_is_used_again(tls: bool, fault_server: MakeServer, make_client: MakeClient) -> None:
    server, client = fault_server(tls=tls), make_client()
    for _ in range(20):
        head(client, server)
        get(client, server)
    assert server.count() == 40
    assert server.connections == 1


def test_a_connection_that_the_server_wants_closed_is_not_kept(
    fault_server: MakeServer, make_client: MakeClient
) -> None:
    server, client = fault_server(), make_client()
    server.behave("ok", headers={"Connection": "close"})
    get(client, server)
    assert client.idle_connections == 0
    assert server.wait_until(lambda: server.open_connections == 0)


def test_no_more_connections_are_kept_than_allowed(fault_server: MakeServer, make_client: MakeClient) -> None:
    server, client = fault_server(), make_client(connections=3)
    server.behave("slow", seconds=0.1)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: head(client, server), range(8)))
    assert [answer.status for answer in answers] == [200] * 8
    assert client.idle_connections == 3
    assert server.wait_until(lambda: server.open_connections == 3)


def test_one_client_serves_several_servers(fault_server: MakeServer, make_client: MakeClient) -> None:
    servers, client = [fault_server() for _ in range(4)], make_client(connections=4)
    for server in servers * 3:
        head(client, server)
    assert [server.connections for server in servers] == [1, 1, 1, 1]


def test_a_connection_idle_for_long_is_not_trusted(
    fault_server: MakeServer, make_client: MakeClient, clock: FakeClock
) -> None:
    server, client = fault_server(), make_client(clock=clock)
    head(client, server)
    clock.advance(29.0)
    head(client, server)
    clock.advance(31.0)
    head(client, server)
    assert server.connections == 2


@BOTH
def test_a_connection_closed_while_idle_is_replaced_unnoticed(
    tls: bool, fault_server: MakeServer, make_client: MakeClient
) -> None:
    server, client = fault_server(tls=tls), make_client()
    for _ in range(5):
        assert head(client, server).status == 200
        server.drop_connections()
        assert server.wait_until(lambda: server.open_connections == 0)
    assert (server.connections, server.count()) == (5, 5)


@BOTH
def test_a_connection_closed_at_its_next_use_is_replaced_once(
    tls: bool, fault_server: MakeServer, make_client: MakeClient
) -> None:
    server, client = fault_server(tls=tls), make_client()
    server.behave("close_when_reused")
    assert [head(client, server).status for _ in range(3)] == [200] * 3
    assert (server.connections, server.count()) == (3, 5)


def test_nothing_is_sent_three_times(fault_server: MakeServer, make_client: MakeClient) -> None:
    server, client = fault_server(), make_client()
    head(client, server)
    server.behave("close_without_answer")
    assert failure_of(client, "HEAD", server) is Failure.CUT_OFF
    assert server.count() == 3


def test_what_changes_something_is_not_sent_twice(fault_server: MakeServer, make_client: MakeClient) -> None:
    server, client = fault_server(), make_client()
    server.behave("close_when_reused")
    head(client, server)
    assert failure_of(client, "POST", server, body=b"once") is Failure.CUT_OFF
    assert server.count("POST") == 1


def test_nothing_is_sent_again_once_an_answer_has_begun(fault_server: MakeServer, make_client: MakeClient) -> None:
    server, client = fault_server(), make_client()
    head(client, server)
    server.behave("cut_off", after=b"H")
    assert failure_of(client, "HEAD", server) is Failure.CUT_OFF
    assert server.count() == 2


@BOTH
@pytest.mark.parametrize("times", [500, 1000], ids=["within a TLS record", "beyond a TLS record"])
def test_a_connection_with_something_left_in_it_is_not_used_again(
    tls: bool, times: int, fault_server: MakeServer, make_client: MakeClient
) -> None:
    server, client = fault_server(tls=tls), make_client()
    server.behave("body_for_head", path="/lie", times=times)
    assert head(client, server, "/lie").status == 200
    server.wait_until(lambda: server.in_hand == 0)
    assert head(client, server).status == 200
    assert server.connections == 2


def test_a_failed_exchange_does_not_give_its_connection_to_the_next(
    fault_server: MakeServer, make_client: MakeClient
) -> None:
    server, client = fault_server(), make_client()
    server.behave("slow", path="/slow", seconds=0.3, code=500)
    with pytest.raises(OutboundError):
        head(client, server, "/slow", seconds=0.1)
    assert head(client, server).status == 200
    assert server.connections == 2


# -- addresses


@pytest.mark.parametrize("host", ["a..b", "." * 200, "x" * 70 + ".example"])
def test_a_name_that_no_resolver_takes_is_not_resolved(host: str, make_client: MakeClient) -> None:
    resolver = NameResolver()  # the system's, which refuses these before it asks anybody
    with pytest.raises(OutboundError) as failed:
        make_client(names=resolver).send("HEAD", f"https://{host}/", deadline=Deadline.after(20.0))
    assert failed.value.failure is Failure.NAME
    resolver.close()


def look_up(**known: Found) -> Any:
    return lambda host: known[host.partition(".")[0]]


def ip4(*addresses: str) -> Found:
    return tuple((socket.AF_INET, address, 0) for address in addresses)


@pytest.fixture
def names() -> Any:
    resolver = NameResolver(look_up=look_up(two=ip4("127.0.0.9", "127.0.0.1"), one=ip4("127.0.0.1")))
    yield resolver
    resolver.close()


def test_a_refusing_address_leaves_the_next_a_chance(fault_server: MakeServer, make_client: MakeClient) -> None:
    server = fault_server()
    answer = make_client().send("HEAD", f"http://two.example:{server.port}/", deadline=Deadline.after(10.0))
    assert answer.status == 200
    assert server.requests[0].headers["host"] == f"two.example:{server.port}"


def test_a_dead_address_leaves_the_next_a_share_of_the_time(fault_server: MakeServer, make_client: MakeClient) -> None:
    server = fault_server()
    with black_hole("127.0.0.9", server.port):
        answer = make_client().send("HEAD", f"http://two.example.:{server.port}/", deadline=Deadline.after(1.0))
    assert answer.status == 200
    assert server.requests[0].headers["host"] == f"two.example:{server.port}"


def test_a_forbidden_address_is_not_connected_to(fault_server: MakeServer, make_client: MakeClient) -> None:
    server = fault_server()
    client = make_client(rules=Allowing(lambda ip: ip != "127.0.0.1"))
    for host in ("127.0.0.1", "one.example"):
        with pytest.raises(OutboundError) as failed:
            client.send("HEAD", f"http://{host}:{server.port}/", deadline=Deadline.after(10.0))
        assert failed.value.failure is Failure.FORBIDDEN_ADDRESS
    assert server.connections == 0


def test_of_several_addresses_the_allowed_are_tried(fault_server: MakeServer, make_client: MakeClient) -> None:
    server = fault_server()
    asked: list[str] = []

    def allow(ip: str) -> bool:
        asked.append(ip)
        return ip == "127.0.0.1"

    client = make_client(rules=Allowing(allow))
    assert client.send("HEAD", f"http://two.example:{server.port}/", deadline=Deadline.after(10.0)).status == 200
    assert asked == ["127.0.0.9", "127.0.0.1"]


def test_a_name_server_that_is_away_holds_nobody_beyond_the_deadline(
    fault_server: MakeServer, make_client: MakeClient
) -> None:
    back = threading.Event()

    def hanging(host: str) -> Found:
        if host.startswith("dead"):
            back.wait()
        return ip4("127.0.0.1")

    server, resolver = fault_server(), NameResolver(look_up=hanging)
    client = make_client(names=resolver)
    try:
        deadline = Deadline.after(0.1)
        with pytest.raises(OutboundError) as failed:
            client.send("HEAD", f"http://dead.example:{server.port}/", deadline=deadline)
        assert failed.value.failure is Failure.NAME
        assert deadline.has_passed()
        alive = client.send("HEAD", f"http://alive.example:{server.port}/", deadline=Deadline.after(10.0))
        assert alive.status == 200
    finally:
        back.set()
    again = client.send("HEAD", f"http://dead.example:{server.port}/", deadline=Deadline.after(10.0))
    assert again.status == 200
    resolver.close()
