"""Laws of what is believed of a prefix, when the registry is asked, and who waits for it."""

from typing import Any

import pytest

from director_wsgi.errors import RegistryUnavailable
from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Answer
from director_wsgi.trust.inquiry import (
    APPROVAL_LIFETIME_S,
    KEYS_LIFETIME_S,
    NAME_LIFETIME_S,
    PERMITS,
    REFETCH_INTERVAL_S,
    Inquiries,
)
from director_wsgi.trust.questions import RETRY_S
from director_wsgi.trust.registry import BadAnswer, Registry
from director_wsgi.trust.silence import LONGEST_PAUSE_S
from tests.fakes import FakeClock
from tests.unit.trust.forge import Key
from tests.unit.trust.registries import API, URL, FakeRegistry, HandPool, answer

KEY = Key()
STATUS = f"{API}/checkNamespaceStatus"
OPENID = f"{API}/a/.well-known/openid-configuration"
KEYS = f"{API}/a/.well-known/issuer.jwks"
NAME = f"{API}/server/a"
HTML = answer(body=b"<html>Maintenance")


@pytest.fixture
def fake() -> FakeRegistry:
    return FakeRegistry(KEY)


@pytest.fixture
def pool() -> HandPool:
    return HandPool()


@pytest.fixture
def inquiries(fake: FakeRegistry, pool: HandPool, clock: FakeClock) -> Inquiries:
    """Not started: every question is asked at once, by the test's thread."""
    return Inquiries(Registry(fake, URL), timeout_s=5, pool=pool, clock=clock)


@pytest.fixture
def deadline(clock: FakeClock) -> Deadline:
    return Deadline.after(1e6, clock)


def approved(inquiries: Inquiries, deadline: Deadline, prefix: str = "/a") -> bool:
    with inquiries.open(deadline) as inquiry:
        return inquiry.is_approved(prefix)


def has_key(inquiries: Inquiries, deadline: Deadline, kid: str = "k1", prefix: str = "/a") -> bool:
    with inquiries.open(deadline) as inquiry:
        return bool(inquiry.key_set(prefix, kid).with_id(kid))


def name(inquiries: Inquiries, deadline: Deadline, prefix: str = "/a") -> str | None:
    with inquiries.open(deadline) as inquiry:
        return inquiry.registered_name(prefix)


def exhaust(inquiries: Inquiries) -> None:
    for _ in range(PERMITS):
        assert inquiries.permits.acquire(blocking=False)


# -- how long an answer is fresh, and what happens then


def test_an_approval_is_asked_for_once_while_it_is_fresh(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline
) -> None:
    assert approved(inquiries, deadline)
    clock.advance(APPROVAL_LIFETIME_S - 1)
    assert approved(inquiries, deadline)
    assert len(fake.asked) == 1
    clock.advance(1)
    assert approved(inquiries, deadline)
    assert len(fake.asked) == 2


def test_keys_are_asked_for_once_while_they_are_fresh(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline
) -> None:
    assert has_key(inquiries, deadline)
    clock.advance(KEYS_LIFETIME_S - 1)
    assert has_key(inquiries, deadline)
    assert len(fake.asked) == 2
    clock.advance(1)
    assert has_key(inquiries, deadline)
    assert len(fake.asked) == 4


def test_what_is_stale_is_used_at_once_and_refreshed_once_behind(
    inquiries: Inquiries, fake: FakeRegistry, pool: HandPool, clock: FakeClock, deadline: Deadline
) -> None:
    def everything() -> tuple[bool, bool, str | None]:
        return approved(inquiries, deadline), has_key(inquiries, deadline), name(inquiries, deadline)

    fake.names["/a"] = "A"
    assert everything() == (True, True, "A")
    inquiries.start()
    fake.asked.clear()
    exhaust(inquiries)
    clock.advance(KEYS_LIFETIME_S)
    for _ in range(5):
        assert everything() == (True, True, "A")
    assert not fake.asked, "an advertisement asked by itself"
    assert pool.run() == 3
    assert len(fake.asked) == 1 + 2 + 1
    assert everything() == (True, True, "A")
    assert pool.run() == 0, "what was refreshed is not fresh"


def test_a_withdrawn_approval_acts_at_the_next_refresh(
    inquiries: Inquiries, fake: FakeRegistry, pool: HandPool, clock: FakeClock, deadline: Deadline
) -> None:
    assert approved(inquiries, deadline)
    inquiries.start()
    fake.unapproved.add("/a")
    clock.advance(APPROVAL_LIFETIME_S - 1)
    assert approved(inquiries, deadline)
    assert pool.run() == 0
    clock.advance(1)
    assert approved(inquiries, deadline)  # not waited for
    assert pool.run() == 1
    exhaust(inquiries)
    assert not approved(inquiries, deadline)


