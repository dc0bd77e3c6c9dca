"""Laws of answers that workers share: they are as old as they are, and what cannot be read is as if never said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.errors import RegistryUnavailable
from director_wsgi.federation.downtimes import Downtime, downtimes_of_registry
from director_wsgi.federation.filters import Filters
from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Answer
from director_wsgi.trust.downtimes import RegistryDowntimes
from director_wsgi.trust.federation_keys import FederationKeys
from director_wsgi.trust.inquiry import APPROVAL_LIFETIME_S, KEYS_LIFETIME_S, NAME_LIFETIME_S, Inquiries
from director_wsgi.trust.keys import parse_key_set
from director_wsgi.trust.prefixes import AllowedPrefixes
from director_wsgi.trust.registry import BadAnswer, Registry
from director_wsgi.trust.shared import DOWNTIMES, FLAGS, KEY_SETS, LIFETIME_S, NAMES, TABLES
from tests.fakes import FakeClock
from tests.unit.trust.bus import Bus, Worker
from tests.unit.trust.forge import NOW, Key, jwks
from tests.unit.trust.registries import API, URL, FakeRegistry, HandPool, answer

KEYS = (Key("e"), Key("f", "ES384"), Key("g", "ES512"), Key("h", "EdDSA"), Key("r", "RS256"))
STATUS = f"{API}/checkNamespaceStatus"
INTERVAL_S = 60.0


class Director:
    """One worker that asks, with a monotonic clock of its own: it began when the worker did."""

    def __init__(self, bus: Bus, fake: FakeRegistry, url: str = URL) -> None:
        self.clock = FakeClock(float(len(bus.said)))  # an arbitrary beginning
        self.bus = bus
        self.end: Worker = bus.worker()
        self.pool = HandPool()
        registry = Registry(fake, url)
        shared = self.end.sharing
        self.inquiries = Inquiries(registry, timeout_s=5, pool=self.pool, sharing=shared, clock=self.clock)
        self.prefixes = AllowedPrefixes(registry, sharing=shared, clock=self.clock)
        self.filters = Filters(wall=bus.wall)
        self.told = 0
        self.downtimes = RegistryDowntimes(
            registry, self.filters, sharing=shared, on_filtered=self._count, clock=self.clock
        )
        self.end.read_all()
        self.inquiries.start()

    def _count(self) -> None:
        self.told += 1

    def is_approved(self, prefix: str = "/a") -> bool:
        with self.inquiries.open(self._deadline()) as inquiry:
            return inquiry.is_approved(prefix)

    def has_key(self, kid: str, prefix: str = "/a") -> bool:
        with self.inquiries.open(self._deadline()) as inquiry:
            return bool(inquiry.key_set(prefix, kid).with_id(kid))

    def name(self, prefix: str = "/a") -> str | None:
        with self.inquiries.open(self._deadline()) as inquiry:
            return inquiry.registered_name(prefix)

    def refresh(self) -> None:
        assert self.prefixes.refresh(self._deadline())
        assert self.downtimes.refresh(self._deadline())

    def _deadline(self) -> Deadline:
        return Deadline.after(5.0, self.clock)


@pytest.fixture
def wall() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def bus(wall: FakeClock) -> Bus:
    return Bus(wall)


@pytest.fixture
def fake() -> FakeRegistry:
    fake = FakeRegistry(*KEYS)
    fake.names["/a"] = "A"
    return fake


class First(Director):
    """The worker that asks first; its questions go out on the thread that asks them."""

    def __init__(self, bus: Bus, fake: FakeRegistry) -> None:
        super().__init__(bus, fake)
        registry = Registry(fake, URL)
        self.inquiries = Inquiries(registry, timeout_s=5, sharing=self.end.sharing, clock=self.clock)
        self.end.read_all()

    def ask_everything(self) -> None:
        self.is_approved()
        self.has_key("e")
        self.name()


def everything(director: Director) -> tuple[bool, bool, str | None]:
    return director.is_approved(), director.has_key("e"), director.name()


# -- between workers


def test_what_one_has_asked_no_other_asks(bus: Bus, fake: FakeRegistry) -> None:
    first, second = First(bus, fake), Director(bus, fake)
    first.ask_everything()
    fake.asked.clear()
    assert everything(second) == (True, True, "A")
    assert (fake.asked, second.inquiries.waiting) == ([], 0)


def test_a_withdrawn_approval_acts_on_all(bus: Bus, fake: FakeRegistry) -> None:
    first, second = First(bus, fake), Director(bus, fake)
    assert first.is_approved()
    assert second.is_approved()
    fake.unapproved.add("/a")
    first.clock.advance(APPROVAL_LIFETIME_S)
    assert first.is_approved(), "what is stale counts once more"
    fake.is_away = True
    assert not first.is_approved()
    entry = second.inquiries.approvals.answers.known("/a")
    assert entry is not None
    assert not entry.value
    assert not second.inquiries.approvals.answers.is_fresh(entry), "a no is to be asked about each time"


def test_what_the_registry_refuses_to_tell_is_forgotten_by_all(bus: Bus, fake: FakeRegistry) -> None:
    first, second = First(bus, fake), Director(bus, fake)
    assert first.is_approved()
    fake.overrides[STATUS] = answer(400, {"msg": "unknown prefix"})
    first.clock.advance(APPROVAL_LIFETIME_S)
    first.is_approved()
    assert second.inquiries.approvals.answers.known("/a") is None
    with pytest.raises(BadAnswer, match="unknown prefix"):
        first.is_approved()


def test_an_answer_that_was_given_anew_costs_the_others_no_body(bus: Bus, fake: FakeRegistry) -> None:
    first, second = First(bus, fake), Director(bus, fake)
    assert first.has_key("e")
    first.clock.advance(KEYS_LIFETIME_S)
    second.clock.advance(KEYS_LIFETIME_S)
    bus.wall.advance(KEYS_LIFETIME_S)
    bus.said.clear()
    assert first.has_key("e")
    assert bus.said == [("renew", "/a")]
    assert second.has_key("e")
    assert second.inquiries.waiting == 0, "it is fresh"


def test_a_new_key_that_one_has_found_all_know(bus: Bus, fake: FakeRegistry) -> None:
    first, second = First(bus, fake), Director(bus, fake)
    assert first.has_key("e")
    fake.keys = (Key("new"),)
    first.clock.advance(10)
    bus.wall.advance(10)
    assert first.has_key("new")
    fake.is_away = True
    assert second.has_key("new")


def test_a_server_without_a_name_is_waited_for_by_one_worker_only(bus: Bus, fake: FakeRegistry) -> None:
    first, second = First(bus, fake), Director(bus, fake)
    assert first.name("/nameless") is None
    fake.asked.clear()
    assert second.name("/nameless") is None
    assert (fake.asked, second.inquiries.waiting) == ([], 1), "asked behind"
    bus.wall.advance(NAME_LIFETIME_S)
    assert len(Director(bus, fake).inquiries.nameless) == 0, "after a time it is waited for again"


def test_a_404_is_no_approval_to_a_new_worker_either(bus: Bus, fake: FakeRegistry) -> None:
    assert First(bus, fake).is_approved("/other")
    fake.overrides[STATUS] = answer(404)
    with pytest.raises(BadAnswer, match="404"):
        First(bus, fake).is_approved("/a")


# -- over a restart


def test_what_was_fresh_stays_so_for_what_is_left(bus: Bus, fake: FakeRegistry) -> None:
    First(bus, fake).ask_everything()
    bus.wall.advance(APPROVAL_LIFETIME_S - 1)
    fake.is_away = True
    later = Director(bus, fake)
    assert everything(later) == (True, True, "A")
    assert later.inquiries.waiting == 0
    later.clock.advance(1)
    assert everything(later) == (True, True, "A")
    assert later.inquiries.waiting == 1, "the approval is as old now as if there had been no restart"


@pytest.mark.parametrize("away_s", [KEYS_LIFETIME_S, 86_400.0, LIFETIME_S - 1])
def test_what_is_stale_is_used_at_once_and_asked_for_behind(bus: Bus, fake: FakeRegistry, away_s: float) -> None:
    First(bus, fake).ask_everything()
    bus.wall.advance(away_s)
    fake.is_away = True
    fake.asked.clear()
    later = Director(bus, fake)
    assert everything(later) == (True, True, "A")
    assert (fake.asked, later.inquiries.waiting) == ([], 3)


def test_what_is_too_old_is_asked_for_anew(bus: Bus, fake: FakeRegistry) -> None:
    First(bus, fake).ask_everything()
    bus.wall.advance(LIFETIME_S)
    fake.is_away = True
    later = First(bus, fake)
    with pytest.raises(RegistryUnavailable):
        later.is_approved()


def test_a_no_stays_one(bus: Bus, fake: FakeRegistry) -> None:
    fake.unapproved.add("/a")
    assert not First(bus, fake).is_approved()
    fake.is_away = True
    assert not First(bus, fake).is_approved()


@pytest.mark.parametrize("back_s", [3600.0, 30 * 86_400.0])
def test_a_clock_that_was_set_back_makes_nothing_fresh(bus: Bus, fake: FakeRegistry, back_s: float) -> None:
    First(bus, fake).ask_everything()
    bus.wall.advance(-back_s)
    later = Director(bus, fake)
    assert everything(later) == (True, True, "A")
    assert later.inquiries.waiting == 3


@pytest.mark.parametrize("off_s", [-0.5, 0.0, 0.5])
def test_a_clock_that_is_set_right_by_a_little_changes_nothing(bus: Bus, fake: FakeRegistry, off_s: float) -> None:
    First(bus, fake).ask_everything()
    bus.wall.advance(off_s)
    later = Director(bus, fake)
    assert everything(later) == (True, True, "A")
    assert later.inquiries.waiting == 0


def test_what_another_registry_has_said_counts_nothing(bus: Bus, fake: FakeRegistry) -> None:
    first = First(bus, fake)
    first.ask_everything()
    first.refresh()
    elsewhere = Director(bus, fake, "https://another.example.org")
    assert len(elsewhere.inquiries.approvals.answers) == 0
    assert len(elsewhere.inquiries.key_sets.answers) == 0
    assert not elsewhere.prefixes.loaded


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"7", b'""', b"\xff", b"{", b"[7]", b'{"a":7}', b'{"a":[7]}', b'{"keys":7}', b"[" * 100_000],
)
def test_bodies_that_cannot_be_read_are_as_if_never_said(bus: Bus, fake: FakeRegistry, body: bytes) -> None:
    first = First(bus, fake)
    first.ask_everything()
    first.refresh()
    first.name("/nameless")
    bus.spoil(body)
    later = Director(bus, fake)
    assert not later.prefixes.loaded
    assert later.told == 0
    for questions in (later.inquiries.approvals, later.inquiries.key_sets, later.inquiries.names):
        assert len(questions.answers) == 0
    assert len(later.inquiries.nameless) == 0


def test_a_prefix_that_is_not_text_is_told_nobody(bus: Bus, fake: FakeRegistry) -> None:
    with pytest.raises(BadAnswer):
        First(bus, fake).is_approved("/\ud800")
    assert bus.said == []


# -- tables


def test_a_table_that_one_has_fetched_is_loaded_everywhere(bus: Bus, fake: FakeRegistry) -> None:
    fake.allowed = {"Cache.Example.Org": ["/b", "/a"], "CHI": []}
    fake.downtimes = [{"id": "d", "serverName": "O", "startTime": int(NOW - 60) * 1000, "endTime": -1}]
    first, second = Director(bus, fake), Director(bus, fake)
    assert second.prefixes.is_due(INTERVAL_S)
    first.refresh()
    bus.wall.advance(20)
    third = Director(bus, fake)
    second.clock.advance(20)
    for director in (second, third):
        assert director.prefixes.loaded
        assert director.prefixes.for_host("cache.example.org") == {"/a", "/b"}
        assert director.prefixes.for_host("chi") == frozenset()
        assert director.prefixes.age_s == pytest.approx(20)
        assert not director.prefixes.is_due(INTERVAL_S)
        assert director.prefixes.next_refresh_in_s(INTERVAL_S) == pytest.approx(40)
        assert not director.downtimes.is_due(INTERVAL_S)
        assert director.filters.names() == {"O"}
        assert director.told == 1


def test_a_table_that_was_fetched_again_is_young_everywhere(bus: Bus, fake: FakeRegistry) -> None:
    first, second = Director(bus, fake), Director(bus, fake)
    first.refresh()
    for director in (first, second):
        director.clock.advance(INTERVAL_S)
    bus.wall.advance(INTERVAL_S)
    assert second.prefixes.is_due(INTERVAL_S)
    bus.said.clear()
    first.refresh()
    assert bus.said == [("renew", ""), ("renew", "")]
    assert second.prefixes.age_s == pytest.approx(0, abs=1e-3)
    assert not second.prefixes.is_due(INTERVAL_S)


def test_an_older_table_replaces_no_newer_one(bus: Bus, fake: FakeRegistry) -> None:
    fake.allowed = {"c": ["/old"]}
    Director(bus, fake).refresh()
    old = dict(bus.records)
    bus.wall.advance(10)
    fake.allowed = {"c": ["/new"]}
    second = Director(bus, fake)
    second.clock.advance(10)
    second.refresh()
    bus.records = old
    second.end.read_all()
    assert second.prefixes.for_host("c") == {"/new"}


def test_the_keys_of_the_federation_are_shared_by_where_they_come_from(bus: Bus) -> None:
    class Host:
        def send(self, *_arguments: object, **_options: object) -> Answer:
            return answer(body=jwks(*KEYS))

        def close(self) -> None: ...

    clock = FakeClock()
    ends = [bus.worker() for _ in range(3)]
    first, second = (
        FederationKeys(Host(), "https://f.example.org/k", sharing=e.sharing, clock=clock) for e in ends[:2]
    )
    elsewhere = FederationKeys(Host(), "https://other.example.org/k", sharing=ends[2].sharing, clock=clock)
    assert first.refresh(Deadline.after(1.0, clock))
    assert second.key_set() == first.key_set() == parse_key_set(jwks(*KEYS))
    assert second.loaded
    assert not second.is_due
    assert not elsewhere.loaded


# -- bodies


def test_a_key_set_is_read_back_with_all_that_verifies_and_nothing_more() -> None:
    open_key = {name: value for name, value in Key("o", "RS256").jwk.items() if name != "alg"}
    odd = Key("\ud800", "ES256")
    private = {**KEYS[0].jwk, "kid": "private", "d": "secret"}
    keys = parse_key_set(jwks(*KEYS, open_key, odd, private, {"kty": "oct", "kid": "x", "k": "AAAA"}))
    assert len(keys.keys) == len(KEYS) + 3
    body = KEY_SETS.encode(keys)
    assert b"secret" not in body
    again = KEY_SETS.decode(body)
    assert again == keys
    assert [key.public.public_numbers() for key in again.keys if hasattr(key.public, "public_numbers")] == [
        key.public.public_numbers() for key in keys.keys if hasattr(key.public, "public_numbers")
    ]
    assert again.with_id("o")[0].algorithms == keys.with_id("o")[0].algorithms > {"RS256", "PS512"}
    assert KEY_SETS.decode(KEY_SETS.encode(parse_key_set('{"keys": []}'))).keys == ()


@given(st.dictionaries(st.text(), st.frozensets(st.text())))
def test_tables_are_read_back(table: dict[str, frozenset[str]]) -> None:
    assert TABLES.decode(TABLES.encode(table)) == table


@given(st.booleans(), st.text(min_size=1))
def test_flags_and_names_are_read_back(flag: bool, name: str) -> None:
    assert FLAGS.decode(FLAGS.encode(flag)) is flag
    assert NAMES.decode(NAMES.encode(name)) == name


_milliseconds = st.integers(-(1 << 63), (1 << 63) - 1)


@given(
    st.lists(
        st.builds(
            Downtime,
            id=st.text("abc", max_size=3),
            server_name=st.text(max_size=5),
            description=st.text(max_size=5),
            starts_at_ms=_milliseconds,
            ends_at_ms=_milliseconds,
            deleted_at_ms=st.none() | _milliseconds,
        ),
        max_size=5,
    )
)
def test_what_was_read_of_downtimes_is_read_back(told: list[Downtime]) -> None:
    first, _unreadable = downtimes_of_registry([one.wire() for one in told])
    assert DOWNTIMES.decode(DOWNTIMES.encode(first)) == first
