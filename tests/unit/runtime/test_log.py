"""No secret in a line, and one line per record."""

import datetime as dt
import logging
import queue
import re
from logging.handlers import QueueHandler
from types import SimpleNamespace

import pytest
from gunicorn.config import Config
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.runtime.log import (
    MAX_CHARACTERS,
    REDACTED,
    GunicornLogger,
    LineFormatter,
    SafeFormatter,
    gunicorn_level,
    job_id,
    make_safe,
    one_line,
    redact,
    set_level,
)

pytestmark = pytest.mark.unit

JWT = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImEifQ.eyJzdWIiOiJjYW5hcnkifQ.MEUCIQDcanaryMEUCIQDcanary_-x"


@pytest.mark.parametrize(
    "text",
    [
        "GET /x?authz=canary HTTP/1.1",
        "GET /x?a=b&authz=Bearer%20canary&c=d HTTP/1.1",
        "GET /x?authz=Bearer+canary",
        "GET /x?AUTHZ=canary",
        "GET /x?access_token=canary",
        "Location: https://c.example/x?authz%3Dcanary",
        "Authorization: Bearer canary",
        "authorization: bearer canary",
        "Authorization: canary",
        "Authorization: Basic canary",
        "{'Authorization': 'Bearer canary', 'Accept': '*/*'}",
        '{"access_token": "canary"}',
        "token was Bearer canary.",
        f"the token {JWT} is bad",
        f"%20{JWT}%20",
        f"/path/{JWT[:60]}",
        f"https://h/x?token={JWT}&y=1",
        f"{JWT}.{JWT}",
    ],
)
def test_a_token_is_not_written(text: str) -> None:
    redacted = redact(text)

    assert "canary" not in redacted
    assert not any(part in redacted for part in JWT.split("."))
    assert REDACTED in redacted


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("GET /x?a=b&authz=T&c=d HTTP/1.1", f"GET /x?a=b&authz={REDACTED}&c=d HTTP/1.1"),
        ("GET /x?authz=T HTTP/1.1 (bearer of news)", f"GET /x?authz={REDACTED} HTTP/1.1 (bearer {REDACTED} news)"),
        ("no secret: a=b, c:d", "no secret: a=b, c:d"),
        ("author=Melville&size=7", "author=Melville&size=7"),
        ("key eyJ is short", "key eyJ is short"),
    ],
)
def test_what_stands_around_a_token_stays(text: str, redacted: str) -> None:
    assert redact(text) == redacted


@given(
    st.text(alphabet="ABCxyz019-_~.+/", min_size=1, max_size=200),
    st.sampled_from(["authz=", "Bearer ", "authz=Bearer%20"]),
)
def test_no_opaque_token_survives(token: str, before: str) -> None:
    assert redact(f"<{before}{token} >") == f"<{'authz=' if 'authz' in before else before}{REDACTED} >"


@given(st.text())
def test_whatever_is_logged_is_one_line(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1


def test_a_line_is_bounded() -> None:
    assert len(one_line("x" * 1_000_000)) < MAX_CHARACTERS + 100


def test_a_token_cut_off_by_the_bound_is_not_written_either() -> None:
    formatter = SafeFormatter(logging.Formatter("%(message)s"))
    for length in range(MAX_CHARACTERS - len(JWT), MAX_CHARACTERS):
        line = formatter.format(record("x" * (length - 1) + " " + JWT))
        assert "canary" not in line
        assert "eyJzdWI" not in line


def record(message: str, *arguments: object, **more: object) -> logging.LogRecord:
    return logging.makeLogRecord({"msg": message, "args": arguments, "levelname": "INFO", "name": "x", **more})


def test_a_line_tells_when_how_who_and_what() -> None:
    line = LineFormatter().format(record("answer %d", 42, created=0.123, msecs=123.0, process=7, name="a.b"))
    assert line == "1970-01-01T00:00:00.123Z INFO 7 a.b: answer 42"


def test_the_time_is_utc_whatever_the_zone() -> None:
    line = LineFormatter().format(
        record("x", created=dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC).timestamp(), msecs=0.0)
    )
    assert line.startswith("2026-01-31T12:00:00.000Z ")


def test_a_line_ends_with_the_job_a_thread_works_on() -> None:
    token = job_id.set("550e8400-e29b-41d4-a716-446655440000")
    try:
        assert LineFormatter().format(record("x")).endswith(": x [550e8400-e29b-41d4-a716-446655440000]")
    finally:
        job_id.reset(token)
    assert LineFormatter().format(record("x")).endswith(": x")


def test_tracebacks_are_on_the_line_and_without_tokens() -> None:
    try:
        int(f"Bearer canary\nnor {JWT}")
    except ValueError as error:
        failed = record("it failed", exc_info=(type(error), error, error.__traceback__))

    line = SafeFormatter(LineFormatter()).format(failed)

    assert "\n" not in line
    assert "ValueError" in line
    assert "canary" not in line
    assert "eyJzdWI" not in line


def test_a_forged_line_stays_part_of_its_own() -> None:
    line = SafeFormatter(LineFormatter()).format(
        record("path %s", "/x\r\n2026-01-01T00:00:00.000Z INFO 1 root: all is well")
    )
    assert len(line.splitlines()) == 1


def test_making_safe_twice_is_making_safe_once() -> None:
    handler = logging.NullHandler()
    make_safe([handler])
    formatter = handler.formatter
    make_safe([handler])
    assert handler.formatter is formatter


@pytest.mark.parametrize("level", ["trace", "debug", "info", "warn", "warning", "error", "fatal", "panic"])
def test_every_level_of_pelican_is_one_of_gunicorn(level: str) -> None:
    assert gunicorn_level(level) in GunicornLogger.LOG_LEVELS


