"""Laws of what an operator may say of tracing, and of OpenTelemetry's variables beside it."""

from collections.abc import Callable

import pytest

from director_wsgi.runtime import reference
from director_wsgi.runtime.config import Config
from director_wsgi.runtime.names import BY_LOWER_NAME
from director_wsgi.runtime.tracing import extra, variables
from director_wsgi.runtime.tracing.kinds import TracedRoute
from director_wsgi.runtime.tracing.spec import spec_of

Load = Callable[..., Config]
Problems = Callable[..., tuple[str, ...]]

ON = "Tracing: {Enabled: true}\n"


def test_nothing_is_traced_unless_it_is_wanted(loaded: Load) -> None:
    assert spec_of(loaded(OTEL_EXPORTER_OTLP_ENDPOINT="http://collector.test:4318")) is None
    assert spec_of(loaded(ON)) is not None


def test_ours_win_over_opentelemetrys_which_win_over_defaults(loaded: Load) -> None:
    variables_ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.test:4318/",
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=a%20b,Authorization=Bearer%20s3cret",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1500",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.25",
        "OTEL_SERVICE_NAME": "osdf-director",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=prod,team=a%2Cb,service.name=other",
    }
    config = loaded(ON, **variables_)
    spec = spec_of(config)
    assert spec is not None
    assert spec.endpoint == "http://collector.test:4318/v1/traces"
    assert spec.headers == (("api-key", "a b"), ("Authorization", "Bearer s3cret"))
    assert (spec.timeout_s, spec.ratio) == (1.5, 0.25)
    resource = dict(spec.resource)
    assert resource["service.name"] == "osdf-director"
    assert resource["team"] == "a,b"
    assert config.sources["tracing_timeout_s"] == "OTEL_EXPORTER_OTLP_TIMEOUT"
    assert loaded("Tracing: {Enabled: true, ExportTimeout: 2s}\n", **variables_).tracing_timeout_s == 2.0
    assert loaded(ON, PELICAN_TRACING_SAMPLERRATIO="0.5", **variables_).tracing_ratio == 0.5
    assert loaded(ON).tracing_timeout_s == 3.0


def test_the_variables_of_traces_win_over_those_of_all_signals(loaded: Load) -> None:
    config = loaded(
        ON,
        OTEL_EXPORTER_OTLP_ENDPOINT="http://all.test:4318",
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="http://traces.test:4318/here",
    )
    assert config.tracing_endpoint == "http://traces.test:4318/here"


def test_what_is_set_for_a_whole_site_breaks_no_director_that_does_not_trace(loaded: Load, problems: Problems) -> None:
    wrong = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_BSP_MAX_QUEUE_SIZE": "many"}
    loaded(**wrong)
    first, second = problems(ON, **wrong)
    assert "Tracing.Protocol = 'grpc' (OTEL_EXPORTER_OTLP_PROTOCOL): expected http/protobuf" in first
    assert "Tracing.QueueSize = 'many' (OTEL_BSP_MAX_QUEUE_SIZE)" in second


@pytest.mark.parametrize(("variable", "off"), [("OTEL_SDK_DISABLED", "True"), ("OTEL_TRACES_EXPORTER", "none")])
def test_the_switches_of_opentelemetry_switch_it_off(loaded: Load, variable: str, off: str) -> None:
    config = loaded(ON, **{variable: off})
    assert spec_of(config) is None
    assert any(variable in warning for warning in config.warnings)
    assert not loaded(**{variable: off}).warnings
    assert spec_of(loaded(ON, **{variable: "otlp"})) is not None


def test_every_variable_sets_a_row_of_ours() -> None:
    assert {row.lower() for row in variables.ROW_OF.values()} <= BY_LOWER_NAME.keys()


def test_headers_are_shown_to_nobody(loaded: Load, problems: Problems) -> None:
    text = "Tracing:\n  Enabled: true\n  Headers: [Authorization=Bearer s3cret]\n"
    config = loaded(text)
    assert dict(config.tracing_headers) == {"Authorization": "Bearer s3cret"}
    assert "s3cret" not in repr(spec_of(config))
    assert not [line for line in reference.values(config) if "s3cret" in line]
    for wrong in ("[no-equals-s3cret]", "['x=s3crét']", "['Host=s3cret']", "['a b=s3cret']", "{a: s3cret}"):
        (problem,) = problems(text.replace("[Authorization=Bearer s3cret]", wrong))
        assert "Tracing.Headers" in problem
        assert "s3cr" not in problem


def test_without_the_packages_one_sentence_says_which_command_installs_them(
    loaded: Load, problems: Problems, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extra, "is_installed", lambda: False)
    loaded()
    (problem,) = problems(ON)
    assert "pip install 'director-wsgi[tracing]'" in problem


def test_packages_that_are_not_there_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert extra.is_installed()

    def missing(_name: str) -> None:
        raise ModuleNotFoundError

    monkeypatch.setattr(extra, "find_spec", missing)
    assert not extra.is_installed()


def test_a_batch_fits_into_the_queue(problems: Problems) -> None:
    (problem,) = problems("Tracing: {Enabled: true, QueueSize: 100}\n")
    assert problem == "Tracing.BatchSize = 512: expected at most Tracing.QueueSize, which is 100"


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("SamplerRatio: 1.5", "expected 0 to 1"),
        ("SamplerRatio: nan", "expected a number"),
        ("Sampler: sometimes", "expected always_on"),
        ("Endpoint: collector:4318", "expected an http or https URL"),
        ("Compression: zstd", "expected none or gzip"),
        ("ResourceAttributes: ['a b=c']", "expected names of letters"),
        ("Routes: [{Span: x}]", "expected Route"),
        ("Routes: [{Route: /x, Spam: y}]", "expected Route"),
        ("Routes: [{Route: /x, Span: '{token}'}]", "expected no placeholders but {method} and {route}"),
        ("Routes: [{Route: /x}, {Route: /x}]", "expected no route twice"),
        ("Enabeld: true", "there is no such parameter; the nearest is Tracing.Enabled"),
    ],
)
def test_what_is_wrong_is_said_at_the_start(problems: Problems, setting: str, complaint: str) -> None:
    (problem,) = problems(f"Tracing: {{{setting}}}\n")
    assert complaint in problem
    assert problem.startswith("Tracing.")


def test_routes_may_have_names_and_attributes_of_their_own(loaded: Load) -> None:
    text = (
        "Tracing:\n  Routes:\n  - Route: /{path}\n    Span: 'redirect {method}'\n"
        "    Attributes: [team=storage, 'where={route}']\n"
    )
    (route,) = loaded(text).tracing_routes
    assert route == TracedRoute(
        route="/{path}", span="redirect {method}", attributes=(("team", "storage"), ("where", "{route}"))
    )
    assert route.named("GET") == "redirect GET"
    assert route.said("GET") == (("team", "storage"), ("where", "/{path}"))
    assert TracedRoute(route="/x").named("PUT") == "PUT /x"
