"""Every fault, at 1 of 3 origins, at all origins of a namespace, and at 1 of 6 caches under `adaptive`, with load on all of it.

One experiment for each fault, in one director: the servers are sick from the start; load goes on until their breakers
have opened, and a while longer; they are told to be well, and load goes on until they are used again; the director
ends. What happened is written down once, and each law below is held against it.

Whether a server is sick is a matter of time. An experiment during which this process came too late says nothing, and
is done again at a slower pace, at which the same lateness is less.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from director_wsgi.limits.breaker import SLOW, BreakerSettings, State
from director_wsgi.limits.deadline import monotonic
from director_wsgi.stat.health import Sickness
from tests.lateness import Lateness
from tests.servers.authority import Authority
from tests.servers.federation import OBJECT, ORIGIN, WAIT_S, Census, Federation, Load, Told, eventually

SLOTS = 4
STAT_TIMEOUT_S = 0.6
PROBE_INTERVAL_S = 0.2
SLOW_S = 0.3
"""From here on an answer counts as slow: far from what a server that is well needs."""

PAUSE_S = 0.03
"""Of each client between an answer and its next question."""

RECOVERS_WITHIN_S = 3.0
"""What hangs ends, the back-off ends, and a probe is answered."""

PACES = (1, 3, 9)
"""By what all times are multiplied: the first time, the second, the last."""

MARGIN_S = 0.2
"""At the first pace: who is late by less makes no slow server of one that is well, and no hung one of a slow one."""

USUAL_S = 0.25
"""At the first pace: an answer for which only servers that are well are asked takes less."""

ENDLESS_S = 600.0

ENOUGH = 24
"""HEADs at a sick server that does not fail by any measure, before it is called harmless; three times a breaker's volume."""


pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class Fault:
    """One way to be sick, and what is to be thought of it.

    Attributes:
        sickness: What the breaker is to say; None: it is to stay closed.
        admits: The server says by it that it has the object, so that it may rightly be sent to.
        denies: The server says by it that it does not have the object.
        is_variant: Much like another fault, so that it may be left to `make slow`.
    """

    name: str
    sickness: Hashable | None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    admits: bool = False
    denies: bool = False
    is_variant: bool = False

    def __str__(self) -> str:
        return "-".join([self.name, *(str(value) for value in self.arguments.values())])


FAULTS = (
    Fault("hang_after_accept", Sickness.STALLING, is_variant=True),
    Fault("hang_after_request", Sickness.STALLING),
    Fault("stall_in_tls", Sickness.STALLING),
    Fault("drip_in_tls", Sickness.STALLING, is_variant=True),
    Fault("drip", Sickness.STALLING),
    Fault("drip_lines", Sickness.STALLING, is_variant=True),
    Fault("endless_continue", Sickness.STALLING, is_variant=True),
    Fault("refuse", Sickness.REFUSING),
    Fault("plain_in_tls", Sickness.TLS),
    Fault("reset", Sickness.CUTTING_OFF),
    Fault("close_without_answer", Sickness.CUTTING_OFF, is_variant=True),
    Fault("cut_off", Sickness.CUTTING_OFF, is_variant=True),
    Fault("flap", Sickness.CUTTING_OFF, {"good": 1, "bad": 2}, admits=True),
    Fault("status", Sickness.ERRORING, {"code": 500}),
    Fault("status", Sickness.ERRORING, {"code": 503}, is_variant=True),
    Fault("huge_header", Sickness.ERRORING),
    Fault("many_headers", Sickness.ERRORING, is_variant=True),
    Fault("endless_headers", Sickness.ERRORING, is_variant=True),
    Fault("slow", SLOW, {"seconds": 0.4}, admits=True),  # and it is multiplied as well
    Fault("status", None, {"code": 401}, is_variant=True),
    Fault("status", None, {"code": 403}),
    Fault("status", None, {"code": 404}, denies=True),
    Fault("redirect_loop", None, is_variant=True),
    Fault("omit_length", None),
)

SICK = {"one": ("one-sick",), "all": ("all-1", "all-2", "all-3"), "cached": ("cache-sick",)}
"""By namespace: who is sick."""

NAMESPACES = (*SICK, "other")


@dataclass
class Record:
    """What happened.

    Attributes:
        told: Every answer while servers were sick, by namespace.
        open: Answers given once every breaker that was to open had opened.
        thought: What breakers said was wrong while they were open, by server; well ones too.
        opened: Whether each breaker that was to open did.
        probes: HEADs begun at each sick server from then on, for as long as they were sick.
        probes_due: How many the back-off lets through in that time, at most.
        is_void: Whether it says nothing: this process was late, or slow where nothing was to wait for.
        recovered: Servers whose breakers closed, and who were asked and answered, after they were told to be well.
        after: Answers given after that.
        peaks: Most HEADs under way at one moment, by server.
        before, end: Threads and files before the director was made, and after it was closed.
    """

    fault: Fault
    told: dict[str, list[Told]]
    open: dict[str, list[Told]]
    thought: dict[str, set[object]]
    opened: bool
    probes: dict[str, int]
    probes_due: int
    is_void: bool
    recovered: dict[str, bool]
    after: dict[str, list[Told]]
    peaks: dict[str, int]
    before: Census
    end: Census