@pytest.fixture
def logger(monkeypatch: pytest.MonkeyPatch) -> GunicornLogger:
    """Gunicorn's logger with an access log on, on loggers that are put back afterwards."""
    root = logging.getLogger()
    for existing in (root, logging.getLogger("gunicorn.error"), logging.getLogger("gunicorn.access")):
        monkeypatch.setattr(existing, "handlers", list(existing.handlers))
        monkeypatch.setattr(existing, "level", existing.level)
        monkeypatch.setattr(existing, "propagate", existing.propagate)
    monkeypatch.setattr(GunicornLogger, "is_decided_elsewhere", False)
    settings = Config()
    settings.set("accesslog", "-")
    settings.set(
        "access_log_format",
        '%(r)s "%({authorization}i)s" "%({cookie}i)s" "%({http_authorization}e)s" "%({location}o)s"',
    )
    return GunicornLogger(settings)


def test_an_access_log_of_any_format_shows_no_token(logger: GunicornLogger, capsys: pytest.CaptureFixture[str]) -> None:
    handler = logging.StreamHandler()
    logger.access_log.handlers[:] = [handler]
    handler.setFormatter(logging.Formatter("%(message)s"))
    make_safe([handler])
    environ = {
        "REQUEST_METHOD": "GET",
        "RAW_URI": "/x?authz=canary",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_AUTHORIZATION": "canary",
    }
    request = SimpleNamespace(headers=[("AUTHORIZATION", "canary"), ("COOKIE", "canary")])
    response = SimpleNamespace(
        status="307 Temporary Redirect", headers=[("Location", "https://c.example/x?authz=canary")], sent=0
    )

    logger.access(response, request, environ, dt.timedelta(seconds=1))

    written = capsys.readouterr().err
    assert "GET /x?authz=" in written
    assert "canary" not in written


def own_handlers(logger: logging.Logger) -> list[logging.Handler]:
    """Those of gunicorn's making; pytest adds others to capture records."""
    return [handler for handler in logger.handlers if hasattr(handler, "_gunicorn")]


def test_the_directors_records_go_where_gunicorns_go(logger: GunicornLogger) -> None:
    assert len(own_handlers(logger.error_log)) == len(own_handlers(logger.access_log)) == 1
    assert own_handlers(logging.getLogger()) == own_handlers(logger.error_log)
    for handler in own_handlers(logger.error_log) + own_handlers(logger.access_log):
        assert isinstance(handler.formatter, SafeFormatter)


def test_setting_up_again_adds_no_handler(logger: GunicornLogger) -> None:
    logger.setup(logger.cfg)

    assert len(own_handlers(logger.error_log)) == len(own_handlers(logger.access_log)) == 1
    assert own_handlers(logging.getLogger()) == own_handlers(logger.error_log)


def test_an_operators_own_configuration_is_made_safe_and_otherwise_left(
    logger: GunicornLogger, capsys: pytest.CaptureFixture[str]
) -> None:
    logger.cfg.set(
        "logconfig_dict",
        {
            "root": {"level": "INFO", "handlers": ["mine"]},
            "loggers": {"gunicorn.error": {"level": "INFO", "handlers": ["mine"], "propagate": False}},
            "handlers": {"mine": {"class": "logging.StreamHandler", "formatter": "mine", "stream": "ext://sys.stderr"}},
            "formatters": {"mine": {"format": "MINE %(message)s"}},
        },
    )
    logger.setup(logger.cfg)
    logging.getLogger("director_wsgi.x").error("Bearer canary")
    logger.error("authz=canary")

    written = capsys.readouterr().err
    assert re.findall("^MINE .*$", written, re.MULTILINE) == [f"MINE Bearer {REDACTED}", f"MINE authz={REDACTED}"]


LOGGERS = [logging.getLogger(), logging.getLogger("gunicorn.error")]


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("trace", logging.DEBUG),
        ("debug", logging.DEBUG),
        ("info", logging.INFO),
        ("warn", logging.WARNING),
        ("error", logging.ERROR),
        ("panic", logging.CRITICAL),
    ],
)
def test_another_level_holds_for_the_directors_records_and_gunicorns(
    logger: GunicornLogger, level: str, expected: int
) -> None:
    set_level("fatal")
    set_level(level)

    assert {each.level for each in LOGGERS} == {expected}


def test_the_same_level_again_costs_nothing(logger: GunicornLogger, monkeypatch: pytest.MonkeyPatch) -> None:
    set_level("warn")
    for each in LOGGERS:
        monkeypatch.setattr(each, "setLevel", None)
    set_level("warning")


def test_a_record_appears_by_the_level_of_now(logger: GunicornLogger) -> None:
    written: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    logging.getLogger().handlers[:] = [QueueHandler(written)]
    module = logging.getLogger("director_wsgi.some.module")
    for level in ("info", "debug", "warn"):
        set_level(level)
        module.debug("debug at %s", level)
        module.info("info at %s", level)

    records = [written.get_nowait().getMessage() for _ in range(written.qsize())]
    assert records == ["info at info", "debug at debug", "info at debug"]


def test_an_operators_own_configuration_decides_the_level(logger: GunicornLogger) -> None:
    own = {"root": {"level": "ERROR", "handlers": []}, "loggers": {}, "handlers": {}, "formatters": {}}
    logger.cfg.set("logconfig_dict", own)
    logger.setup(logger.cfg)
    set_level("debug")
    assert logging.getLogger().level == logging.ERROR

    logger.cfg.set("logconfig_dict", {})
    logger.setup(logger.cfg)
    set_level("debug")
    assert logging.getLogger().level == logging.DEBUG
