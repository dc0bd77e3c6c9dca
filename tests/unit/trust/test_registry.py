"""Laws of the questions to the registry."""

import json

import pytest

from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Answer
from director_wsgi.trust.registry import BadAnswer, NoAnswer, Registry
from tests.fakes import FakeClock
from tests.unit.trust.forge import Key, jwks
from tests.unit.trust.registries import API, URL, FakeRegistry, answer

KEY = Key()
PREFIX = "/origins/o1.example.org:8447"
STATUS = f"{API}/checkNamespaceStatus"
OPENID = f"{API}{PREFIX}/.well-known/openid-configuration"
KEYS = f"{API}{PREFIX}/.well-known/issuer.jwks"
ALLOWED = f"{API}/caches/allowedPrefixes"


@pytest.fixture
def fake() -> FakeRegistry:
    return FakeRegistry(KEY)


@pytest.fixture
def registry(fake: FakeRegistry) -> Registry:
    return Registry(fake, f"{URL}/")


@pytest.fixture
def deadline(clock: FakeClock) -> Deadline:
    return Deadline.after(5, clock)


def test_approval_is_asked_for_by_post(fake: FakeRegistry, registry: Registry, deadline: Deadline) -> None:
    assert registry.is_approved(PREFIX, deadline)
    ((method, path, body),) = fake.asked
    assert (method, path, json.loads(body or b"")) == ("POST", STATUS, {"prefix": PREFIX})


def test_a_prefix_may_be_unapproved(fake: FakeRegistry, registry: Registry, deadline: Deadline) -> None:
    fake.unapproved.add(PREFIX)
    assert not registry.is_approved(PREFIX, deadline)


def test_a_registry_that_knows_no_approvals_approves(
    fake: FakeRegistry, registry: Registry, deadline: Deadline
) -> None:
    fake.overrides[STATUS] = answer(404)
    assert registry.is_approved(PREFIX, deadline)


def test_keys_are_where_the_openid_configuration_says(
    fake: FakeRegistry, registry: Registry, deadline: Deadline
) -> None:
    fake.overrides[OPENID] = answer(200, {"jwks_uri": "https://elsewhere.example.org/keys"})
    fake.overrides["/keys"] = answer(body=jwks(KEY))
    assert registry.key_set(PREFIX, deadline).with_id("k1")
    assert [path for _, path, _ in fake.asked] == [OPENID, "/keys"]


def test_keys_are_beside_a_missing_openid_configuration(
    fake: FakeRegistry, registry: Registry, deadline: Deadline
) -> None:
    fake.overrides[OPENID] = answer(404)
    assert registry.key_set(PREFIX, deadline).with_id("k1")
    assert [path for _, path, _ in fake.asked] == [OPENID, KEYS]


def test_a_prefix_cannot_leave_its_place_in_the_url(registry: Registry, fake: FakeRegistry, deadline: Deadline) -> None:
    registry.key_set("/a b?c#d%2e", deadline)
    assert fake.paths[0] == "/a b?c#d%2e/.well-known/openid-configuration"  # unquoted once


def test_the_table_of_allowed_prefixes_is_read(fake: FakeRegistry, registry: Registry, deadline: Deadline) -> None:
    fake.allowed = {"C1.example.org": ["/demo", "/demo", "/ro"], "c2": []}
    assert registry.allowed_prefixes(deadline) == {"c1.example.org": frozenset({"/demo", "/ro"}), "c2": frozenset()}


def ask_all(registry: Registry, path: str, deadline: Deadline) -> object:
    match path:
        case "status":
            return registry.is_approved(PREFIX, deadline)
        case "allowed":
            return registry.allowed_prefixes(deadline)
        case _:
            return registry.key_set(PREFIX, deadline)


PATHS = {"status": STATUS, "openid": OPENID, "keys": KEYS, "allowed": ALLOWED}


@pytest.mark.parametrize("question", PATHS)
@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_registry_that_cannot_answer_now_gives_no_answer(
    fake: FakeRegistry, registry: Registry, deadline: Deadline, question: str, status: int
) -> None:
    fake.overrides[PATHS[question]] = answer(status, {"msg": "x"})
    with pytest.raises(NoAnswer, match=str(status)):
        ask_all(registry, question, deadline)


@pytest.mark.parametrize("question", PATHS)
def test_a_registry_that_is_away_gives_no_answer_and_its_name_is_not_shown(
    fake: FakeRegistry, registry: Registry, deadline: Deadline, question: str
) -> None:
    fake.is_away = True
    with pytest.raises(NoAnswer, match="timed out") as caught:
        ask_all(registry, question, deadline)
    assert "example.org" not in str(caught.value)


@pytest.mark.parametrize("question", PATHS)
def test_a_refused_question_settles_the_matter(
    fake: FakeRegistry, registry: Registry, deadline: Deadline, question: str
) -> None:
    fake.overrides[PATHS[question]] = answer(400, {"status": "error", "msg": "unknown\nprefix"})
    with pytest.raises(BadAnswer, match="the registry answered 400: unknownprefix") as caught:
        ask_all(registry, question, deadline)
    assert caught.value.settles


SENSELESS = [
    answer(301),
    answer(204),
    answer(body=b"<html>"),
    answer(body=b"\xff"),
    answer(body=b"[" * 100_000),
    answer(200, []),
    answer(200, None),
    answer(200, "x"),
]


@pytest.mark.parametrize("question", PATHS)
@pytest.mark.parametrize("senseless", SENSELESS, ids=range(len(SENSELESS)))
def test_an_answer_without_sense_settles_nothing(
    fake: FakeRegistry, registry: Registry, deadline: Deadline, question: str, senseless: Answer
) -> None:
    fake.overrides[PATHS[question]] = senseless
    with pytest.raises(BadAnswer) as caught:
        ask_all(registry, question, deadline)
    assert not caught.value.settles


@pytest.mark.parametrize(
    ("question", "value"),
    [
        ("status", {}),
        ("status", {"approved": "yes"}),
        ("status", {"approved": 1}),
        ("openid", {}),
        ("openid", {"jwks_uri": 5}),
        ("openid", {"jwks_uri": "file:///etc/passwd"}),
        ("openid", {"jwks_uri": "/relative"}),
        ("openid", {"jwks_uri": "https://[::1"}),
        ("openid", {"jwks_uri": "https://"}),
        ("keys", {"keys": None}),
        ("allowed", {"c1": "/demo"}),
        ("allowed", {"c1": [5]}),
    ],
)
def test_an_answer_of_the_wrong_shape_settles_nothing(
    fake: FakeRegistry, registry: Registry, deadline: Deadline, question: str, value: object
) -> None:
    fake.overrides[PATHS[question]] = answer(200, value)
    with pytest.raises(BadAnswer) as caught:
        ask_all(registry, question, deadline)
    assert not caught.value.settles


def test_a_reason_is_shown_only_as_far_as_it_can_be(fake: FakeRegistry, registry: Registry, deadline: Deadline) -> None:
    fake.overrides[STATUS] = answer(403, {"error": "x" * 10_000})
    with pytest.raises(BadAnswer) as caught:
        registry.is_approved(PREFIX, deadline)
    assert len(str(caught.value)) < 300
