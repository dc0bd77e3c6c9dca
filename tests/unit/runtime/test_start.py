"""What is settled at the start and outlives workers."""

from pathlib import Path

import pytest

from director_wsgi.errors import ConfigError
from director_wsgi.runtime import start
from tests.fakes import FakeClock

pytestmark = pytest.mark.unit

GOOD = {"PELICAN_FEDERATION_REGISTRYURL": "https://registry.example"}
BROKEN = GOOD | {"PELICAN_DIRECTOR_THREADS": "many"}


@pytest.fixture(autouse=True)
def cold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "_memory", start._Memory())


def test_a_first_start_refuses_a_broken_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        start.load_config(BROKEN, tmp_path)
    assert not start.is_prepared()


def test_a_first_start_shows_a_defect_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "load", fail)
    with pytest.raises(ZeroDivisionError):
        start.load_config(GOOD, tmp_path)


def fail(*_: object) -> None:
    raise ZeroDivisionError


def test_later_the_last_good_one_stays_and_the_log_says_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = start.load_config(GOOD, tmp_path)

    assert start.load_config(BROKEN, tmp_path) is good
    assert "Director.Threads" in caplog.text.replace("PELICAN_DIRECTOR_THREADS", "Director.Threads")
    assert "last good one" in caplog.text


def test_later_not_even_a_defect_ends_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = start.load_config(GOOD, tmp_path)
    monkeypatch.setattr(start, "load", fail)

    assert start.load_config(GOOD, tmp_path) is good


def test_a_later_good_one_takes_the_place_of_the_last(tmp_path: Path) -> None:
    start.load_config(GOOD, tmp_path)
    later = start.load_config(GOOD | {"PELICAN_DIRECTOR_THREADS": "9"}, tmp_path)

    assert later.threads == 9
    assert start.load_config(BROKEN, tmp_path) is later


def test_a_worker_counts_with_the_threads_it_has(tmp_path: Path) -> None:
    assert start.worker_config(GOOD, tmp_path).threads == 32
    start.use_threads(11)
    assert start.worker_config(GOOD, tmp_path).threads == 11


def test_the_address_is_that_of_the_first_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = start.load_config(GOOD | {"PELICAN_SERVER_WEBHOST": "::"}, tmp_path)
    moved = start.load_config(GOOD | {"PELICAN_SERVER_WEBPORT": "1234"}, tmp_path)

    assert start.address(first) == "[::]:8444"
    assert start.address(moved) == "[::]:8444"
    assert "0.0.0.0:1234 takes effect with a restart" in caplog.text


def test_the_instant_of_the_first_start_is_noted_once() -> None:
    clock = FakeClock(50.25)
    environ: dict[str, str] = {}

    assert start.first_start_at(environ, clock) == 50.25
    clock.advance(100)
    assert start.first_start_at(environ, clock) == 50.25


@pytest.mark.parametrize("noted", ["", "soon", "nan", "inf", "-1", "50.5"])
def test_what_is_no_instant_of_the_past_is_replaced(noted: str) -> None:
    environ = {start.FIRST_START: noted}

    assert start.first_start_at(environ, FakeClock(50.0)) == 50.0
    assert environ[start.FIRST_START] == "50.0"


def test_a_refusal_is_a_line_for_each_problem(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        start.refuse(("one", "two"), 7)

    assert ending.value.code == 7
    assert capsys.readouterr().err == "director_wsgi: one\ndirector_wsgi: two\n"
