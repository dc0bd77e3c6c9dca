"""`/metrics` of a whole director: what clients do is counted, the page describes exactly what is there."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from director_wsgi.outbound.client import Failure
from tests.unit.conformance.conftest import World

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"

MakeWorld = Callable[..., World]


def scrape(world: World) -> list[Metric]:
    answer = world.call("GET", "/metrics", plain=True)
    assert answer.status_code == 200
    return list(text_string_to_metric_families(answer.text))


def lines(world: World, name: str) -> list[str]:
    text = world.call("GET", "/metrics", plain=True).text
    return [line.removeprefix(name) for line in text.splitlines() if line.startswith(name + "{")]


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return make_world(metric_authorization=False)


def test_redirects_are_counted_by_where_they_lead_and_for_whom(world: World) -> None:
    world.call("GET", "/demo/x")
    world.call("GET", "/demo/y")
    world.call("GET", "/demo/x", User_Agent="curl/8.0.0")
    world.call("PUT", "/demo/x")
    world.call("GET", "/demo/x?redirect=false")
    world.call("GET", "/no/such")

    assert lines(world, "pelican_director_redirects_total") == [
        '{destination="cache",status_code="307",version="7.20.0"} 2.0',
        '{destination="cache",status_code="307",version="unknown"} 1.0',
        '{destination="origin",status_code="307",version="7.20.0"} 1.0',
        '{destination="cache",status_code="200",version="7.20.0"} 1.0',
    ]
    assert lines(world, "director_wsgi_decisions_total") == [
        '{outcome="redirected",with_evidence="true"} 5.0',
        '{outcome="NoNamespace",with_evidence="true"} 1.0',
    ]


def test_a_guess_is_counted_as_one(world: World) -> None:
    world.network.behaviours = {"o3": Failure.TIMED_OUT, "o4": Failure.TIMED_OUT}
    world.call("GET", "/multi/x")
    assert lines(world, "director_wsgi_decisions_total") == ['{outcome="redirected",with_evidence="false"} 1.0']

    world.clock.advance(60)
    world.network.behaviours = {"o3": (404, {}), "o4": (404, {})}
    world.call("GET", "/multi/x")
    assert lines(world, "director_wsgi_decisions_total")[1:] == ['{outcome="ObjectNotFound",with_evidence="true"} 1.0']


def test_servers_that_were_asked_are_told(world: World) -> None:
    world.network.behaviours = {"o3": (200, {"Content-Length": "1"}), "o4": (200, {"Content-Length": "1"})}
    world.call("GET", "/multi/x?directread")
    told = {labels.split('"')[1] for labels in lines(world, "director_wsgi_breaker_state")}
    assert told == {"ORIGIN_3", "ORIGIN_4"}


def test_neither_path_nor_token_nor_address_of_a_client_is_told(world: World) -> None:
    world.network.behaviours = {"o3": (404, {}), "o4": (403, {})}
    for target in ("/demo/SECRET", "/multi/SECRET", "/SECRET", "/SECRET?authz=SECRET", "/demo/x?authz=SECRET"):
        world.call("GET", target, Authorization="Bearer SECRET", X_Forwarded_For="192.0.2.10")
    text = world.call("GET", "/metrics", plain=True).text
    assert "SECRET" not in text
    assert "192.0.2" not in text


def test_the_page_names_every_metric_and_no_other(make_world: MakeWorld) -> None:
    world = make_world(metric_authorization=False)
    told = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in scrape(world)
        if family.name != "director_wsgi_prefix_table_age_seconds"  # once the registry has told it
    }
    page = PAGE.read_text()
    table = page[page.index("## All of them") : page.index("The gates, in")]
    named = {name for row in re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert named - {"director_wsgi_prefix_table_age_seconds"} == told

    gates = page[page.index("| gate | |") : page.index("## What to look at")]
    assert re.findall(r"^\| `(\w+)`", gates, re.MULTILINE) == [
        labels.split('"')[1] for labels in lines(world, "director_wsgi_stat_gate_total")
    ]


def test_no_family_is_told_twice_and_each_has_help(world: World) -> None:
    families = scrape(world)
    names = [family.name for family in families]
    assert [name for name in names if names.count(name) > 1] == []
    assert [family.name for family in families if len(family.documentation) < 5] == []


def test_the_door_is_shut_by_default(make_world: MakeWorld) -> None:
    answer = make_world().call("GET", "/metrics", plain=True)
    assert answer.status_code == 403
    assert "director_wsgi" not in answer.text
