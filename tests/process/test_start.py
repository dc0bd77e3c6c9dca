"""How the process starts, and when it refuses to."""

import json
import signal
from pathlib import Path

import pytest

from tests.process.child import REPOSITORY, SETTINGS, STAND_IN, Child, free_port, get, hup, kill_worker, run
from tests.process.conftest import ENVIRON

pytestmark = pytest.mark.process

BIND = ("-b", "127.0.0.1:0")
NO_STATE = {"PELICAN_DIRECTOR_STATELOCATION": ":memory:"}
WITH_SETTINGS = ("-c", str(SETTINGS), *BIND)


def test_it_starts_from_environment_variables_alone(tmp_path: Path) -> None:
    environ = ENVIRON | {"PELICAN_SERVER_WEBHOST": "127.0.0.1", "PELICAN_SERVER_WEBPORT": str(free_port())}
    with run(tmp_path, "-c", str(SETTINGS), STAND_IN, environ=environ) as child:
        seen = json.loads(child.wait_until_ready().ask(get("/")).body)

        assert child.port == int(environ["PELICAN_SERVER_WEBPORT"])
        assert seen["started"] is True
        assert seen["threads"] == 32
        assert seen["thread"].startswith("handler")
        assert seen["hup_ignored"] is True


def test_it_starts_from_a_file_alone(tmp_path: Path) -> None:
    (tmp_path / "pelican.yaml").write_text(
        "Federation: {RegistryUrl: https://registry.example}\n"
        f"Server: {{WebHost: 127.0.0.1, WebPort: {free_port()}}}\n"
        "Director: {Threads: 7}\n"
    )
    with run(tmp_path, "-c", str(SETTINGS), STAND_IN, environ={}) as child:
        assert json.loads(child.wait_until_ready().ask(get("/")).body)["threads"] == 7


def test_it_starts_with_the_settings_as_a_module(tmp_path: Path) -> None:
    with run(tmp_path, "-c", "python:director_wsgi.runtime.process", *BIND, STAND_IN, environ=ENVIRON) as child:
        answer = child.wait_until_ready().ask(get("/"))

        assert answer.all("Server")[0].startswith("pelican/")
        assert json.loads(answer.body)["started"] is True


def test_a_worker_keeps_to_one_core(tmp_path: Path) -> None:
    with run(tmp_path, *WITH_SETTINGS, STAND_IN, environ=ENVIRON) as child:
        assert len(json.loads(child.wait_until_ready().ask(get("/")).body)["cores"]) == 1