def populate(federation: Federation) -> None:
    """The origins and caches of all scenarios; the sick ones are well so far."""
    federation.origin("one-sick", "/one")
    federation.origin("one-holder", "/one")
    federation.origin("one-lacking", "/one").behave("status", code=404)
    for name in SICK["all"]:
        federation.origin(name, "/all")
    federation.origin("cached-origin", "/cached")
    federation.cache("cache-sick", "/cached")
    for number in range(5):
        federation.cache(f"cache-{number}", "/cached")
    federation.origin("other-holder", "/other")
    federation.origin("other-lacking", "/other").behave("status", code=404)


class Experiment:
    """One fault, from beginning to end.

    Args:
        pace: By what all times are multiplied.
    """

    def __init__(self, authority: Authority, fault: Fault, pace: int) -> None:
        self._fault = fault
        self._pace = pace
        self._arguments = {
            name: value * pace if name == "seconds" else value for name, value in fault.arguments.items()
        }
        self._sick = [name for names in SICK.values() for name in names]
        # Where slowness is not the fault, it is the machine's: on a busy one the well are slow, too. Where it is, an
        # answer that comes late must not count as none.
        is_slow = fault.sickness == SLOW
        self._federation = Federation(
            authority,
            redirect_deadline_s=0.5 * pace,
            stat_timeout_s=ENDLESS_S if is_slow else STAT_TIMEOUT_S * pace,
            slow_stat_s=SLOW_S * pace if is_slow else ENDLESS_S,
            stat_concurrency_limit=SLOTS,
            probe_interval_s=PROBE_INTERVAL_S * pace,
            failure_ttl_s=0.1 * pace,
            cache_sort_method="adaptive",
        )
        # Chance takes a little off a back-off.
        self._least_backoff_s = PROBE_INTERVAL_S * pace * (1 - BreakerSettings().jitter)
        self._thought: dict[str, set[object]] = {}

    def run(self) -> Record:
        federation, fault = self._federation, self._fault
        with federation, Lateness() as lateness:
            populate(federation)
            self._thought = {name: set() for name in federation.servers}
            before = Census()
            for name in self._sick:
                federation.servers[name].behave(fault.name, **self._arguments)
            loads = {namespace: self._load(namespace) for namespace in NAMESPACES}
            with loads["one"], loads["all"], loads["cached"], loads["other"]:
                opened = eventually(self._is_known, WAIT_S * self._pace)
                told_before = {namespace: len(load.told) for namespace, load in loads.items()}
                known_at, heads_before = monotonic(), self._heads()
                eventually(lambda: self._has_had(loads, told_before, 40), WAIT_S * self._pace)
                probes = {name: heads - heads_before[name] for name, heads in self._heads().items()}
                probes_due = 1 + int((monotonic() - known_at) / self._least_backoff_s)
                told = {namespace: list(load.told) for namespace, load in loads.items()}
                for name in self._sick:
                    federation.servers[name].behave("ok")
                heads = self._heads()
                recovers_within_s = RECOVERS_WITHIN_S * self._pace
                eventually(lambda: all(self._is_used(name, heads[name]) for name in self._sick), recovers_within_s)
                recovered = {name: self._is_used(name, heads[name]) for name in self._sick}
                told_after = {namespace: len(load.told) for namespace, load in loads.items()}
                eventually(lambda: self._has_had(loads, told_after, 4), WAIT_S * self._pace)
            assert not [error for load in loads.values() for error in load.errors]
            peaks = {name: federation.peak(name) for name in federation.servers}
            federation.close()
            end = self._settled(before)
        return Record(
            fault=fault,
            told=told,
            open={namespace: told[namespace][told_before[namespace] + SLOTS :] for namespace in NAMESPACES},
            thought=self._thought,
            opened=opened,
            probes=probes,
            probes_due=probes_due,
            is_void=lateness.worst_s > MARGIN_S * self._pace or loads["other"].slowest_s > USUAL_S * self._pace,
            recovered=recovered,
            after={namespace: loads[namespace].told[told_after[namespace] :] for namespace in NAMESPACES},
            peaks=peaks,
            before=before,
            end=end,
        )

    def _load(self, namespace: str) -> Load:
        endpoint = OBJECT if namespace == "cached" else ORIGIN
        return Load(self._federation, f"/{namespace}", endpoint=endpoint, pause_s=PAUSE_S * self._pace)

    def _is_known(self) -> bool:
        """Whether every breaker has opened that is to; where none is to, whether it has had its chance."""
        for name, state in self._federation.states(self._thought).items():
            if state.breaker.state is not State.CLOSED:
                self._thought[name].add(state.breaker.reason)
        if self._fault.sickness is not None:
            return all(self._thought[name] for name in self._sick)
        return all(self._federation.heads(name) >= ENOUGH for name in self._sick)

    def _heads(self) -> dict[str, int]:
        return {name: self._federation.heads(name) for name in self._sick}

    def _has_had(self, loads: Mapping[str, Load], before: Mapping[str, int], answers: int) -> bool:
        self._is_known()  # keeps looking at what breakers say
        return all(len(load.told) >= before[namespace] + answers for namespace, load in loads.items())

    def _is_used(self, name: str, heads: int) -> bool:
        state = self._federation.state(name)
        return state is not None and state.breaker.state is State.CLOSED and self._federation.heads(name) >= heads + 2

    def _settled(self, before: Census) -> Census:
        """The census after the end, once servers have noticed that their connections are closed."""
        eventually(lambda: Census().files <= before.files)
        return Census()


