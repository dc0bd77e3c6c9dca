"""What is written to the configuration holds in all workers, without a signal, a lost request or anything left behind."""

import contextlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from director_wsgi.demo.certificates import Authority
from director_wsgi.federation.store.sqlite import SqliteStore
from director_wsgi.limits.deadline import monotonic, wall
from director_wsgi.reload_records import PASSING
from tests.process.census import FOLDER_VARIABLE, census, end, thread_names
from tests.process.child import SETTINGS, get, hup, run, wait_until
from tests.process.conftest import ENVIRON
from tests.process.fleet import Fleet, Server, load, wrong
from tests.servers.collector import Collector, Mode
from tests.servers.faults import FaultServer

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

HASTY = "tests.process.hasty:application"
COMMAND = Path(sys.executable).with_name("director-wsgi")
METADATA = get("/.well-known/pelican-configuration")
METRICS = get("/metrics")
IN_FORCE = "A new configuration is in force"
WRONG = "The configuration is wrong"
RIGHT_AGAIN = "The configuration is right again"
TURNS = 50
LOAD_S = 8
COLLECTORS = (Mode.OK, Mode.SILENT, Mode.DRIP, Mode.UNAVAILABLE, Mode.REFUSE)


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "{}")
    return tmp_path


@pytest.fixture
def fleet(folder: Path, stack: contextlib.ExitStack) -> Fleet:
    return Fleet(folder, stack, 2, application=HASTY, environ={FOLDER_VARIABLE: str(folder)})


def write(folder: Path, text: str) -> None:
    """Replace the file as a whole, as an editor does."""
    (folder / "new").write_text(text)
    (folder / "new").rename(folder / "pelican.yaml")


def hashes(fleet: Fleet) -> dict[str, int]:
    """How many workers run which configuration."""
    rows = re.findall(
        r'^director_wsgi_configuration_workers\{hash="(\w+)"\} (\d+)',
        fleet.child.ask(METRICS).body.decode(),
        re.MULTILINE,
    )
    return {digest: int(workers) for digest, workers in rows if int(workers)}


