"""gunicorn's settings file: every name is a setting, every hook has the parameters gunicorn passes."""

import ast
import dataclasses
import gc
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import KNOWN_SETTINGS, make_settings

from director_wsgi.runtime import start

pytestmark = pytest.mark.unit

SOURCE = Path(start.__file__).with_name("process.py")
NAME = "director_wsgi.runtime.process"


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The module as gunicorn's master runs it, in a process where no director has started yet."""
    monkeypatch.setattr(start, "_memory", start._Memory())
    monkeypatch.setenv("PELICAN_FEDERATION_REGISTRYURL", "https://registry.example")
    monkeypatch.setenv("PELICAN_DIRECTOR_THREADS", "20")
    monkeypatch.setenv("PELICAN_DIRECTOR_GRACEFULTIMEOUT", "2500ms")
    monkeypatch.setenv("PELICAN_SERVER_WEBHOST", "::1")
    monkeypatch.delenv(start.FIRST_START, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    import director_wsgi.runtime.process as module  # noqa: PLC0415, it reads the environment set above

    monkeypatch.delitem(sys.modules, NAME)
    return module


def public_names() -> list[str]:
    names: list[str] = []
    tree = ast.parse(SOURCE.read_text())
    blocks = [tree.body, *(node.body for node in tree.body if isinstance(node, ast.If))]
    for node in (node for block in blocks for node in block):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.append(node.target.id)
    return [name for name in names if name.islower() and not name.startswith("_")]


def test_every_public_lower_case_name_is_a_setting_of_gunicorn() -> None:
    assert "worker_exit" in public_names()
    assert set(public_names()) <= {setting.name for setting in KNOWN_SETTINGS}


def test_gunicorn_accepts_every_value(process: ModuleType) -> None:
    settings = make_settings()

    for name in public_names():
        settings[name].set(vars(process)[name])


@pytest.mark.parametrize("name", ["workers", "preload_app", "reuse_port", "max_requests", "accesslog", "ca_certs"])
def test_what_must_stay_at_gunicorns_default_is_not_set(process: ModuleType, name: str) -> None:
    assert name not in vars(process)


def test_rows_of_the_configuration_decide(process: ModuleType) -> None:
    assert process.threads == 20
    assert process.worker_connections == 20 + process.SPARE_CONNECTIONS
    assert process.bind == ["[::1]:8444"]
    assert process.graceful_timeout == 3 + process.END_S
    assert (process.certfile, process.keyfile) == (None, None)


def test_the_heartbeat_is_on_and_the_limits_let_tokens_pass(process: ModuleType) -> None:
    assert process.timeout > 0
    assert (process.limit_request_line, process.limit_request_field_size) == (8190, 8190)


def test_the_drain_fits_into_what_the_master_waits_beyond_the_requests(process: ModuleType) -> None:
    assert process.DRAIN_S + 1 <= process.END_S


class Settings:
    """gunicorn's configuration as the hooks see it."""

    def __init__(self, process: ModuleType, **changed: Any) -> None:
        self.settings = {"worker_class": SimpleNamespace(get=lambda: changed.get("worker_class", process.worker_class))}
        self.worker_class_str = changed.get("worker_class", process.worker_class)
        self.workers = changed.get("workers", 1)
        self.preload_app = changed.get("preload_app", False)
        self.reuse_port = changed.get("reuse_port", False)
        self.timeout = changed.get("timeout", 30)
        self.threads = changed.get("threads", process.threads)
        self.worker_connections = changed.get("worker_connections", process.worker_connections)
        self.is_ssl = False

    def set(self, name: str, value: object) -> None:
        setattr(self, name, value)


def test_the_settings_themselves_are_not_refused(process: ModuleType) -> None:
    assert process._refused(Settings(process)) == ()


def test_everything_refused_is_told_at_once(process: ModuleType) -> None:
    settings = Settings(
        process, workers=0, preload_app=True, reuse_port=True, timeout=0, worker_class="sync", threads=4
    )

    assert len(process._refused(settings)) == 6


@pytest.fixture
def stateless(process: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    assert start._memory.last_good is not None
    stateless = dataclasses.replace(start._memory.last_good, state_location=None)
    monkeypatch.setattr(start._memory, "last_good", stateless)
    return process


def test_several_workers_that_share_a_state_are_not_refused(process: ModuleType) -> None:
    assert process._refused(Settings(process, workers=4)) == ()


def test_several_workers_that_could_share_nothing_are_refused(stateless: ModuleType) -> None:
    (problem,) = stateless._refused(Settings(stateless, workers=4))
    assert "4 workers" in problem
    assert "Director.StateLocation" in problem
    assert stateless._refused(Settings(stateless, workers=1)) == ()


def test_connections_follow_the_threads_of_a_flag(process: ModuleType) -> None:
    settings = Settings(process, threads=100)
    process._follow_threads(settings)
    assert settings.worker_connections == 100 + process.SPARE_CONNECTIONS


def test_connections_asked_for_by_a_flag_stay(process: ModuleType) -> None:
    settings = Settings(process, threads=100, worker_connections=500)
    process._follow_threads(settings)
    assert settings.worker_connections == 500


def test_a_second_worker_asked_for_later_is_taken_back_where_it_could_share_nothing(stateless: ModuleType) -> None:
    server = SimpleNamespace(num_workers=2, WORKERS={})
    stateless.nworkers_changed(server, 2, 1)
    assert server.num_workers == 1


def test_a_second_worker_asked_for_later_is_welcome(process: ModuleType) -> None:
    server = SimpleNamespace(num_workers=2, WORKERS={})
    process.nworkers_changed(server, 2, 1)
    assert server.num_workers == 2


def test_the_number_of_workers_of_the_start_is_left_to_the_refusal(stateless: ModuleType) -> None:
    server = SimpleNamespace(num_workers=2)
    stateless.nworkers_changed(server, 2, None)
    assert server.num_workers == 2


def test_more_workers_than_cores_are_told_of_whenever_they_become_more(
    process: ModuleType, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    server = SimpleNamespace(num_workers=2, WORKERS={})
    told = []
    for new, old in ((2, 1), (3, 2), (3, 3), (2, 3)):
        process.nworkers_changed(server, new, old)
        told.append("workers on 2 cores" in caplog.text)
        caplog.clear()

    assert told == [False, True, False, False]


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        (None, 0),
        (SystemExit(), 0),
        (SystemExit(0), 0),
        (SystemExit(4), 4),
        (SystemExit(-1), 255),
        (SystemExit("message"), 1),
        (KeyboardInterrupt(), 1),
    ],
)
def test_a_worker_ends_with_the_status_it_was_about_to_end_with(
    process: ModuleType, ending: BaseException | None, status: int
) -> None:
    assert process._exit_status(ending) == status


def test_the_master_does_not_end_itself_for_a_worker_found_dead(process: ModuleType) -> None:
    assert process.worker_exit(None, SimpleNamespace(pid=-1)) is None


def test_an_application_that_is_no_director_is_served_all_the_same(process: ModuleType) -> None:
    assert process._parts(SimpleNamespace(wsgi=lambda environ, start_response: [])) == []


def test_a_new_master_is_told_the_instant_of_the_first_start(process: ModuleType) -> None:
    server = SimpleNamespace(cfg=SimpleNamespace(env_orig={}), systemd=False)
    process.pre_exec(server)
    assert float(server.cfg.env_orig[start.FIRST_START]) > 0


def test_what_has_been_loaded_is_not_looked_through_again_for_garbage(
    process: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process.signal, "signal", lambda *_: None)
    worker = SimpleNamespace(wsgi=None, cfg=SimpleNamespace(threads=1))
    assert gc.get_freeze_count() == 0
    try:
        process.post_worker_init(worker)
        assert gc.get_freeze_count() > 10_000
    finally:
        gc.unfreeze()
