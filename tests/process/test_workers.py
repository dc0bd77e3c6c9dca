"""Several workers are one director: what one has learned all use, and none is missed when it ends, however it ends."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.process.census import FOLDER_VARIABLE, census, end, thread_names
from tests.process.child import SETTINGS, STAND_IN, exchange, get, hup, run, wait_until
from tests.process.conftest import ENVIRON
from tests.process.fleet import VISIBLE_S, Answer, Fleet, Line, Server, load, wrong

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

COUNTED = "tests.process.counted:application"
NUMBERS = (1, 2, pytest.param(4, marks=pytest.mark.slow))
TURNS = 3
PATIENT = {"PELICAN_DIRECTOR_GRACEFULTIMEOUT": "60s"}
"""Longer than `end` waits: whoever lets this pass at the end fails."""

CORES = len(os.sched_getaffinity(0))


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as opened:
        yield opened


@pytest.fixture(scope="module", params=NUMBERS, ids=lambda number: f"{number} workers")
def shared_fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with contextlib.ExitStack() as stack:
        fleet = Fleet(tmp_path_factory.mktemp("fleet"), stack, request.param, environ=PATIENT)
        yield fleet
        end(fleet.serving().child)


@pytest.fixture
def fleet(shared_fleet: Fleet) -> Iterator[Fleet]:
    """A director of 1, 2 and 4 workers, one for all tests: each has servers of its own in it, and may leave it ended."""
    yield shared_fleet.serving()
    shared_fleet.child.look_over()


# What one knows, all know.


def test_what_one_worker_has_taken_all_use(fleet: Fleet) -> None:
    fleet.servers(1)  # the registry's prefixes have been read
    late: list[str] = []
    with fleet.lines() as lines:
        for turn, (pid, line) in enumerate(TURNS * list(lines.by_worker.items())):
            server = fleet.server()
            answer = server.advertise(line)
            answered_at = time.monotonic()
            assert answer.status == 200, answer
            assert server.is_named_by(line.get(server.target)), "whoever took it knows it at once"
            time.sleep(max(0.0, answered_at + VISIBLE_S - time.monotonic()))
            late += [
                f"turn {turn}: {other} did not know what {pid} had taken"
                for other, asked in lines.by_worker.items()
                if not server.is_named_by(asked.get(server.target))
            ]
            wait_until(lambda: all(server.is_named_by(asked.get(server.target)) for asked in lines), "all know")  # noqa: B023, called at once
    # The machine may halt one process for longer than that; what is late by design is late every time.
    assert len(late) <= TURNS * len(fleet.child.workers()) / 2, late


def test_what_one_worker_is_told_of_a_shutdown_all_heed(fleet: Fleet) -> None:
    (server,) = fleet.servers(1)
    with fleet.lines() as lines:
        wait_until(lambda: all(server.is_named_by(line.get(server.target)) for line in lines), "all know it")
        first = next(iter(lines))
        assert server.advertise(first, status="shutting down").status == 200
        wait_until(lambda: not any(server.is_named_by(line.get(server.target)) for line in lines), "none names it")


def test_all_workers_list_the_same_servers(fleet: Fleet) -> None:
    servers = fleet.servers(5)
    wait_until(lambda: fleet.all_know(servers), "all know")
    with fleet.lines() as lines:
        listings = [json.loads(line.get("/api/v1.0/director_ui/servers").body) for line in lines]
    names = [sorted(row["name"] for row in listing) for listing in listings]
    assert names == [names[0]] * len(names)
    assert set(names[0]) >= {server.advertised.name for server in servers}


# A worker ends.


def dies(pid: int) -> float:
    """Kill a process; the instant from which on it is dead."""
    os.kill(pid, signal.SIGKILL)

    def is_dead() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    wait_until(is_dead, f"the death of {pid}")
    return time.monotonic()


def test_a_worker_that_is_killed_is_not_missed_and_its_successor_knows_all(fleet: Fleet) -> None:
    servers = fleet.servers(5)
    wait_until(lambda: fleet.all_know(servers), "all know")
    before = fleet.child.workers()
    last = fleet.server()
    with fleet.lines() as lines, load(fleet.child.port, servers, rate_per_s=60, seconds=2) as asking:
        wait_until(lambda: time.monotonic() > asking.starts_at + 0.5, "the load")
        assert last.advertise(lines.by_worker[before[0]]).status == 200
        killed_at = time.monotonic()
        died_at = dies(before[0])
        outcomes = asking.outcomes()
    later = asking.first_after(died_at)
    assert 0 < later < len(outcomes)
    # Whoever had come to the one that was killed is cut off; whoever comes later never is.
    failed = wrong(outcomes, servers)
    assert {number: what for number, what in failed.items() if number >= later} == {}
    # And whoever had been answered had been answered.
    assert failed.keys() <= {n for n in range(later) if asking.sent_at(n) + outcomes[n].latency_s >= killed_at}, failed
    fleet.wait_for_workers(len(before), others_than=before[:1])
    assert fleet.all_know([*servers, last]), "what was acknowledged is known"


def test_when_all_workers_are_killed_the_next_ones_know_all_at_once(fleet: Fleet) -> None:
    servers = fleet.servers(5)
    wait_until(lambda: fleet.all_know(servers), "all know")
    old = fleet.child.workers()
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    # The first answer that a new worker gives, whichever it is.
    answers = [first_answer(fleet, server) for server in servers]
    assert all(server.is_named_by(answer) for server, answer in zip(servers, answers, strict=True)), answers
    fleet.wait_for_workers(len(old), others_than=old)
    assert fleet.all_know(servers)


def first_answer(fleet: Fleet, server: Server) -> Answer:
    """Of whoever answers on a new connection; those that die before they do are forgiven."""
    while True:
        try:
            raw = exchange(fleet.child.port, get(server.target))
        except OSError:
            continue
        if raw:
            head = raw.partition(b"\r\n\r\n")[0].decode("latin-1")
            fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
            return Answer(int(head.split()[1]), fields.get("Location", ""), b"")


def test_when_everything_is_killed_the_next_director_knows_all_at_once(fleet: Fleet) -> None:
    servers = fleet.servers(5)
    wait_until(lambda: fleet.all_know(servers), "all know")
    number = len(fleet.child.workers())
    fleet.child.kill()
    fleet.start().wait_until_ready()
    answers = [first_answer(fleet, server) for server in servers]
    assert all(server.is_named_by(answer) for server, answer in zip(servers, answers, strict=True)), answers
    fleet.wait_for_workers(number)
    assert fleet.all_know(servers)


# The operator.


@pytest.mark.slow
def test_twenty_reloads_under_load_lose_no_request_and_leave_nothing(
    tmp_path: Path, stack: contextlib.ExitStack
) -> None:
    fleet = Fleet(tmp_path, stack, 2, application=COUNTED, environ={FOLDER_VARIABLE: str(tmp_path)})
    servers = fleet.servers(5)
    fleet.hup()
    wait_until(lambda: fleet.all_know(servers), "all know")
    master = fleet.child.pid
    before = census(master), [thread_names(pid, tmp_path) for pid in fleet.child.workers()]
    outcomes, reloads = [], 0
    while reloads < 20:
        with load(fleet.child.port, servers, rate_per_s=40, seconds=12) as asking:
            while not asking.has_ended() and reloads < 20:
                fleet.hup()
                reloads += 1
            outcomes += asking.outcomes()
        assert len(outcomes) % len(servers) == 0
    assert wrong(outcomes, servers) == {}
    assert len(outcomes) >= 480
    assert fleet.all_know(servers)
    assert census(master).beyond(before[0]) == {}
    names = [thread_names(pid, tmp_path) for pid in fleet.child.workers()]
    for now in names:
        assert set(now) <= set().union(*before[1]) | {"handler"}, names
    end(fleet.child)


@pytest.mark.slow
def test_workers_come_and_go_by_signal_and_no_request_is_lost(tmp_path: Path, stack: contextlib.ExitStack) -> None:
    fleet = Fleet(tmp_path, stack, 1)
    servers = fleet.servers(5)
    with load(fleet.child.port, servers, rate_per_s=40, seconds=8) as asking:
        for number in (2, 3):
            fleet.child.signal(signal.SIGTTIN)
            fleet.wait_for_workers(number)
            assert fleet.all_know(servers)
        for number in (2, 1):
            fleet.child.signal(signal.SIGTTOU)
            fleet.wait_for_workers(number)
        outcomes = asking.outcomes()
    assert wrong(outcomes, servers) == {}
    assert fleet.all_know(servers)
    fleet.child.signal(signal.SIGTTOU)
    fleet.child.wait_for_output("Handling signal: ttou", 3)
    assert fleet.all_know(servers), "the last one stays"
    end(fleet.child)


@pytest.mark.slow
def test_workers_that_end_after_so_many_requests_are_not_missed(tmp_path: Path, stack: contextlib.ExitStack) -> None:
    fleet = Fleet(tmp_path, stack, 2, "--max-requests", "60", "--max-requests-jitter", "30")
    servers = fleet.servers(5)
    with load(fleet.child.port, servers, rate_per_s=60, seconds=8) as asking:
        outcomes = asking.outcomes()
    assert wrong(outcomes, servers) == {}
    assert len(fleet.ready()) >= 5, fleet.child.output
    fleet.wait_for_workers(2)
    wait_until(lambda: fleet.all_know(servers), "all know")
    end(fleet.child)


@pytest.mark.slow
def test_two_masters_on_one_state_are_one_director(tmp_path: Path, stack: contextlib.ExitStack) -> None:
    fleet = Fleet(tmp_path, stack, 2)
    servers = fleet.servers(3)
    old = fleet.child.workers()
    with load(fleet.child.port, servers, rate_per_s=40, seconds=10) as asking:
        fleet.child.signal(signal.SIGUSR2)
        wait_until(lambda: len(fleet.ready()) == 4, "a second master's workers")
        new = sorted(fleet.ready() - set(old))
        with fleet.lines([*old, *new]) as lines:
            assert all(server.is_named_by(line.get(server.target)) for line in lines for server in servers)
            for pid in (old[0], new[0]):
                server = fleet.server()
                assert server.advertise(lines.by_worker[pid]).status == 200
                wait_until(lambda: all(server.is_named_by(line.get(server.target)) for line in lines), "all know")  # noqa: B023, called at once
        fleet.child.signal(signal.SIGTERM)
        assert fleet.child.wait_for_end() == 0
        outcomes = asking.outcomes()
    assert wrong(outcomes, servers) == {}
    with fleet.lines(new) as lines:
        assert all(server.is_named_by(line.get(server.target)) for line in lines for server in servers)


def test_term_right_after_hup_does_not_wait_for_the_end_of_a_time(fleet: Fleet) -> None:
    fleet.child.signal(signal.SIGHUP)
    fleet.child.wait_for_output("Handling signal: hup")
    end(fleet.child)


def test_term_right_after_hup_waits_once_for_a_request_that_hangs(tmp_path: Path) -> None:
    environ = ENVIRON | {"PELICAN_DIRECTOR_GRACEFULTIMEOUT": "2s"}
    arguments = ("-c", str(SETTINGS), "-b", "127.0.0.1:0", "-w", "2", STAND_IN)
    with (
        run(tmp_path, *arguments, environ=environ) as child,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        child.wait_for_output("Worker ready", 2)
        pool.submit(exchange, child.port, get("/wait?s=60"), timeout_s=70)
        child.wait_for_output("request waits")
        child.signal(signal.SIGHUP)
        child.wait_for_output("Worker ready", 3)
        child.signal(signal.SIGTERM)
        # The old worker has 2 s, a second more to notice and three to give back what it holds; the new ones none of it.
        assert child.wait_for_end(within_s=8) == 0
        assert "SIGKILL" not in child.output
        wait_until(lambda: child.members() == [], "the end of every process")


# Cores.


def cores(pid: int) -> tuple[int, ...]:
    return tuple(sorted(os.sched_getaffinity(pid)))


@pytest.mark.skipif(CORES < 2, reason="needs two cores")
def test_each_worker_has_a_core_of_its_own_whoever_comes_and_goes(tmp_path: Path) -> None:
    arguments = ("-c", str(SETTINGS), "-b", "127.0.0.1:0", "-w", "2", STAND_IN)
    with run(tmp_path, *arguments, environ=ENVIRON) as child:
        child.wait_for_output("Worker ready", 2)
        changes: Sequence[Callable[[], None]] = (
            lambda: None,
            lambda: child.signal(signal.SIGHUP),
            lambda: os.kill(child.workers()[0], signal.SIGKILL),
            lambda: os.kill(child.workers()[1], signal.SIGTERM),
        )
        for served, change in zip((2, 4, 5, 6), changes, strict=True):
            change()
            child.wait_for_output("Worker ready", served)
            wait_until(lambda: len(child.workers()) == 2, "two workers")
            assert len({cores(pid) for pid in child.workers()}) == 2
            assert all(len(cores(pid)) == 1 for pid in child.workers())


def test_workers_that_are_more_than_the_cores_wander(tmp_path: Path) -> None:
    number = CORES + 1
    arguments = ("-c", str(SETTINGS), "-b", "127.0.0.1:0", "-w", str(number), STAND_IN)
    with run(tmp_path, *arguments, environ=ENVIRON) as child:
        child.wait_for_output("Worker ready", number)
        assert {cores(pid) for pid in child.workers()} == {tuple(sorted(os.sched_getaffinity(0)))}
        assert child.output.count(f"{number} workers on {CORES} cores") == 1


# The start.


def test_workers_that_start_together_share_one_first_key_and_say_so_once(
    tmp_path: Path, stack: contextlib.ExitStack
) -> None:
    fleet = Fleet(tmp_path, stack, 4)
    with fleet.lines() as lines:
        published = {line.get("/.well-known/issuer.jwks").body for line in lines}
    assert len(published) == 1
    assert len(json.loads(published.pop())["keys"]) == 1
    assert fleet.child.output.count("Made a first issuer key") == 1
    end(fleet.child)


def test_what_is_wrong_at_a_first_start_is_said_once_however_many_workers_there_are(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir(mode=0o700)
    (tmp_path / "keys" / "broken.pem").write_text("no key")
    environ = ENVIRON | {"PELICAN_ISSUERKEYSDIRECTORY": str(tmp_path / "keys")}
    with run(tmp_path, "-c", str(SETTINGS), "-b", "127.0.0.1:0", "-w", "4", environ=environ) as child:
        assert child.wait_for_end() == 4
        said = [line for line in child.output.splitlines() if line.startswith("director_wsgi: ")]
        assert len(said) == 1, child.output
        assert "Traceback" not in child.output


def test_a_reload_that_takes_the_state_away_leaves_one_worker(tmp_path: Path) -> None:
    configuration = tmp_path / "pelican.yaml"
    configuration.write_text("Director: {StateLocation: state}\n")
    with run(tmp_path, "-c", str(SETTINGS), "-b", "127.0.0.1:0", "-w", "2", STAND_IN, environ=ENVIRON) as child:
        child.wait_for_output("Worker ready", 2)
        configuration.write_text('Director: {StateLocation: ":memory:"}\n')
        old = child.workers()
        child.signal(signal.SIGHUP)
        child.wait_for_output("Worker ready", 3)
        wait_until(lambda: len(child.workers()) == 1 and not set(old) & set(child.workers()), "one worker")
        assert child.output.count("A second worker is refused") == 1
        end(child)


def test_web_concurrency_is_heeded(tmp_path: Path, stack: contextlib.ExitStack) -> None:
    fleet = Fleet(tmp_path, stack, None, environ={"WEB_CONCURRENCY": "2"})
    fleet.wait_for_workers(2)
    end(fleet.child)


def test_a_connection_stays_with_its_worker(tmp_path: Path, stack: contextlib.ExitStack) -> None:
    """What `Lines` relies on."""
    fleet = Fleet(tmp_path, stack, 2)
    with fleet.lines() as lines:
        first, second = lines.by_worker
        os.kill(first, signal.SIGKILL)
        fleet.wait_for_workers(2, others_than=[first])
        with pytest.raises((OSError, http.client.HTTPException)):
            lines.by_worker[first].get("/api/v1.0/health")
        assert lines.by_worker[second].get("/api/v1.0/health").status in (200, 401, 403)
    with contextlib.closing(Line(fleet.child.port)):
        end(fleet.child)


# What they tell.


def redirects(metrics: bytes) -> float:
    rows = re.findall(rb"^pelican_director_redirects_total\{[^}]*\} (\S+)$", metrics, re.MULTILINE)
    return sum(map(float, rows))


def test_whichever_worker_is_asked_for_metrics_tells_of_all_and_of_those_that_have_ended(fleet: Fleet) -> None:
    (server,) = fleet.servers(1)
    wait_until(lambda: fleet.all_know([server]), "all know it")
    asked = 0
    with fleet.lines() as lines:
        before = redirects(next(iter(lines)).get("/metrics").body)
        for line in lines:
            for _ in range(5):
                assert server.is_named_by(line.get(server.target))
                asked += 1
        told = {redirects(line.get("/metrics").body) - before for line in lines}
        last = next(iter(lines)).get("/metrics").body
    assert told == {asked}
    assert f"\ndirector_wsgi_workers_told {len(fleet.child.workers())}.0\n".encode() in last
    hup(fleet.child)
    with fleet.lines() as lines:
        assert {redirects(line.get("/metrics").body) - before for line in lines} == {asked}
