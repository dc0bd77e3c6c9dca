"""A scrape as Prometheus makes it: of a running director, with a token that the command line made."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.process.child import SETTINGS, Child, get, run
from tests.process.conftest import ENVIRON, make_pair

ARGUMENTS = ("-c", str(SETTINGS), "-b", "127.0.0.1:0")  # the settings name the application
COMMAND = Path(sys.executable).with_name("director-wsgi")


class Served(NamedTuple):
    child: Child
    token: str

    def samples(self) -> Mapping[tuple[str, str], float]:
        """Every sample by its name and its last label."""
        answer = self.child.ask(get("/metrics", f"Authorization: Bearer {self.token}"))
        assert answer.status == 200, answer
        assert answer.all("Content-Type") == ["text/plain; version=0.0.4; charset=utf-8"]
        return {
            (sample.name, next(iter(sample.labels.values()), "")): sample.value
            for family in text_string_to_metric_families(answer.body.decode())
            for sample in family.samples
        }


def token(environ: Mapping[str, str], directory: Path) -> str:
    made = subprocess.run(
        [COMMAND, "token", "--scope", "monitoring.scrape"],
        cwd=directory,
        env={**environ, "HOME": str(directory)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return made.stdout.strip()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("metrics")
    environ = ENVIRON | {
        "PELICAN_SERVER_EXTERNALWEBURL": "https://director.example.org",
        "PELICAN_ISSUERKEY": str(make_pair(directory).key),
    }
    with run(directory, *ARGUMENTS, environ=environ) as child:
        child.wait_until_ready()
        yield Served(child, token(environ, directory))


def test_a_director_tells_of_its_rooms_and_its_process(served: Served) -> None:
    samples = served.samples()

    assert samples["director_wsgi_lanes", "limit"] == 28  # 32 threads, 4 of them reserved
    assert samples["director_wsgi_stat_threads", "limit"] == 256
    assert samples["director_wsgi_threads", "upkeep"] == 1
    assert samples["pelican_director_ttl_cache", "serverAds"] == 0
    assert 0 < samples["process_open_fds", ""] < samples["process_max_fds", ""]


def test_what_was_asked_is_counted(served: Served) -> None:
    outcome = ("director_wsgi_decisions_total", "Starting")
    seconds = ("director_wsgi_redirect_seconds_count", "")
    before = served.samples()
    assert served.child.ask(get("/no/such/namespace")).status == 429
    after = served.samples()

    assert after[outcome] - before.get(outcome, 0) == 1
    assert after[seconds] - before[seconds] == 1


def test_nobody_else_sees_them_and_only_they_are_guarded(served: Served) -> None:
    answer = served.child.ask(get("/metrics"))

    assert answer.status == 403
    assert json.loads(answer.body) == {
        "status": "error",
        "msg": "Authentication is required but no token is present.",
    }
    head, payload, signature = served.token.split(".")
    for forged in (f"{head}.{payload}.{signature[::-1]}", f"{head}.{payload}.", payload):
        assert served.child.ask(get("/metrics", f"Authorization: Bearer {forged}")).status == 403
    assert served.child.ask(get("/metricsfoo/x")).status == 429  # an object of a namespace that may yet come
    assert served.token not in served.child.output


def test_an_operator_may_open_them_to_everybody(tmp_path: Path) -> None:
    environ = ENVIRON | {"PELICAN_MONITORING_METRICAUTHORIZATION": "false"}
    with run(tmp_path, *ARGUMENTS, environ=environ) as child:
        answer = child.wait_until_ready().ask(get("/metrics"))

    assert answer.status == 200
    assert b"director_wsgi_build_info" in answer.body
