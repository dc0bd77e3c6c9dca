"""Laws of the span of a request, and of the page about tracing."""

import re
from pathlib import Path

import pytest

from director_wsgi.runtime.tracing.attributes import ALLOWED
from director_wsgi.runtime.tracing.variables import ROW_OF
from director_wsgi.web.tracing import OBJECT_ROUTES, ROUTE, TRACE, UNTRACED, begin, end, is_untraced, noting_route
from tests.fakes import FakeClock
from tests.unit.runtime.tracing.doubles import Kept, tracer

JOB = "6e5b8e14-3a52-4f0e-9f2c-2b8f1a1d9c33"
PAGE = (Path(__file__).parents[3] / "docs" / "tracing.md").read_text()


def told(clock: FakeClock, wall: FakeClock, status: int = 307, **environ: str) -> dict[str, object]:
    kept = Kept()
    one = tracer(kept, clock, wall)
    request = {"REQUEST_METHOD": "GET", **environ}
    end(begin(one, request, JOB), one, request, JOB, status)
    (span,) = kept.spans
    return {"name": span.name, "error": span.error, **span.attributes}


def test_a_request_is_called_by_method_and_route(clock: FakeClock, wall: FakeClock) -> None:
    assert told(clock, wall, **{ROUTE: "/{path}"})["name"] == "GET /{path}"
    assert told(clock, wall)["name"] == "GET"


def test_methods_that_clients_invent_are_not_told(clock: FakeClock, wall: FakeClock) -> None:
    span = told(clock, wall, REQUEST_METHOD="C4NARY")
    assert (span["name"], span["http.request.method"]) == ("HTTP", "_OTHER")


@pytest.mark.parametrize(
    ("user_agent", "client"),
    [
        ("pelican-client/7.20.0", "pelican-client/7.20.0"),
        ("pelican-canary/7.20.0", None),
        ("pelican-client/7.20.0 project/x", None),
        ("curl/8", None),
    ],
)
def test_only_programs_that_are_known_are_told(
    user_agent: str, client: str | None, clock: FakeClock, wall: FakeClock
) -> None:
    assert told(clock, wall, HTTP_USER_AGENT=user_agent).get("pelican.client") == client


@pytest.mark.parametrize(("status", "error"), [(200, ""), (404, ""), (429, ""), (500, "500"), (0, "exception")])
def test_what_failed_here_is_an_error_and_what_was_refused_is_none(
    status: int, error: str, clock: FakeClock, wall: FakeClock
) -> None:
    assert told(clock, wall, status)["error"] == error


@pytest.mark.parametrize("path", sorted(UNTRACED))
def test_probes_are_not_traced(path: str) -> None:
    assert is_untraced({"RAW_URI": f"{path}?verbose", "PATH_INFO": "/"})
    assert is_untraced({"PATH_INFO": path})
    assert not is_untraced({"RAW_URI": f"{path}/x"})


def test_a_route_is_noted_only_where_it_will_be_told() -> None:
    def app(_environ: dict[str, object], start: object) -> list[bytes]:
        return [b"as it was" if start is given else b"wrapped"]

    given = object()
    assert noting_route(app)({TRACE: None}, given) == [b"as it was"]  # type: ignore[arg-type]


def test_the_page_names_every_attribute_every_variable_and_every_route() -> None:
    assert set(re.findall(r"^\| (.*?) \|", PAGE, re.MULTILINE)) >= {"attribute", "variable"}
    for name in (*ALLOWED, *ROW_OF, *ROW_OF.values(), *UNTRACED, OBJECT_ROUTES[0], OBJECT_ROUTES[-1]):
        assert f"`{name}`" in PAGE or f" {name}\n" in PAGE, name
