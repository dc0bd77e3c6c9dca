"""Laws of the health of the director's parts: the worst decides, nothing is remembered, nothing is hidden."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask

from director_wsgi.web import component_health
from director_wsgi.web.component_health import Check, Component, ComponentHealth, Level
from tests.fakes import FakeClock

NOW = 1_700_000_000.5


def prefixes(*, loaded: bool = True, age_s: float = 0.0) -> Any:
    return SimpleNamespace(loaded=loaded, age_s=age_s)


def always(level: Level, name: str = "x", message: str = "") -> Check:
    return lambda now: Component(name=name, level=level, message=message, updated_at=now)


class TestRegistry:
    @pytest.mark.parametrize(
        ("known", "silent_s", "level", "said"),
        [
            (prefixes(loaded=False, age_s=float("inf")), 0.0, Level.CRITICAL, "has not answered yet"),
            (prefixes(age_s=5), 0.0, Level.OK, ""),
            (prefixes(age_s=179), 0.0, Level.OK, ""),
            (prefixes(age_s=180), 0.0, Level.WARNING, "for 180 s"),
            (prefixes(age_s=5), 30.0, Level.WARNING, "for 30 s"),
            (prefixes(age_s=3600), 30.0, Level.WARNING, "for 3600 s"),
        ],
    )
    def test_silence_is_a_warning_and_never_having_heard_of_it_is_worse(
        self, known: Any, silent_s: float, level: Level, said: str
    ) -> None:
        told = component_health.registry(known, lambda: silent_s, interval_s=lambda: 60.0)(NOW)
        assert told.level is level
        assert said in told.message
        assert bool(told.message) == (level is not Level.OK)

    def test_it_is_dated_when_it_last_answered(self) -> None:
        assert (
            component_health.registry(prefixes(age_s=30), lambda: 0.0, interval_s=lambda: 60.0)(NOW).updated_at
            == NOW - 30
        )
        assert (
            component_health.registry(prefixes(loaded=False), lambda: 0.0, interval_s=lambda: 60.0)(NOW).updated_at
            == NOW
        )


@pytest.mark.parametrize(
    ("make", "worse"),
    [(component_health.issuer_keys, Level.DEGRADED), (component_health.director_tests, Level.CRITICAL)],
)
def test_what_is_missing_is_noticed_and_so_is_its_return(make: Any, worse: Level) -> None:
    is_there = False
    check = make(lambda: is_there)
    assert (check(NOW).level, bool(check(NOW).message)) == (worse, True)
    is_there = True
    assert (check(NOW).level, check(NOW).message) == (Level.OK, "")


def test_the_page_says_the_worst_and_what_is_wrong() -> None:
    health = ComponentHealth(
        (always(Level.OK, "a"), always(Level.WARNING, "b", "why"), always(Level.DEGRADED, "c", "because")),
        wall=FakeClock(NOW),
    )
    app = Flask(__name__)
    app.register_blueprint(component_health.blueprint(health, door=None))
    answer = app.test_client().get("/api/v1.0/metrics/health")
    assert (answer.status_code, json.loads(answer.data)) == (
        200,
        {
            "status": "degraded",
            "components": {
                "a": {"status": "ok", "last_update": 1_700_000_000},
                "b": {"status": "warning", "message": "why", "last_update": 1_700_000_000},
                "c": {"status": "degraded", "message": "because", "last_update": 1_700_000_000},
            },
        },
    )


def test_levels_have_pelicans_numbers_and_words() -> None:
    assert {level.word: int(level) for level in Level} == {"critical": 2, "degraded": 3, "warning": 4, "ok": 5}