def experiments() -> list[Any]:
    return [
        pytest.param(fault, id=str(fault), marks=[pytest.mark.slow] if fault.is_variant else []) for fault in FAULTS
    ]


@pytest.fixture(scope="module", params=experiments())
def record(request: pytest.FixtureRequest, test_ca: Authority) -> Record:
    for pace in PACES:
        done = Experiment(test_ca, request.param, pace).run()
        if not done.is_void:
            break
    return done


def test_what_a_well_origin_holds_is_never_called_absent(record: Record) -> None:
    assert {told.status for told in record.told["one"]} == {307}, record.told["one"]


def test_the_holder_that_is_well_comes_first(record: Record) -> None:
    allowed = {"one-holder", "one-sick"} if record.fault.admits else {"one-holder"}
    assert {told.first for told in record.told["one"]} <= allowed


def test_with_all_origins_sick_the_answer_leads_to_them_unless_they_said_that_it_is_absent(record: Record) -> None:
    told = record.told["all"]
    if record.fault.denies:
        assert {(one.status, "All sources report object was not found" in one.message) for one in told} == {(404, True)}
    else:
        assert {(one.status, frozenset(one.servers)) for one in told} == {(307, frozenset(SICK["all"]))}


def test_a_sick_cache_spoils_no_answer(record: Record) -> None:
    told = record.told["cached"]
    assert {one.status for one in told} == {307}
    assert all(one.first.startswith("cache-") for one in told)


def test_a_cache_known_to_be_sick_does_not_come_before_all_the_others_every_time(record: Record) -> None:
    if record.fault.sickness is None or record.fault.admits:
        pytest.skip("such a cache counts as well")
    told = record.open["cached"]
    assert told
    assert sum(one.first == "cache-sick" for one in told) < len(told) / 2


def test_other_namespaces_are_answered_completely_and_rightly(record: Record) -> None:
    told = record.told["other"] + record.after["other"]
    assert {(one.status, one.first) for one in told} == {(307, "other-holder")}


def test_no_server_is_asked_more_at_once_than_it_has_slots(record: Record) -> None:
    assert max(record.peaks.values()) <= SLOTS, record.peaks


def test_the_breaker_opens_for_the_right_reason_or_not_at_all(record: Record) -> None:
    assert record.opened, record.thought
    expected = set() if record.fault.sickness is None else {record.fault.sickness}
    sick = [name for names in SICK.values() for name in names]
    assert {name: record.thought[name] for name in sick} == dict.fromkeys(sick, expected)


def test_who_is_known_to_be_sick_is_asked_by_probes_only(record: Record) -> None:
    if record.fault.sickness is None or record.fault.admits:
        pytest.skip("its breaker stays closed, or closes now and then")
    assert max(record.probes.values()) <= record.probes_due, (record.probes, record.probes_due)
    assert len(record.open["all"]) > 3 * record.probes_due


def test_no_breaker_of_a_well_server_opens(record: Record) -> None:
    sick = [name for names in SICK.values() for name in names]
    assert {name: thought for name, thought in record.thought.items() if thought and name not in sick} == {}


def test_who_is_well_again_is_used_again_without_a_restart(record: Record) -> None:
    assert record.recovered == dict.fromkeys(record.recovered, True)


def test_all_answers_are_right_once_all_servers_are_well(record: Record) -> None:
    assert {told.status for name in NAMESPACES for told in record.after[name]} == {307}
    assert {told.first for told in record.after["one"]} <= {"one-holder", "one-sick"}


def test_the_end_leaves_no_thread_and_no_socket(record: Record) -> None:
    assert record.end.threads == frozenset()
    assert record.end.files <= record.before.files
