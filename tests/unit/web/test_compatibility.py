"""`docs/compatibility.md` knows every route there is, and promises none that is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from flask import Flask

from director_wsgi.app import create_app
from director_wsgi.runtime import names, worker
from director_wsgi.runtime.config import Config
from director_wsgi.web import redirects
from director_wsgi.web.responses import STATUS_OF

DOCUMENT = (Path(__file__).parents[3] / "docs" / "compatibility.md").read_text()
STATES = {"same", "better", "absent"}
OF_OTHERS = ("Origin.", "Cache.", "Registry.", "Client.")


class Row(NamedTuple):
    methods: frozenset[str]
    path: str
    state: str
    why: str


def rows(heading: str) -> Iterator[list[str]]:
    """The cells of the table below a heading."""
    section = DOCUMENT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    for line in section.splitlines():
        if line.startswith("|") and not re.match(r"\|[-|]+\|$", line):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def endpoints() -> list[Row]:
    _head, *table = rows("Endpoints")
    return [
        Row(frozenset(re.findall(r"[A-Z]+", methods)), path.strip("`"), state, why)
        for methods, path, state, why in table
    ]


@pytest.fixture(scope="module")
def app() -> Flask:
    return create_app(Config(registry_url="https://registry.example.org"))


def shown(rule: str) -> str:
    """A rule of werkzeug's as the document writes it."""
    rule = rule.replace("<anything:name>", "{name}")  # which may have slashes in it
    return re.sub(r"<(\w+)>", r"{\1}", re.sub(r"<(?:anything|path):(\w+)>", r"*\1", rule))


def test_every_route_is_in_the_table(app: Flask) -> None:
    known = {row.path: row for row in endpoints() if row.state != "absent"}
    for rule in app.extensions["generations"].current.value.application.url_map.iter_rules():
        if rule.endpoint == "redirects.answer":
            continue  # the last route; its own rules are the next test's
        path = shown(rule.rule)
        row = known.get(path) or known.get(f"{path}/*path")
        assert row, f"{rule.rule} is not in docs/compatibility.md"
        assert rule.methods - row.methods <= {"HEAD", "OPTIONS"}, f"{rule.rule}: {rule.methods}"


def test_every_method_of_the_last_route_is_in_the_table() -> None:
    listed = {method for row in endpoints() if row.path == "/*path" for method in row.methods}
    assert set(redirects.METHODS) - listed == {"MKCOL", "MOVE"}  # behind the "…", as whatever else there may be


@pytest.mark.parametrize("row", [row for row in endpoints() if row.state != "absent"], ids=lambda row: row.path)
def test_what_the_table_calls_there_is_there(app: Flask, row: Row) -> None:
    path = re.sub(r"\*\w+", "x", re.sub(r"\{\w+\}", "x", row.path))
    refused_with = re.match(r"40\d", row.why)
    for method in row.methods:
        answer = app.test_client().open(path, method=method)
        if refused_with:
            assert answer.status_code == int(refused_with[0])
        else:
            assert b"There is no" not in answer.data


@pytest.mark.parametrize("row", [row for row in endpoints() if row.state == "absent"], ids=lambda row: row.path)
def test_what_the_table_calls_absent_is_refused_in_json(app: Flask, row: Row) -> None:
    path = re.sub(r"\*\w+", "x", re.sub(r"\{\w+\}", "x", row.path))
    if not path.startswith("/api/"):
        return  # an object like any other
    answer = app.test_client().open(path, method=min(row.methods or {"GET"}))
    assert answer.status_code in {404, 405}
    assert answer.get_json()["status"] == "error"


def test_every_row_has_a_state_and_a_reason_where_one_is_owed() -> None:
    for heading in ("Endpoints", "What a request may say", "What an answer says", "Parameters"):
        _head, *table = rows(heading)
        for *_what, state, why in table:
            assert state in STATES
            assert state == "same" or why


def test_every_status_of_an_error_is_in_the_table() -> None:
    _head, *table = rows("What an answer says")
    told = {int(status) for what, *_rest in table if what.startswith("status") for status in re.findall(r"\d+", what)}
    of_the_server = {status for _error, status, _words in worker._REFUSALS}
    assert {*STATUS_OF.values(), *of_the_server} <= told


def test_every_header_that_is_looked_at_is_in_the_table() -> None:
    _head, *table = rows("What a request may say")
    told = {name.upper().replace("-", "_") for what, *_rest in table for name in re.findall(r"`([\w-]+)`", what)}
    read: set[str] = set()
    for module in Path(redirects.__file__).parent.glob("*.py"):
        text = module.read_text()
        read.update(re.findall(r'"HTTP_([A-Z_]+)"', text))
        read.update(name.upper().replace("-", "_") for name in re.findall(r'headers\.get\("([\w-]+)"', text))
    assert {"AUTHORIZATION", "X_PELICAN_DEBUG"} <= read  # they were found at all
    assert read <= told


def parameters() -> dict[str, str]:
    _head, *table = rows("Parameters")
    return {name: state for names_, state, _why in table for name in re.findall(r"`([\w.]+)`", names_)}


def test_every_parameter_of_a_director_is_in_the_table() -> None:
    ours = {one.row.name for one in names.PARAMETERS if one.row.ours}
    pelicans = {name for name in names.BY_LOWER_NAME.values() if name not in ours}
    assert {name for name in pelicans if not name.startswith(OF_OTHERS)} <= parameters().keys()


def test_a_parameter_has_an_effect_if_and_only_if_the_table_says_so() -> None:
    effective = {name for one in names.PARAMETERS for name in (one.row.name, one.row.formerly)}
    for name, state in parameters().items():
        assert (name in effective) == (state != "absent"), name
