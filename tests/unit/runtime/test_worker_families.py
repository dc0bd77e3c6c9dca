"""What a worker's metrics say of its place."""

import os

import pytest

from director_wsgi.runtime import worker_families
from director_wsgi.runtime.balance import Register

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(("processors", "core"), [({3}, 3), ({0}, 0), ({0, 1}, worker_families.WANDERS)])
def test_they_tell_the_core_the_connections_and_what_was_done(
    monkeypatch: pytest.MonkeyPatch, processors: set[int], core: int
) -> None:
    register = Register()
    register.take(1)
    register.open(1)
    register.own.tell(7)
    monkeypatch.setattr(worker_families, "register", register)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: processors)
    told = {
        (sample.name, *sample.labels.values()): sample.value
        for family in worker_families.families()
        for sample in family.samples
    }
    assert told == {
        ("director_wsgi_worker_core",): core,
        ("director_wsgi_worker_connections",): 7,
        ("director_wsgi_log_lines_lost_total",): 0,
        ("director_wsgi_clients_arriving",): 0,
        ("director_wsgi_slow_clients_total", "silent"): 0,
        ("director_wsgi_slow_clients_total", "late"): 0,
        ("director_wsgi_slow_clients_total", "crowded_out"): 0,
        ("director_wsgi_balance_total", "left"): 0,
        ("director_wsgi_balance_total", "parted"): 0,
    }