def test_the_application_counts_with_the_threads_of_gunicorns_flag(tmp_path: Path) -> None:
    with run(tmp_path, *WITH_SETTINGS, "--threads", "40", STAND_IN, environ=ENVIRON) as child:
        answer = child.wait_until_ready().ask(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

        assert json.loads(answer.body)["threads"] == 40
        assert "No keepalived connections" not in child.output


@pytest.mark.parametrize(
    ("arguments", "environ", "named"),
    [
        pytest.param(("-w", "0"), {}, "0 workers", id="-w 0"),
        pytest.param(("-w", "2"), NO_STATE, "2 workers", id="-w 2"),
        pytest.param((), NO_STATE | {"WEB_CONCURRENCY": "2"}, "2 workers", id="WEB_CONCURRENCY=2"),
        pytest.param((), NO_STATE | {"GUNICORN_CMD_ARGS": "--workers=3"}, "3 workers", id="GUNICORN_CMD_ARGS"),
        pytest.param(("--preload",), {}, "--preload", id="preload"),
        pytest.param(("--reuse-port",), {}, "--reuse-port", id="reuse-port"),
        pytest.param(("--timeout", "0"), {}, "--timeout 0", id="no heartbeat"),
        pytest.param(("-k", "gthread"), {}, "worker class gthread", id="another worker class"),
        pytest.param(("--threads", "4"), {}, "Director.ReservedThreads (4)", id="no more threads than are reserved"),
    ],
)
def test_what_cannot_work_is_refused_with_one_message(
    tmp_path: Path, arguments: tuple[str, ...], environ: dict[str, str], named: str
) -> None:
    with run(tmp_path, *WITH_SETTINGS, *arguments, STAND_IN, environ=ENVIRON | environ) as child:
        assert child.wait_for_end() == 1

        assert len(messages(child)) == 1
        assert named in messages(child)[0]
        assert "Traceback" not in child.output
        assert "Booting worker" not in child.output


def messages(child: Child) -> list[str]:
    return [line for line in child.output.splitlines() if line.startswith("director_wsgi: ")]


@pytest.mark.parametrize("settings", [str(SETTINGS), "python:director_wsgi.runtime.process"])
def test_without_any_configuration_one_message_says_what_is_missing(tmp_path: Path, settings: str) -> None:
    with run(tmp_path, "-c", settings, STAND_IN, environ={}) as child:
        assert child.wait_for_end() == 1

        assert child.output.splitlines() == messages(child)
        assert len(messages(child)) == 1
        assert "Federation.RegistryUrl" in child.output


def test_a_wrong_configuration_names_every_problem(tmp_path: Path) -> None:
    (tmp_path / "pelican.yaml").write_text("Director: {StatTimeout: soon, Threads: many}\n")
    environ = ENVIRON | {"PELICAN_SERVER_WEBPORT": "99999"}
    with run(tmp_path, "-c", str(SETTINGS), STAND_IN, environ=environ) as child:
        assert child.wait_for_end() == 1

        assert child.output.splitlines() == messages(child)
        for name, value in (("Director.StatTimeout", "soon"), ("Director.Threads", "many"), ("WEBPORT", "99999")):
            assert any(name.lower() in line.lower().replace("_", ".") and value in line for line in messages(child)), (
                child.output
            )


def test_without_the_settings_the_director_is_refused(tmp_path: Path) -> None:
    with run(tmp_path, *BIND, "director_wsgi.wsgi:application", environ=ENVIRON) as child:
        assert child.wait_for_end() == 4

        assert "-c gunicorn.conf.py" in child.output
        assert "Traceback" not in child.output


@pytest.mark.parametrize(
    "settings", [SETTINGS, REPOSITORY / "director_wsgi/runtime/process.py"], ids=lambda path: path.name
)
def test_hup_takes_a_changed_configuration(tmp_path: Path, settings: Path) -> None:
    configuration = tmp_path / "pelican.yaml"
    configuration.write_text("Director: {SupportContactEmail: old@example.org, Threads: 8}\n")
    with run(tmp_path, "-c", str(settings), *BIND, STAND_IN, environ=ENVIRON) as child:
        before = json.loads(child.wait_until_ready().ask(get("/")).body)
        configuration.write_text("Director: {SupportContactEmail: new@example.org, Threads: 9}\n")
        hup(child)

        after = json.loads(child.ask(get("/")).body)

        assert (before["contact"], before["threads"]) == ("old@example.org", 8)
        assert (after["contact"], after["threads"]) == ("new@example.org", 9)
        assert after["pid"] != before["pid"]


def test_the_instant_of_the_first_start_outlives_hup_and_respawn(tmp_path: Path) -> None:
    with run(tmp_path, *WITH_SETTINGS, STAND_IN, environ=ENVIRON) as child:
        first = json.loads(child.wait_until_ready().ask(get("/")).body)
        hup(child)
        second = json.loads(child.ask(get("/")).body)
        kill_worker(child, second["pid"])
        third = json.loads(child.ask(get("/")).body)

        assert len({first["pid"], second["pid"], third["pid"]}) == 3
        assert first["first_start"] == second["first_start"] == third["first_start"]


def test_the_instant_of_the_first_start_outlives_the_master(tmp_path: Path) -> None:
    with run(tmp_path, *WITH_SETTINGS, STAND_IN, environ=ENVIRON) as child:
        first = json.loads(child.wait_until_ready().ask(get("/")).body)
        child.signal(signal.SIGUSR2)
        child.wait_for_output("Worker ready", 2)
        child.signal(signal.SIGTERM)
        child.wait_for_end()
        second = json.loads(child.ask(get("/")).body)

        assert first["pid"] != second["pid"]
        assert first["first_start"] == second["first_start"]


def test_its_own_check_of_the_configuration_passes(tmp_path: Path) -> None:
    with run(tmp_path, *WITH_SETTINGS, "--check-config", environ=ENVIRON) as child:
        assert child.wait_for_end() == 0, child.output


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param("Director: {Threads: many}\n", id="wrong value"),
        pytest.param("Director: [\n", id="no YAML"),
        pytest.param("Server: {WebPort: 1}\nFederation: {RegistryUrl: ''}\n", id="missing value"),
    ],
)
def test_a_configuration_that_breaks_later_leaves_the_last_good_one_in_force(tmp_path: Path, broken: str) -> None:
    configuration = tmp_path / "pelican.yaml"
    good = (
        "Director: {SupportContactEmail: good@example.org, Threads: 8}\nFederation: {RegistryUrl: https://r.example}\n"
    )
    configuration.write_text(good)
    with run(tmp_path, *WITH_SETTINGS, STAND_IN, environ={}) as child:
        child.wait_until_ready()
        configuration.write_text(broken)
        hup(child)
        after_hup = json.loads(child.ask(get("/")).body)
        kill_worker(child, after_hup["pid"])
        after_respawn = json.loads(child.ask(get("/")).body)

        for seen in (after_hup, after_respawn):
            assert (seen["contact"], seen["threads"]) == ("good@example.org", 8)
        assert "the last good one stays in force" in child.output
        assert "Traceback" not in child.output


def test_hup_does_not_move_the_listener(tmp_path: Path) -> None:
    configuration = tmp_path / "pelican.yaml"
    port = free_port()
    configuration.write_text(f"Server: {{WebHost: 127.0.0.1, WebPort: {port}}}\n")
    with run(tmp_path, "-c", str(SETTINGS), STAND_IN, environ=ENVIRON) as child:
        child.wait_until_ready()
        # An address of no machine: gunicorn would close the old listener, fail with the new one, and end.
        configuration.write_text(f"Server: {{WebHost: 192.0.2.1, WebPort: {port}}}\n")
        hup(child)

        assert child.ask(get("/")).status == 200
        assert f"192.0.2.1:{port} takes effect with a restart" in child.output


def test_a_second_worker_asked_for_by_signal_is_refused_without_a_state(tmp_path: Path) -> None:
    with run(tmp_path, *WITH_SETTINGS, STAND_IN, environ=ENVIRON | NO_STATE) as child:
        child.wait_until_ready()
        workers = child.workers()
        child.signal(signal.SIGTTIN)
        child.wait_for_output("A second worker is refused")

        assert child.ask(get("/")).status == 200
        assert child.workers() == workers
