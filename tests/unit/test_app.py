"""What stands in front of all routes."""

from collections.abc import Iterator
from dataclasses import replace as changed
from types import SimpleNamespace

import pytest

from director_wsgi.app import Doorway, create_app
from director_wsgi.limits.deadline import Deadline
from director_wsgi.runtime.config import Config
from director_wsgi.runtime.generations import Generations
from director_wsgi.runtime.leases import Leases
from director_wsgi.runtime.periodic import PeriodicJob


class Body:
    def __iter__(self) -> Iterator[bytes]:
        yield b"answer"

    def close(self) -> None:
        raise ConnectionResetError


@pytest.fixture
def generations() -> Generations[SimpleNamespace]:
    served = SimpleNamespace(application=SimpleNamespace(wsgi_app=lambda _environ, _start: Body()))
    return Generations(Leases(), lambda _: served, deadline=Deadline.after(1.0))


def replace(generations: Generations[SimpleNamespace]) -> None:
    generations.replace(lambda _: generations.current.value, adopt=lambda _: None, deadline=Deadline.after(1.0))


def test_a_request_holds_its_generation_until_its_answer_is_sent(generations: Generations[SimpleNamespace]) -> None:
    body = Doorway(generations)({}, lambda *_: None)  # type: ignore[arg-type]
    replace(generations)
    assert generations.lingering == 1
    assert list(body) == [b"answer"]
    assert generations.lingering == 1

    with pytest.raises(ConnectionResetError):
        body.close()  # type: ignore[attr-defined]
    assert generations.lingering == 0


def test_a_request_that_fails_holds_nothing(generations: Generations[SimpleNamespace]) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    generations.current.value.application.wsgi_app = fail
    with pytest.raises(MemoryError):
        Doorway(generations)({}, lambda *_: None)  # type: ignore[arg-type]
    replace(generations)

    assert generations.lingering == 0


def test_who_sleeps_until_the_next_poll_of_the_registry_is_woken_if_the_interval_is_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    woken: list[str] = []
    monkeypatch.setattr(PeriodicJob, "wake", lambda job: woken.append(repr(job)))
    config = Config(registry_url="https://registry.example.org", state_location=None)
    monkeypatch.setattr("director_wsgi.app.set_level", lambda level: None)  # it is the process's
    reload = create_app(config).extensions["reload"]
    reload(changed(config, stat_timeout_s=3.0))
    assert not woken

    reload(changed(config, registry_query_interval_s=1.0))
    assert {"<PeriodicJob director-prefixes>", "<PeriodicJob director-downtimes>"} <= set(woken)


def test_no_rule_is_prepared_for_making_urls_which_nothing_asks_for() -> None:
    app = create_app(Config(registry_url="https://registry.example.org", state_location=None))
    routes = app.extensions["generations"].current.value.application.url_map
    urls = routes.bind("director.example.org")
    endpoints = {rule.endpoint for rule in routes.iter_rules()}
    assert endpoints

    for endpoint in endpoints:
        with pytest.raises(RuntimeError, match="makes no URL"):
            urls.build(endpoint, force_external=True, values={"path": "x", "name": "x", "anything": "x"})
