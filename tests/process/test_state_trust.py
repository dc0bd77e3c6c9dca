"""What the registry has said outlives workers and directors, and is said to all workers at once."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from director_wsgi.demo.exchange import Request, Response
from director_wsgi.demo.registry import API
from director_wsgi.federation.state import BACKUP_NAME
from director_wsgi.federation.store.files import bus_path
from director_wsgi.federation.store.sqlite import SqliteStore
from tests.process import census
from tests.process.child import forget_bus, hup, kill_worker, wait_until
from tests.process.fleet import Fleet, Line, Lines, Server

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

SERVERS = 5
OFTEN = {"PELICAN_DIRECTOR_REGISTRYQUERYINTERVAL": "1s"}


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as opened:
        yield opened


@pytest.fixture
def fleet(tmp_path: Path, stack: contextlib.ExitStack) -> Fleet:
    return Fleet(tmp_path, stack, 1)


def told_in(file: Path, kind: str) -> set[str]:
    """The keys of a store's records of one kind; prefixes, if they are what the registry said."""
    with contextlib.closing(SqliteStore(file)) as store:
        return {record.key for record in store.changes(0).records if record.kind.split()[0] == kind}


def wait_until_told(file: Path, servers: list[Server]) -> None:
    registered = {server.advertised.registry_prefix for server in servers}
    both = registered | {server.prefix for server in servers}
    wait_until(
        lambda: (
            told_in(file, "approval") >= both
            and told_in(file, "keys") >= both
            and told_in(file, "name") >= registered
            and bool(told_in(file, "prefixes"))
        ),
        "all answers are stored",
    )


def reload(fleet: Fleet) -> None:
    hup(fleet.child)


def kill_and_replace(fleet: Fleet) -> None:
    kill_worker(fleet.child, fleet.child.workers()[0])


def start_again(fleet: Fleet) -> None:
    census.end(fleet.child)
    fleet.start().wait_until_ready()


def start_after_reboot(fleet: Fleet) -> None:
    census.end(fleet.child)
    forget_bus(fleet.child.state)
    fleet.start().wait_until_ready()


EVENTS = (reload, kill_and_replace, start_again, start_after_reboot)


@pytest.mark.parametrize("happens", EVENTS)
def test_known_servers_renew_at_once_without_a_question_and_so_while_the_registry_is_away(
    fleet: Fleet, happens: Callable[[Fleet], None]
) -> None:
    servers = fleet.servers(SERVERS)
    stranger = fleet.server()
    wait_until_told(bus_path(fleet.child.state), servers)
    wait_until(lambda: bool(told_in(bus_path(fleet.child.state), "downtimes")), "the downtimes are stored")
    fleet.registry_requests.clear()
    happens(fleet)
    with contextlib.closing(Line(fleet.child.port)) as line:
        assert [server.advertise(line).status for server in servers] == [200] * SERVERS
    assert fleet.registry_requests.total() == 0

    fleet.registry_server.close()
    happens(fleet)
    with contextlib.closing(Line(fleet.child.port)) as line:
        assert [server.advertise(line).status for server in servers] == [200] * SERVERS, "at the first try"
        assert all(server.is_named_by(line.get(server.target)) for server in servers)
        assert stranger.advertise(line).status == 503


def test_a_registry_that_hangs_keeps_no_known_server_waiting(
    fleet: Fleet, stack: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = fleet.servers(SERVERS)
    wait_until_told(fleet.child.state / BACKUP_NAME, servers)
    answer = threading.Event()
    stack.callback(answer.set)
    real = fleet.registry.answer

    def hang(request: Request) -> Response:
        answer.wait(60)
        return real(request)

    monkeypatch.setattr(fleet.registry, "answer", hang)
    fleet.child.kill()
    forget_bus(fleet.child.state)
    fleet.start().wait_until_ready()
    with contextlib.closing(Line(fleet.child.port)) as line:
        assert [server.advertise(line).status for server in servers] == [200] * SERVERS
    assert not answer.is_set()


def test_what_one_worker_was_told_no_other_asks_for(tmp_path: Path, stack: contextlib.ExitStack) -> None:
    fleet = Fleet(tmp_path, stack, 2)
    servers = fleet.servers(SERVERS)
    wait_until_told(bus_path(fleet.child.state), servers)

    def know_all(line: Line) -> bool:
        return all(server.advertise(line).status == 200 for server in servers)

    with fleet.lines() as lines:
        wait_until(
            lambda: all(server.is_named_by(line.get(server.target)) for line in lines for server in servers),
            "all know all",
        )
        asked = fleet.registry_requests.total("POST")
        assert all(know_all(line) for line in lines)
        assert fleet.registry_requests.total("POST") == asked == 2 * SERVERS, "an approval was asked for twice"
        fleet.registry_server.close()
        assert all(know_all(line) for line in lines)


def test_tables_are_fetched_by_one_worker_for_all(tmp_path: Path, stack: contextlib.ExitStack) -> None:
    fleet = Fleet(tmp_path, stack, 2)  # the default: once in a minute
    (server,) = fleet.servers(1)
    with fleet.lines() as lines:
        for line in lines:
            wait_until(lambda: server.advertise(line).status == 200, "its table is loaded")  # noqa: B023, called at once
    fleet.hup()
    for path in (f"{API}/caches/allowedPrefixes", "/api/v1.0/downtime"):
        assert fleet.registry_requests.of("GET", path) == 1, path


@pytest.mark.slow
def test_another_worker_fetches_them_when_the_one_that_did_has_died(
    tmp_path: Path, stack: contextlib.ExitStack
) -> None:
    fleet = Fleet(tmp_path, stack, 2, environ=OFTEN)
    (server,) = fleet.servers(1)
    registered = server.advertised.registry_prefix
    wait_until(lambda: server.url in told_in(bus_path(fleet.child.state), "ad"), "it outlives who took it")

    def all_say(lines: Lines, is_named: bool) -> bool:
        said = [server.is_named_by(line.get(server.target)) for line in lines]  # none of them idle for long
        return said == [is_named] * len(said)

    for pid in fleet.child.workers():
        kill_worker(fleet.child, pid)
        fleet.registry.take_down(registered)
        with fleet.lines() as lines:
            wait_until(lambda: all_say(lines, False), "the downtime acts")
            fleet.registry.bring_back(registered)
            wait_until(lambda: all_say(lines, True), "its end acts")
            assert server.advertise(next(iter(lines))).status == 200


def test_a_downtime_is_heeded_from_the_first_request_on(tmp_path: Path, stack: contextlib.ExitStack) -> None:
    fleet = Fleet(tmp_path, stack, 1, environ=OFTEN)
    down, other = fleet.servers(2)
    fleet.registry.take_down(down.advertised.registry_prefix)
    with contextlib.closing(Line(fleet.child.port)) as line:
        wait_until(lambda: not down.is_named_by(line.get(down.target)), "the downtime acts")
    fleet.registry_server.close()
    start_again(fleet)
    with contextlib.closing(Line(fleet.child.port)) as line:
        assert not down.is_named_by(line.get(down.target))
        assert other.is_named_by(line.get(other.target))