def test_a_no_is_asked_about_again_each_time_so_that_its_end_counts_at_once(
    inquiries: Inquiries, fake: FakeRegistry, deadline: Deadline
) -> None:
    fake.unapproved.add("/a")
    for count in range(1, 4):
        assert not approved(inquiries, deadline)
        assert len(fake.asked) == count
    fake.unapproved.clear()
    assert approved(inquiries, deadline)


def test_a_refused_question_ends_what_was_believed(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline
) -> None:
    assert approved(inquiries, deadline)
    clock.advance(APPROVAL_LIFETIME_S)
    fake.overrides[STATUS] = answer(400, {"msg": "unknown prefix"})
    assert approved(inquiries, deadline)  # refreshed behind
    with pytest.raises(BadAnswer, match="unknown prefix"):
        approved(inquiries, deadline)
    fake.is_away = True
    with pytest.raises(RegistryUnavailable):
        approved(inquiries, deadline)


# -- a key that is not known


def test_a_new_key_is_found_at_once(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline
) -> None:
    assert has_key(inquiries, deadline)
    fake.keys = (Key("k2"),)
    clock.advance(REFETCH_INTERVAL_S)
    assert has_key(inquiries, deadline, "k2")


def test_an_unknown_key_is_looked_for_at_a_bounded_rate(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline
) -> None:
    has_key(inquiries, deadline)
    fake.asked.clear()
    for _ in range(150):
        assert not has_key(inquiries, deadline, "made up")
        clock.advance(REFETCH_INTERVAL_S / 50)
    assert len(fake.asked) == 2 * 2  # two tries of two requests in three intervals: the first one had just been asked


def test_a_new_key_that_cannot_be_looked_for_now_is_no_refusal(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline
) -> None:
    assert has_key(inquiries, deadline)
    fake.is_away = True
    for _ in range(3):
        clock.advance(REFETCH_INTERVAL_S)
        with pytest.raises(RegistryUnavailable):
            has_key(inquiries, deadline, "k2")
        assert has_key(inquiries, deadline)
    fake.is_away = False
    fake.keys = (Key("k2"),)
    clock.advance(max(RETRY_S, LONGEST_PAUSE_S))
    assert has_key(inquiries, deadline, "k2")


# -- a registry that gives no answer


def test_while_the_registry_is_away_what_was_known_counts_however_old(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline
) -> None:
    assert approved(inquiries, deadline)
    assert has_key(inquiries, deadline)
    fake.is_away = True
    clock.advance(86_400)
    assert approved(inquiries, deadline)
    assert has_key(inquiries, deadline)


def test_a_no_stays_a_no_while_the_registry_is_away(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline
) -> None:
    fake.unapproved.add("/a")
    assert not approved(inquiries, deadline)
    fake.is_away = True
    fake.asked.clear()
    for _ in range(3):
        assert not approved(inquiries, deadline)
        clock.advance(LONGEST_PAUSE_S)  # others may ask
        assert not approved(inquiries, deadline)
        clock.advance(RETRY_S - LONGEST_PAUSE_S)
    assert len(fake.asked) == 3
    exhaust(inquiries)
    assert not approved(inquiries, deadline)


def test_a_registry_that_just_gave_no_answer_is_not_asked_for_what_is_known(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline
) -> None:
    for prefix in ("/a", "/b", "/c"):
        approved(inquiries, deadline, prefix)
    fake.is_away = True
    clock.advance(APPROVAL_LIFETIME_S)
    fake.asked.clear()
    for prefix in ("/a", "/b", "/c"):
        assert approved(inquiries, deadline, prefix)
    assert len(fake.asked) == 1
    clock.advance(max(LONGEST_PAUSE_S, RETRY_S))
    fake.is_away = False
    for prefix in ("/a", "/b", "/c"):
        assert approved(inquiries, deadline, prefix)
    assert len(fake.asked) == 4


def test_what_was_never_answered_has_to_come_again(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline
) -> None:
    fake.is_away = True
    with pytest.raises(RegistryUnavailable) as caught:
        approved(inquiries, deadline)
    assert caught.value.retry_after_s == 1
    fake.is_away = False
    clock.advance(caught.value.retry_after_s)
    assert approved(inquiries, deadline)