def ask(fleet: Fleet, *flags: str) -> subprocess.CompletedProcess[str]:
    """What `director-wsgi reload` says, to an operator with the director's environment."""
    return subprocess.run(
        [COMMAND, "reload", *flags],
        cwd=fleet.folder,
        env=fleet.child.environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_what_is_written_to_the_file_holds_in_all_workers(fleet: Fleet) -> None:
    workers = fleet.child.workers()
    (before,) = hashes(fleet)
    with fleet.lines() as lines:
        assert {line.get("/.well-known/pelican-configuration").status for line in lines} == {200}
        write(fleet.folder, "Director: {EnableFederationMetadataHosting: false}")
        fleet.child.wait_for_output(IN_FORCE, 2)
        assert {line.get("/.well-known/pelican-configuration").status for line in lines} == {410}
        assert json.loads(next(iter(lines)).get("/api/v1.0/director/directors").body)
    wait_until(lambda: list(hashes(fleet).values()) == [2], "both run the same")
    assert before not in hashes(fleet)
    assert fleet.child.workers() == workers
    end(fleet.child)


def test_an_operator_hears_what_would_change_what_has_changed_and_what_is_wrong(fleet: Fleet) -> None:
    write(fleet.folder, "Director: {StatTimeout: 3s, StartupWindow: 1s}")
    fleet.child.wait_for_output(IN_FORCE, 2)
    write(fleet.folder, "Director: {StatTimeout: 4s, StartupWindow: 1s}")
    done = ask(fleet)
    assert done.returncode == 0, done.stderr
    table = done.stdout.splitlines()
    assert {row.split()[0] for row in table[1:3]} == {str(pid) for pid in fleet.child.workers()}
    assert len({row.split()[1] for row in table[1:3]}) == 1
    assert "Director.StartupWindow" in table[3]
    (fleet.folder / "next.yaml").write_text("Director: {StatTimeout: 5s, StartupWindow: 1s, Threads: 20}")
    would = ask(fleet, "--check", "next.yaml")
    assert would.stdout.splitlines() == [
        "A reload would change:",
        "  Director.StatTimeout = 5s, was 4s (next.yaml:1)",
        "Only the next start, or SIGHUP, would change:",
        "  Director.Threads = 20, was 32 (next.yaml:1)",
        "Changed before, and waiting for the next start already: Director.StartupWindow",
    ]
    write(fleet.folder, "Director: {StatTimeout: nonsense}")
    for flags in ((), ("--check",)):
        refused = ask(fleet, *flags)
        assert refused.returncode == 1
        assert "pelican.yaml:1" in refused.stderr
    verdict = get("/readyz?verbose")  # of whichever worker; the other hears of it from the one that was told
    wait_until(lambda: b'"configuration":{"status":"warning"' in fleet.child.ask(verdict).body, "a warning")
    assert fleet.child.ask(METADATA).status == 200
    end(fleet.child)


def test_who_takes_a_dead_workers_place_runs_what_the_others_run(fleet: Fleet) -> None:
    write(fleet.folder, "Director: {EnableFederationMetadataHosting: false}")
    fleet.child.wait_for_output(IN_FORCE, 2)
    write(fleet.folder, "Director: {EnableFederationMetadataHosting: nonsense}")
    fleet.child.wait_for_output(WRONG)
    old = fleet.child.workers()
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    fleet.wait_for_workers(2, others_than=old)
    with fleet.lines() as lines:
        assert {line.get("/.well-known/pelican-configuration").status for line in lines} == {410}
    assert len(hashes(fleet)) == 1


@pytest.mark.parametrize("state", ["state", ":memory:"])
def test_a_worker_is_replaced_although_a_file_that_the_start_named_is_gone(
    folder: Path, stack: contextlib.ExitStack, state: str
) -> None:
    authorities = folder / "authorities.pem"
    authorities.write_bytes(Authority(folder).ca_file.read_bytes())
    write(folder, f"Tracing: {{Enabled: true, Endpoint: 'https://127.0.0.1:9', CACertificateFile: {authorities}}}")
    workers = 1 if state == ":memory:" else 2
    environ = {FOLDER_VARIABLE: str(folder), "PELICAN_DIRECTOR_STATELOCATION": state}
    fleet = Fleet(folder, stack, workers, application=HASTY, environ=environ)
    write(folder, "Director: {EnableFederationMetadataHosting: false}")
    fleet.child.wait_for_output(IN_FORCE, workers)
    authorities.unlink()
    old = fleet.child.workers()
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    fleet.wait_for_workers(workers, others_than=old)
    with fleet.lines() as lines:
        assert {line.get("/.well-known/pelican-configuration").status for line in lines} == {410}
    end(fleet.child)


def test_what_takes_a_restart_waits_for_one(fleet: Fleet) -> None:
    write(fleet.folder, "Director: {Threads: 20}")
    fleet.child.wait_for_output("Changed, and in force only after the next start or SIGHUP: Director.Threads")
    assert "director_wsgi_configuration_pending 1.0" in fleet.child.ask(METRICS).body.decode()
    fleet.hup()
    assert "20 threads" in fleet.child.output
    wait_until(
        lambda: "director_wsgi_configuration_pending 0.0" in fleet.child.ask(METRICS).body.decode(), "nothing waits"
    )
    end(fleet.child)


def test_a_director_that_keeps_no_state_reloads_as_well(folder: Path) -> None:
    environ = ENVIRON | {"PELICAN_DIRECTOR_STATELOCATION": ":memory:", FOLDER_VARIABLE: str(folder)}
    with run(folder, "-c", str(SETTINGS), "-b", "127.0.0.1:0", HASTY, environ=environ) as child:
        assert child.wait_until_ready().ask(METADATA).status == 200
        write(folder, "Director: {EnableFederationMetadataHosting: false}")
        wait_until(lambda: child.ask(METADATA).status == 410, "the new configuration")
        end(child)


def test_what_is_left_of_a_storm_of_writing_is_in_force_and_no_request_is_lost(fleet: Fleet) -> None:
    servers = fleet.servers(2)
    wait_until(lambda: fleet.all_know(servers), "all know them")
    with load(fleet.child.port, servers, rate_per_s=100, seconds=2) as asking:
        for turn in range(120):  # some as a careful writer does, some in pieces, some broken
            if turn % 3:
                write(fleet.folder, f"Director: {{StatTimeout: {turn}s}}")
            else:
                (fleet.folder / "pelican.yaml").write_text("Director: {StatTimeout: ")
            time.sleep(0.01)
        write(fleet.folder, "Director: {EnableFederationMetadataHosting: false}")
        outcomes = asking.outcomes()
    assert wrong(outcomes, servers) == {}
    wait_until(lambda: fleet.child.ask(METADATA).status == 410, "the last that was written")
    wait_until(lambda: list(hashes(fleet).values()) == [2], "both run the same")
    end(fleet.child)


def test_what_a_server_says_holds_in_all_workers_and_its_trouble_changes_nothing(
    folder: Path, stack: contextlib.ExitStack
) -> None:
    host = stack.enter_context(FaultServer())
    host.behave("document", body=b"{}")
    write(folder, f"Director: {{ConfigUrl: '{host.url}/director.yaml', ConfigPollInterval: 100ms}}")
    fleet = Fleet(folder, stack, 2, application=HASTY, environ={FOLDER_VARIABLE: str(folder)})
    host.behave("document", body=b"Director: {EnableFederationMetadataHosting: false}")
    fleet.child.wait_for_output(IN_FORCE, 2)
    with fleet.lines() as lines:
        assert {line.get("/.well-known/pelican-configuration").status for line in lines} == {410}
        host.behave("document", body=b"<html>")
        fleet.child.wait_for_output("is wrong; the one before stays in force")
        host.behave("status", code=503)
        fleet.child.wait_for_output("it answered 503")
        assert {line.get("/.well-known/pelican-configuration").status for line in lines} == {410}
    host.behave("document", body=b"Director: {EnableFederationMetadataHosting: true}")
    fleet.child.wait_for_output(IN_FORCE, 4)
    assert fleet.child.ask(METADATA).status == 200
    assert "Traceback" not in fleet.child.output
    end(fleet.child)


def test_a_directory_that_kubernetes_turns_is_followed(folder: Path, stack: contextlib.ExitStack) -> None:
    def turn(number: int, text: str) -> None:
        (folder / f"..{number}").mkdir()
        (folder / f"..{number}" / "pelican.yaml").write_text(text)
        (folder / "..tmp").symlink_to(f"..{number}")
        (folder / "..tmp").rename(folder / "..data")

    turn(1, "{}")
    (folder / "pelican.yaml").unlink()
    (folder / "pelican.yaml").symlink_to("..data/pelican.yaml")
    fleet = Fleet(folder, stack, 2, application=HASTY, environ={FOLDER_VARIABLE: str(folder)})
    turn(2, "Director: {EnableFederationMetadataHosting: false}")
    shutil.rmtree(folder / "..1")
    fleet.child.wait_for_output(IN_FORCE, 2)
    (folder / "..data").unlink()
    fleet.child.wait_for_output("No such file")
    with fleet.lines() as lines:
        assert {line.get("/.well-known/pelican-configuration").status for line in lines} == {410}
    turn(3, "Director: {EnableFederationMetadataHosting: true}")
    fleet.child.wait_for_output(IN_FORCE, 4)
    assert fleet.child.ask(METADATA).status == 200
    end(fleet.child)


def test_a_secret_is_said_to_nobody_and_kept_in_the_one_copy_that_a_start_may_need(fleet: Fleet) -> None:
    canary = "canary0123456789"
    write(fleet.folder, f"Tracing: {{Headers: 'Authorization=Bearer {canary}'}}")
    fleet.child.wait_for_output(IN_FORCE, 2)
    (fleet.folder / "next.yaml").write_text(f"Tracing: {{Headers: 'Authorization=Bearer {canary}, X={canary}'}}")
    would = ask(fleet, "--check", "next.yaml")
    assert "Tracing.Headers = (secret), was (secret) (next.yaml:1)" in would.stdout
    write(fleet.folder, f"Tracing: {{Headers: '{canary}'}}")
    refused = ask(fleet)
    assert "Tracing.Headers" in refused.stderr
    asked = b"".join(fleet.child.ask(get(target)).body for target in ("/metrics", "/readyz?verbose"))
    end(fleet.child)
    said = would.stdout + would.stderr + refused.stdout + refused.stderr + fleet.child.output
    assert canary not in said + asked.decode()
    state = SqliteStore(next(fleet.folder.rglob("director-state.sqlite")), clock=monotonic, wall=wall)
    with contextlib.closing(state):
        assert {record.kind for record in state.changes(0).records}.isdisjoint(PASSING)
    copy = next(fleet.folder.rglob("last-good.json"))
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    holders = {path.name for path in copy.parent.rglob("*") if path.is_file() and canary.encode() in path.read_bytes()}
    assert holders == {copy.name}


@pytest.mark.slow
def test_whoever_is_stopped_runs_what_the_others_run_when_it_goes_on(fleet: Fleet) -> None:
    for turn, pid in enumerate(fleet.child.workers()):  # one of the two is who looks
        os.kill(pid, signal.SIGSTOP)
        try:
            write(fleet.folder, f"Director: {{StatTimeout: {turn + 3}s}}")
            fleet.child.wait_for_output(IN_FORCE, 2 * turn + 1)
        finally:
            os.kill(pid, signal.SIGCONT)
        fleet.child.wait_for_output(IN_FORCE, 2 * turn + 2)
        wait_until(lambda: list(hashes(fleet).values()) == [2], "both run the same")
    end(fleet.child)


@pytest.mark.slow
def test_150_reloads_under_load_lose_no_request_and_leak_nothing(fleet: Fleet) -> None:
    """Each changes tracing, is wrong, or says the same again; the collector is well and sick in turn."""
    servers = fleet.servers(4)
    wait_until(lambda: fleet.all_know(servers), "all know them")
    child, folder = fleet.child, fleet.folder
    workers = child.workers()
    write(folder, "Director: {StatTimeout: 1s}")
    child.wait_for_output(IN_FORCE, 2)
    names = {pid: thread_names(pid, folder) for pid in workers}
    before = {pid: census(pid) for pid in workers}
    is_over = threading.Event()
    with Collector() as collector, ThreadPoolExecutor(1) as pool:
        failed = pool.submit(ask_until, is_over, child.port, servers)
        try:
            for turn in range(TURNS):
                collector.mode = COLLECTORS[turn % len(COLLECTORS)]
                ratio = 1 - turn / 1000
                tracing = (
                    f"Enabled: true, Endpoint: '{collector.endpoint}', ExportInterval: 10ms, SamplerRatio: {ratio}"
                )
                write(folder, f"Tracing: {{{tracing}}}")
                child.wait_for_output(IN_FORCE, 2 * (turn + 2))
                write(folder, f"Director: {{StatTimeout: {turn}s and more}}")
                child.wait_for_output(WRONG, turn + 1)
                write(folder, f"# the same, for the {turn}th time\nTracing: {{{tracing}}}")
                child.wait_for_output(RIGHT_AGAIN, turn + 1)
            write(folder, "Director: {StatTimeout: 1s}")
            child.wait_for_output(IN_FORCE, 2 * (TURNS + 2))
        finally:
            is_over.set()
        assert failed.result() == []
        assert len({span.resource["service.instance.id"] for span in collector.spans}) == 2
    assert child.output.count(IN_FORCE) == 2 * (TURNS + 2)
    assert child.workers() == workers
    for pid in workers:
        handlers = (thread_names(pid, folder) - names[pid])["handler"]  # as many as there were requests at once
        with contextlib.suppress(AssertionError):
            wait_until(lambda: census(pid).beyond(before[pid], threads=handlers) == {}, "what it held")  # noqa: B023, called at once
        assert census(pid).beyond(before[pid], threads=handlers) == {}
        assert set(thread_names(pid, folder) - names[pid]) <= {"handler"}
    assert "Traceback" not in child.output
    end(child)


def ask_until(is_over: threading.Event, port: int, servers: Sequence[Server]) -> list[str]:
    """Ask all the time, until it is over; the answers that were not right."""
    failed: list[str] = []
    while not is_over.is_set():
        with load(port, servers, rate_per_s=100, seconds=LOAD_S) as asking:
            failed += wrong(asking.outcomes(), servers).values()
    return failed


def test_a_reload_that_is_broken_then_hup_keeps_what_the_workers_ran(fleet: Fleet) -> None:
    write(fleet.folder, "Director: {EnableFederationMetadataHosting: false}")
    fleet.child.wait_for_output(IN_FORCE, 2)
    write(fleet.folder, "Director: {")
    fleet.child.wait_for_output(WRONG)
    hup(fleet.child)
    wait_until(lambda: fleet.child.ask(METADATA).status == 410, "what was in force")
    assert len(hashes(fleet)) == 1
