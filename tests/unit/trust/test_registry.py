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
NAME = f"{API}/server{PREFIX}"
DOWNTIMES = "/api/v1.0/downtime"


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


def test_names_are_those_of_registrations(fake: FakeRegistry, registry: Registry, deadline: Deadline) -> None:
    fake.names[PREFIX] = "ORIGIN_1"
    assert registry.registered_name(PREFIX, deadline) == "ORIGIN_1"
    assert [(method, path) for method, path, _ in fake.asked] == [("GET", NAME)]


def test_a_server_that_is_not_registered_cannot_be_told_from_trouble(registry: Registry, deadline: Deadline) -> None:
    with pytest.raises(NoAnswer, match="500") as caught:
        registry.registered_name(PREFIX, deadline)
    assert not caught.value.is_general


def test_downtimes_are_handed_on_as_they_are(fake: FakeRegistry, registry: Registry, deadline: Deadline) -> None:
    fake.downtimes = [{"id": "x", "startTime": 1}, 5, None]
    assert registry.downtimes(deadline) == fake.downtimes
    assert [(method, path) for method, path, _ in fake.asked] == [("GET", DOWNTIMES)]


@pytest.mark.parametrize("value", [{}, None, "x", 5, [0] * 20_001], ids=range(5))
def test_what_is_no_list_of_downtimes_settles_nothing(
    fake: FakeRegistry, registry: Registry, deadline: Deadline, value: object
) -> None:
    fake.overrides[DOWNTIMES] = answer(200, value)
    with pytest.raises(BadAnswer) as caught:
        registry.downtimes(deadline)
    assert not caught.value.settles


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_refusal_in_other_words_than_the_registrys_settles_nothing(
    fake: FakeRegistry, registry: Registry, deadline: Deadline, status: int
) -> None:
    assert registry.is_approved("/other", deadline)  # so that 404 does not mean that it is too old
    for question, path in PATHS.items():
        fake.overrides[path] = answer(status, body=b"<html>default backend")
        if (question, status) == ("openid", 404):
            continue  # keys are looked for beside it
        with pytest.raises(BadAnswer) as caught:
            ask_all(registry, question, deadline)
        assert not caught.value.settles
        assert caught.value.is_general or status == 404


def test_a_registry_that_has_spoken_of_approvals_is_not_too_old_for_them_later(
    fake: FakeRegistry, registry: Registry, deadline: Deadline
) -> None:
    fake.unapproved.add(PREFIX)
    assert not registry.is_approved(PREFIX, deadline)
    fake.overrides[STATUS] = answer(404)
    with pytest.raises(BadAnswer) as caught:
        registry.is_approved(PREFIX, deadline)
    assert not caught.value.settles


@pytest.mark.parametrize(
    ("status", "is_general"), [(500, False), (501, False), (502, True), (503, True), (504, True), (429, True)]
)
def test_some_statuses_say_something_of_the_registry_and_some_perhaps_of_the_question(
    fake: FakeRegistry, registry: Registry, deadline: Deadline, status: int, is_general: bool
) -> None:
    fake.overrides[STATUS] = answer(status)
    with pytest.raises(NoAnswer) as caught:
        registry.is_approved(PREFIX, deadline)
    assert caught.value.is_general is is_general


def test_trouble_with_keys_that_are_elsewhere_is_not_the_registrys(
    fake: FakeRegistry, registry: Registry, deadline: Deadline
) -> None:
    fake.overrides[OPENID] = answer(200, {"jwks_uri": "https://elsewhere.example.org/keys"})
    fake.overrides["/keys"] = answer(503)
    with pytest.raises(NoAnswer) as caught:
        registry.key_set(PREFIX, deadline)
    assert not caught.value.is_general


def test_a_set_of_keys_none_of_which_can_be_used_is_none_but_an_empty_one_is(
    fake: FakeRegistry, registry: Registry, deadline: Deadline
) -> None:
    for odd in (
        [{}],
        [None, 5],
        [{"kty": "oct", "kid": "k1", "k": "c2VjcmV0"}],
        [{"kty": "RSA", "n": "AQ", "e": "AQAB"}],
    ):
        fake.overrides[KEYS] = answer(200, {"keys": odd})
        with pytest.raises(BadAnswer, match="no key that can be used") as caught:
            registry.key_set(PREFIX, deadline)
        assert not caught.value.settles
    fake.overrides[KEYS] = answer(200, {"keys": [*odd, KEY.jwk]})
    assert registry.key_set(PREFIX, deadline).with_id("k1")
    fake.overrides[KEYS] = answer(200, {"keys": []})
    assert not registry.key_set(PREFIX, deadline).keys


def test_keys_may_be_in_the_clear_only_if_the_registry_is(fake: FakeRegistry, deadline: Deadline) -> None:
    fake.overrides[OPENID] = answer(200, {"jwks_uri": "http://elsewhere.example.org/keys"})
    fake.overrides["/keys"] = answer(body=jwks(KEY))
    with pytest.raises(BadAnswer, match="jwks_uri"):
        Registry(fake, "https://registry.example.org").key_set(PREFIX, deadline)
    assert Registry(fake, "http://registry.example.org").key_set(PREFIX, deadline).with_id("k1")


def ask_all(registry: Registry, path: str, deadline: Deadline) -> object:
    match path:
        case "status":
            return registry.is_approved(PREFIX, deadline)
        case "allowed":
            return registry.allowed_prefixes(deadline)
        case "name":
            return registry.registered_name(PREFIX, deadline)
        case "downtimes":
            return registry.downtimes(deadline)
        case _:
            return registry.key_set(PREFIX, deadline)


PATHS = {"status": STATUS, "openid": OPENID, "keys": KEYS, "allowed": ALLOWED, "name": NAME, "downtimes": DOWNTIMES}


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
    answer(200, 5),
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