def test_a_silent_registry_is_not_hammered_by_those_it_never_answered(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline
) -> None:
    fake.is_away = True
    for number in range(3600):
        with pytest.raises(RegistryUnavailable):
            approved(inquiries, deadline, f"/{number}")
        clock.advance(1)
    assert 3600 / LONGEST_PAUSE_S <= len(fake.asked) <= 3600 / 2
    fake.is_away = False
    clock.advance(LONGEST_PAUSE_S)
    assert all(approved(inquiries, deadline, f"/{number}") for number in range(100))  # one answer ends it for all


def test_a_question_that_has_no_answer_does_not_silence_the_others(
    inquiries: Inquiries, fake: FakeRegistry, deadline: Deadline
) -> None:
    fake.overrides[KEYS] = answer(500)
    for _ in range(20):
        with pytest.raises(RegistryUnavailable):
            has_key(inquiries, deadline)
    assert approved(inquiries, deadline, "/new")
    assert inquiries.silent_s == 0


def test_a_registry_that_fails_at_what_it_could_answer_before_is_silent(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline
) -> None:
    assert approved(inquiries, deadline)
    clock.advance(APPROVAL_LIFETIME_S)
    fake.overrides[STATUS] = answer(500)
    assert approved(inquiries, deadline)
    fake.asked.clear()
    with pytest.raises(RegistryUnavailable):
        approved(inquiries, deadline, "/new")
    assert not fake.asked
    clock.advance(3)
    assert inquiries.silent_s == 3


def test_the_end_of_an_outage_is_no_storm(fake: FakeRegistry, clock: FakeClock, deadline: Deadline) -> None:
    room = 100
    pool = HandPool(room)
    inquiries = Inquiries(Registry(fake, URL), timeout_s=5, pool=pool, clock=clock)
    prefixes = [f"/{number}" for number in range(150)]
    with inquiries.open(deadline) as inquiry:
        assert all(inquiry.is_approved(prefix) for prefix in prefixes)
    inquiries.start()
    exhaust(inquiries)
    fake.is_away = True
    fake.asked.clear()
    for _minute in range(60):
        clock.advance(60)
        with inquiries.open(deadline) as inquiry:
            assert all(inquiry.is_approved(prefix) for prefix in prefixes)
        assert pool.waiting <= room
        pool.run()
    assert len(fake.asked) <= 60
    fake.is_away = False
    fake.asked.clear()
    for _minute in range(3):
        clock.advance(60)
        with inquiries.open(deadline) as inquiry:
            assert all(inquiry.is_approved(prefix) for prefix in prefixes)
        assert pool.waiting <= room
        pool.run()
    assert len(fake.asked) == len(prefixes)  # each once, and no more than there is room for in a minute


# -- a registry that answers something else


@pytest.mark.parametrize(
    "senseless",
    [HTML, answer(404, body=b"default backend - 404"), answer(302), answer(200, {"approved": "no"}), answer(200, {})],
)
def test_an_answer_without_sense_changes_nothing_that_was_believed(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline, senseless: object
) -> None:
    assert approved(inquiries, deadline)
    fake.overrides[STATUS] = senseless  # type: ignore[assignment]
    for _ in range(3):
        clock.advance(APPROVAL_LIFETIME_S)
        fake.asked.clear()
        assert approved(inquiries, deadline)
        assert fake.asked
        with pytest.raises((BadAnswer, RegistryUnavailable)):
            approved(inquiries, deadline, "/new")
    fake.overrides.clear()
    clock.advance(APPROVAL_LIFETIME_S)
    assert approved(inquiries, deadline)
    assert approved(inquiries, deadline, "/new")


