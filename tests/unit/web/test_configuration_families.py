"""What `/metrics` says of the configuration."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from prometheus_client.metrics_core import Metric

from director_wsgi.reload_records import Running
from director_wsgi.web import configuration_families

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def families(running: Running, *, applied: int = 0, rejected: int = 0, lingering: int = 0) -> dict[str, Metric]:
    reloads: Any = SimpleNamespace(running=running, applied=applied, rejected=rejected)
    generations: Any = SimpleNamespace(lingering=lingering)
    return {one.name: one for one in configuration_families.of(reloads, generations)()}


def values(family: Metric) -> list[tuple[dict[str, str], float]]:
    return [(sample.labels, sample.value) for sample in family.samples]


def test_they_say_what_runs_what_waits_and_what_was_refused() -> None:
    running = Running(hash="0123456789abcdef", generation=3, since=5.0, pending=("a", "b"), rejected=("x",))
    found = families(running, applied=2, rejected=1, lingering=4)
    assert values(found["director_wsgi_configuration_workers"]) == [({"hash": "0123456789ab"}, 1)]
    assert values(found["director_wsgi_configuration_since_timestamp_seconds"]) == [({}, 5.0)]
    assert values(found["director_wsgi_configuration_pending"]) == [({}, 2)]
    assert values(found["director_wsgi_configuration_rejected"]) == [({}, 1)]
    assert values(found["director_wsgi_reloads"]) == [({"result": "applied"}, 2), ({"result": "rejected"}, 1)]
    assert values(found["director_wsgi_generations_lingering"]) == [({}, 4)]


def test_the_page_names_them() -> None:
    found = families(Running(hash="0", generation=1, since=0.0))
    named = set(re.findall(r"`(\w+)`", PAGE.read_text()))
    assert {one.name + ("_total" if one.type == "counter" else "") for one in found.values()} <= named
