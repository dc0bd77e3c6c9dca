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

SOMETIMES = {
    "director_wsgi_prefix_table_age_seconds",  # once the registry has told it
    "director_wsgi_state_backup_age_seconds",  # where there is a disk, and once it has been written
    "director_wsgi_federation_keys_age_seconds",  # once another host that has them has told them
    # where somebody watches the configuration
    "director_wsgi_configuration_workers",
    "director_wsgi_configuration_since_timestamp_seconds",
    "director_wsgi_configuration_pending",
    "director_wsgi_configuration_rejected",
    "director_wsgi_reloads_total",
    "director_wsgi_generations_lingering",
    # where gunicorn serves
    "director_wsgi_worker_core",
    "director_wsgi_worker_connections",
    "director_wsgi_balance_total",
    "director_wsgi_clients_arriving",
    "director_wsgi_slow_clients_total",
    "director_wsgi_log_lines_lost_total",
}


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
        '{destination="cache",network="192.0.2.0/24",status_code="307",version="7.20.0"} 2.0',
        '{destination="cache",network="192.0.2.0/24",status_code="307",version="unknown"} 1.0',
        '{destination="origin",network="192.0.2.0/24",status_code="307",version="7.20.0"} 1.0',
        '{destination="cache",network="192.0.2.0/24",status_code="200",version="7.20.0"} 1.0',
    ]
    for name in ("pelican_director_client_requests_total", "pelican_director_client_version_total"):
        assert lines(world, name) == ['{service="client",version="7.20"} 5.0']
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


def test_what_servers_answered_is_counted_whether_asked_or_remembered(world: World) -> None:
    world.network.behaviours = {"o3": (200, {"Content-Length": "1"}), "o4": (404, {})}
    for _ in range(3):
        world.call("GET", "/multi/x?directread")
    told = [
        (*re.findall(r'(?:cached_result|result|server_name)="(\w+)"', labels), labels.rpartition(" ")[2])
        for labels in lines(world, "pelican_director_stat_total")
    ]
    assert told == [
        ("false", "Succeeded", "ORIGIN_3", "1.0"),
        ("true", "Succeeded", "ORIGIN_3", "2.0"),
        ("false", "NotFound", "ORIGIN_4", "1.0"),
        ("true", "NotFound", "ORIGIN_4", "2.0"),
    ]
    assert 'pelican_director_map_items_total{name="serverStatEntries"} 2.0' in world.call("GET", "/metrics").text


def test_neither_path_nor_token_is_told_and_of_an_address_the_network_alone(world: World) -> None:
    world.network.behaviours = {"o3": (404, {}), "o4": (403, {})}
    for target in ("/demo/SECRET", "/multi/SECRET", "/SECRET", "/SECRET?authz=SECRET", "/demo/x?authz=SECRET"):
        world.call("GET", target, Authorization="Bearer SECRET", X_Forwarded_For="192.0.2.10")
    text = world.call("GET", "/metrics", plain=True).text
    assert "SECRET" not in text
    assert "192.0.2.10" not in text
    assert 'network="192.0.2.0/24"' in text


def test_the_page_names_every_metric_and_no_other(make_world: MakeWorld) -> None:
    world = make_world(metric_authorization=False)
    told = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in scrape(world)
        if family.name not in SOMETIMES
    }
    page = PAGE.read_text()
    table = page[page.index("## All of them") : page.index("The gates, in")]
    named = {name for row in re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert named - SOMETIMES == told

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