@pytest.mark.parametrize(
    "lie",
    [
        HTML,
        answer(404, body=b"default backend - 404"),
        answer(502),
        answer(200, {"keys": "none"}),
        answer(200, {"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "k1"}]}),
        answer(200, {"keys": [5, None, {}]}),
    ],
)
def test_a_lying_registry_cannot_take_keys_away(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline, lie: object
) -> None:
    assert has_key(inquiries, deadline)
    clock.advance(KEYS_LIFETIME_S)
    fake.overrides[KEYS] = lie  # type: ignore[assignment]
    fake.asked.clear()
    for _ in range(3):
        assert has_key(inquiries, deadline)
    assert len(fake.asked) == 2  # and is not asked at every advertisement


def test_an_empty_key_set_is_an_answer(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline
) -> None:
    assert has_key(inquiries, deadline)
    clock.advance(KEYS_LIFETIME_S)
    fake.overrides[KEYS] = answer(200, {"keys": []})
    assert has_key(inquiries, deadline)  # refreshed behind
    assert not has_key(inquiries, deadline)


@pytest.mark.parametrize("uri", ["http://169.254.169.254/keys", "http://registry.example.org/keys", "file:///k", "x"])
def test_keys_asked_for_under_tls_are_not_fetched_without(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline, uri: str
) -> None:
    assert has_key(inquiries, deadline)
    clock.advance(KEYS_LIFETIME_S)
    fake.overrides[OPENID] = answer(200, {"jwks_uri": uri})
    fake.asked.clear()
    assert has_key(inquiries, deadline)
    assert [path for _, path, _ in fake.asked] == [OPENID]
    assert has_key(inquiries, deadline)


def test_a_no_does_not_become_a_yes_because_somebody_else_answers_404(
    inquiries: Inquiries, fake: FakeRegistry, deadline: Deadline
) -> None:
    fake.unapproved.add("/a")
    assert not approved(inquiries, deadline)
    fake.overrides[STATUS] = answer(404, body=b"default backend - 404")
    assert not approved(inquiries, deadline)


@pytest.mark.parametrize("prefix", ["", "a", "/" + "x" * 5000, "/\ud800"])
def test_what_nobody_can_have_registered_is_not_asked_for(
    inquiries: Inquiries, fake: FakeRegistry, deadline: Deadline, prefix: str
) -> None:
    with pytest.raises(BadAnswer):
        approved(inquiries, deadline, prefix)
    with pytest.raises(BadAnswer):
        has_key(inquiries, deadline, prefix=prefix)
    assert name(inquiries, deadline, prefix) is None
    assert not fake.asked


# -- names


def test_a_name_is_asked_for_once_while_it_is_fresh_and_a_failure_is_not_kept(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline
) -> None:
    for _ in range(3):
        assert name(inquiries, deadline) is None  # 500: nobody knows
    assert len(fake.asked) == 3
    fake.names["/a"] = "A"
    assert name(inquiries, deadline) is None  # asked for behind
    assert name(inquiries, deadline) == "A"
    fake.asked.clear()
    fake.names["/a"] = "B"
    clock.advance(NAME_LIFETIME_S - 1)
    assert name(inquiries, deadline) == "A"
    assert not fake.asked
    clock.advance(1)
    assert name(inquiries, deadline) == "A"  # refreshed behind
    assert name(inquiries, deadline) == "B"


def test_a_name_that_did_not_come_is_not_waited_for_again(
    inquiries: Inquiries, fake: FakeRegistry, pool: HandPool, deadline: Deadline
) -> None:
    assert name(inquiries, deadline) is None
    inquiries.start()
    fake.names["/a"] = "A"
    fake.asked.clear()
    exhaust(inquiries)
    for _ in range(3):
        assert name(inquiries, deadline) is None
    assert not fake.asked
    assert pool.run() == 1
    assert name(inquiries, deadline) == "A"


@pytest.mark.parametrize("status", [500, 502, 404])
def test_a_name_once_known_counts_until_the_registry_has_another_answer(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline, status: int
) -> None:
    fake.names["/a"] = "A"
    assert name(inquiries, deadline) == "A"
    fake.overrides[NAME] = answer(status, body=b"<html>")
    for _ in range(3):
        clock.advance(NAME_LIFETIME_S)
        assert name(inquiries, deadline) == "A"


@pytest.mark.parametrize("value", [{}, [], {"name": ""}, {"name": 5}, {"name": "x" * 1000}, "A", None])
def test_nobody_knows_a_name_that_is_none(
    inquiries: Inquiries, fake: FakeRegistry, deadline: Deadline, value: object
) -> None:
    fake.overrides[NAME] = answer(200, value)
    assert name(inquiries, deadline) is None


# -- who may wait


def test_without_a_permit_what_is_known_counts_and_what_is_not_comes_again(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline
) -> None:
    assert approved(inquiries, deadline)
    assert has_key(inquiries, deadline)
    inquiries.start()
    fake.asked.clear()
    exhaust(inquiries)
    assert approved(inquiries, deadline)  # fresh
    clock.advance(APPROVAL_LIFETIME_S)
    assert approved(inquiries, deadline)  # stale
    with pytest.raises(RegistryUnavailable):
        has_key(inquiries, deadline, "rotated")
    with pytest.raises(RegistryUnavailable):
        approved(inquiries, deadline, "/b")
    assert name(inquiries, deadline) is None
    assert not fake.asked


def test_one_admission_holds_one_permit_however_many_questions_it_has(
    inquiries: Inquiries, fake: FakeRegistry, deadline: Deadline
) -> None:
    in_use: list[int] = []
    fake.on_ask = lambda: in_use.append(inquiries.permits_in_use)
    with inquiries.open(deadline) as inquiry:
        for prefix in ("/a", "/b"):
            inquiry.is_approved(prefix)
            inquiry.key_set(prefix, "k1")
            inquiry.registered_name(prefix)
    assert in_use == [1] * 8
    assert inquiries.permits_in_use == 0


def test_a_permit_is_given_back_whatever_happens(inquiries: Inquiries, fake: FakeRegistry, deadline: Deadline) -> None:
    fake.is_away = True
    for _ in range(10):
        with pytest.raises(RegistryUnavailable):
            approved(inquiries, deadline)
        assert name(inquiries, deadline) is None
    assert inquiries.permits_in_use == 0


def test_all_questions_of_one_admission_share_one_deadline(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline
) -> None:
    fake.on_ask = lambda: clock.advance(3)
    with inquiries.open(deadline) as inquiry:
        assert inquiry.is_approved("/a")
        assert inquiry.is_approved("/b")
        with pytest.raises(RegistryUnavailable):
            inquiry.is_approved("/c")
        assert inquiry.registered_name("/c") is None
    assert approved(inquiries, deadline, "/a")  # what was answered is kept for the next try
    assert len(fake.asked) == 2


def test_what_is_asked_is_counted_by_what_came_of_it(
    inquiries: Inquiries, fake: FakeRegistry, deadline: Deadline
) -> None:
    approved(inquiries, deadline)
    has_key(inquiries, deadline)
    name(inquiries, deadline)
    fake.overrides[STATUS] = answer(400, {})
    with pytest.raises(BadAnswer):
        approved(inquiries, deadline, "/b")
    assert inquiries.counts == {
        ("approval", "answered"): 1,
        ("approval", "refused"): 1,
        ("keys", "answered"): 1,
        ("name", "silent"): 1,
    }


# -- another timeout


def limits_of(fake: FakeRegistry) -> list[float]:
    """How long each question from now on may take."""
    limits: list[float] = []
    send = fake.send

    def recorded(method: str, url: str, *, deadline: Deadline, **more: Any) -> Answer:
        limits.append(deadline.remaining_s())
        return send(method, url, deadline=deadline, **more)

    fake.send = recorded  # type: ignore[method-assign]
    return limits


def test_with_another_timeout_the_next_questions_of_all_kinds_may_take_so_long(
    inquiries: Inquiries, fake: FakeRegistry, deadline: Deadline
) -> None:
    fake.names["/a"] = "A"
    limits = limits_of(fake)
    inquiries.adopt(timeout_s=2)
    assert (approved(inquiries, deadline), has_key(inquiries, deadline), name(inquiries, deadline)) == (True, True, "A")
    assert set(limits) == {2.0}
    assert len(limits) == 4


def test_while_the_registry_is_silent_the_next_try_is_given_so_long(
    inquiries: Inquiries, fake: FakeRegistry, pool: HandPool, clock: FakeClock, deadline: Deadline
) -> None:
    """Until that is over nobody else tries it, so it must be as long as a question may take."""
    assert approved(inquiries, deadline)
    clock.advance(APPROVAL_LIFETIME_S)
    fake.is_away = True
    assert approved(inquiries, deadline)
    assert inquiries._silence.is_quiet
    inquiries.adopt(timeout_s=2)
    clock.advance(LONGEST_PAUSE_S)
    assert inquiries._silence.may_ask()
    assert not inquiries._silence.may_ask()
    clock.advance(2)
    assert inquiries._silence.may_ask()


def test_an_admission_under_way_keeps_its_deadline_and_the_next_has_another(
    inquiries: Inquiries, clock: FakeClock, deadline: Deadline
) -> None:
    with inquiries.open(deadline) as before:
        inquiries.adopt(timeout_s=2)
        with inquiries.open(deadline) as after:
            assert (before._deadline.remaining_s(), after._deadline.remaining_s()) == (5, 2)


def test_what_is_known_and_that_the_registry_is_silent_outlive_another_timeout(
    inquiries: Inquiries, fake: FakeRegistry, clock: FakeClock, deadline: Deadline
) -> None:
    assert approved(inquiries, deadline)
    fake.is_away = True
    with pytest.raises(RegistryUnavailable):
        has_key(inquiries, deadline)
    clock.advance(0.25)
    asked, counts = len(fake.asked), inquiries.counts
    inquiries.adopt(timeout_s=2)
    assert inquiries.silent_s == 0.25
    assert approved(inquiries, deadline)
    with pytest.raises(RegistryUnavailable):
        approved(inquiries, deadline, "/other")
    assert (len(fake.asked), inquiries.counts) == (asked, counts)
