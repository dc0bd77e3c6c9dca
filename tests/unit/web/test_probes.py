"""Laws of the probes: 503 for what another director would do better, and for nothing else; the same at both doors."""

import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

from director_wsgi.health.checks import Check, Verdict
from director_wsgi.runtime.admin import Answer, Asked
from director_wsgi.runtime.metrics import Metrics
from director_wsgi.trust.keyring import KeyRing
from director_wsgi.trust.self_issued import SCRAPE, Guard, Issuer
from director_wsgi.web import families, probes
from director_wsgi.web.probes import Probes
from tests.fakes import FakeClock
from tests.unit.trust.rings import ring_of, signed

WEB = "https://director.example.org"
FINE = (Check("stored"), Check("store"))
WARNED = (Check("stored"), Check("store", Verdict.WARNING, "full"))
FAILED = (Check("stored", Verdict.FAILED, "unread"), Check("store", Verdict.WARNING, "full"))


class FakeReadiness:
    trial_s = 0.5

    def __init__(self, *checks: Check) -> None:
        self._checks = checks

    def checks(self) -> tuple[Check, ...]:
        return self._checks


def made(checks: tuple[Check, ...] = FINE, guard: Guard | None = None) -> Probes:
    shown = Metrics()
    shown.add(families.build)
    return Probes(readiness=FakeReadiness(*checks), metrics=shown, guard=lambda: guard)  # type: ignore[arg-type]


def at_the_operators_door(of: Probes, path: str) -> tuple[int, Any]:
    path, _, query = path.partition("?")
    told = of.answer(Asked(path=path, query=query))
    return told.status, json.loads(told.body)


def at_the_clients_door(of: Probes, path: str) -> tuple[int, Any]:
    app = Flask(__name__)
    app.register_blueprint(probes.blueprint(of))
    told = app.test_client().get(path)
    assert told.headers["Cache-Control"] == "no-store"
    assert told.content_type == "application/json; charset=utf-8"
    return told.status_code, told.get_json()


Door = Callable[[Probes, str], tuple[int, Any]]


@pytest.fixture(params=[at_the_operators_door, at_the_clients_door])
def door(request: pytest.FixtureRequest) -> Door:
    chosen: Door = request.param
    return chosen


def test_who_answers_lives(door: Door) -> None:
    assert door(made(FAILED), "/livez") == (200, {"status": "ok"})


@pytest.mark.parametrize(
    ("checks", "status", "body"),
    [
        (FINE, 200, {"status": "ready"}),
        (WARNED, 200, {"status": "ready", "checks": {"store": {"status": "warning", "message": "full"}}}),
        (
            FAILED,
            503,
            {
                "status": "not ready",
                "checks": {
                    "stored": {"status": "failed", "message": "unread"},
                    "store": {"status": "warning", "message": "full"},
                },
            },
        ),
    ],
)
def test_warnings_are_told_and_do_not_take_a_director_out(
    door: Door, checks: tuple[Check, ...], status: int, body: Any
) -> None:
    assert door(made(checks), "/readyz") == (status, body)


@pytest.mark.parametrize("query", ["verbose", "verbose=", "x=1&verbose=1"])
def test_who_wants_to_know_is_told_every_check(door: Door, query: str) -> None:
    _, body = door(made(WARNED), f"/readyz?{query}")
    assert body["checks"] == {"stored": {"status": "ok"}, "store": {"status": "warning", "message": "full"}}


def test_nothing_else_is_at_the_operators_door() -> None:
    for path in ("/", "/livez/", "/api/v1.0/health", "/livezz"):
        status, body = at_the_operators_door(made(), path)
        assert (status, body["status"]) == (404, "error")


class TestMetrics:
    @pytest.fixture
    def ring(self, tmp_path: Any) -> KeyRing:
        return ring_of(tmp_path, wall=FakeClock())

    def ask(self, of: Probes, authorization: str = "") -> Answer:
        told = of.answer(Asked(path="/metrics", authorization=authorization))
        return told if isinstance(told, Answer) else told()

    def test_they_need_the_same_token_at_both_doors(self, ring: KeyRing, wall: FakeClock) -> None:
        guarded = made(guard=Guard([Issuer(WEB, ring.key_set)], scope=SCRAPE, wall_clock=wall))
        (one,) = ring.outlook()
        good = signed(one.key, wall())
        assert jwt.decode(good, options={"verify_signature": False})["scope"] == SCRAPE
        for refused in (
            "",
            "Bearer",
            f"Basic {good}",
            f"Bearer {good}x",
            f"Bearer {signed(one.key, wall(), scope='x')}",
        ):
            told = self.ask(guarded, refused)
            assert told.status == 403
            assert good.encode() not in told.body
        told = self.ask(guarded, f"bearer {good}")
        assert told.status == 200
        assert b"director_wsgi_build_info" in told.body
        assert told.content_type.startswith("text/plain")

    def test_without_a_guard_everybody_sees_them(self) -> None:
        assert self.ask(made()).status == 200

    @pytest.mark.parametrize(("checks", "is_ready", "of_store"), [(FINE, 1, 0), (WARNED, 1, 1), (FAILED, 0, 1)])
    def test_they_say_what_readyz_says(self, checks: tuple[Check, ...], is_ready: int, of_store: int) -> None:
        shown = Metrics()
        shown.add(probes.families(FakeReadiness(*checks)))  # type: ignore[arg-type]
        values = {
            (sample.name, sample.labels.get("check", "")): sample.value
            for family in text_string_to_metric_families(shown.text().decode())
            for sample in family.samples
        }
        assert values["director_wsgi_ready", ""] == is_ready
        assert values["director_wsgi_readiness", "store"] == of_store
        assert values["director_wsgi_trial_seconds", ""] == 0.5
