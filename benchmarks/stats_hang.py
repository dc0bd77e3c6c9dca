"""What clients notice of an origin that hangs and heals, under a load that the director bears easily."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.figures import Figure, figure
from benchmarks.stats_play import Event, Requests
from benchmarks.stats_scene import NAMESPACES, SICK, SPREAD, TOUCHED, UNTOUCHED
from benchmarks.stats_watch import Watch

UNTOUCHED_AIM = 1.2
KNOWING_AIM = 1.5
MORE_MS = 100.0
"""What a hung server may cost where another one answers."""

ON_THE_WAY = 1.05
"""What a latency that clients measure may be over the deadline: the answer has to be sent and read."""

PROBE_INTERVAL_S = 5.0
"""Director.ProbeInterval, its default."""

RECOVERY_S = PROBE_INTERVAL_S + 1.0

LAST_S = 2.0
"""Of a hang: what is taken for "after the breaker knew" if it was never seen to know."""


@dataclass(frozen=True, slots=True)
class _Phases:
    """The requests of one cycle, by what was the matter when they were due.

    Attributes:
        unknowing: An origin hangs, and is still asked.
        knowing: An origin hangs, and is not asked.
        knew_after_s: From the hang to when that was first seen; None if it was not.
    """

    healthy: Requests
    hung: Requests
    unknowing: Requests
    knowing: Requests
    knew_after_s: float | None


def hang_figures(
    requests: Requests, events: Sequence[Event], watch: Watch, base_urls: Sequence[str], *, deadline_s: float
) -> list[Figure]:
    """The figures of a load during which an origin hung and healed.

    Args:
        requests: What became of the load.
        events: What happened.
        watch: Saw what the director's breakers thought.
        base_urls: Of the origins.
        deadline_s: Director.RedirectDeadline.
    """
    phases = [_phases(requests, event, watch, base_urls[SICK]) for event in events]
    return [
        _untouched(phases),
        _held_elsewhere(phases),
        _held_by_sick(phases, deadline_s),
        _knowing(phases),
        *_first_servers(phases),
        _wrong_404s(requests),
        _recovery(events),
    ]


def _phases(requests: Requests, event: Event, watch: Watch, sick_url: str) -> _Phases:
    open_from = watch.open_from(sick_url, event.hung_at)
    if open_from is not None and open_from >= event.healed_at:
        open_from = None
    asked_until = watch.closed_until(sick_url, event.hung_at) if open_from is not None else event.healed_at
    return _Phases(
        healthy=requests.between(event.began_at, event.hung_at),
        hung=requests.between(event.hung_at, event.healed_at),
        unknowing=requests.between(event.hung_at, asked_until or event.healed_at),
        knowing=requests.between(open_from or event.healed_at - LAST_S, event.healed_at),
        knew_after_s=open_from - event.hung_at if open_from is not None else None,
    )


def _median(phases: Sequence[_Phases], of: Callable[[_Phases], float]) -> float:
    return statistics.median(of(one) for one in phases)


def _untouched(phases: Sequence[_Phases]) -> Figure:
    hung = [one.hung.of(*UNTOUCHED).p99_ms for one in phases]
    healthy = [one.healthy.of(*UNTOUCHED).p99_ms for one in phases]
    late_ms = max(one.hung.lateness_ms for one in phases)
    return figure(
        "untouched namespaces, 1 of 4 origins hung, p99",
        "ms",
        hung,
        ratios=[a / b for a, b in zip(hung, healthy, strict=True)],
        beside="all well",
        at_most=UNTOUCHED_AIM,
        details={
            "all well p99 ms": statistics.median(healthy),
            "p50 ms": _median(phases, lambda one: one.hung.of(*UNTOUCHED).quantile_ms(0.5)),
            "all well p50 ms": _median(phases, lambda one: one.healthy.of(*UNTOUCHED).quantile_ms(0.5)),
        },
        note=f"THE GENERATOR WAS {late_ms:.0f} ms LATE" if late_ms > 50 else "",
    )


def _held_elsewhere(phases: Sequence[_Phases]) -> Figure:
    asked = [one.unknowing.of(TOUCHED).held_by_sick(False) for one in phases]
    healthy = [one.healthy.of(TOUCHED).p99_ms for one in phases]
    return figure(
        "touched namespace, before the breaker knows, another holder: p99 above all well",
        "ms",
        [one.p99_ms - base for one, base in zip(asked, healthy, strict=True)],
        at_most=MORE_MS,
        details={"all well p99 ms": statistics.median(healthy), "p50 ms": asked[0].quantile_ms(0.5)},
        note=f"{sum(map(len, asked))} requests",
    )


def _held_by_sick(phases: Sequence[_Phases], deadline_s: float) -> Figure:
    asked = [one.unknowing.of(TOUCHED).held_by_sick(True) for one in phases]
    p99s = [one.p99_ms for one in asked]
    return figure(
        "touched namespace, before the breaker knows, held by the hung: p99",
        "ms",
        p99s,
        ratios=[p99 / deadline_s / 1e3 for p99 in p99s],
        beside="the deadline",
        at_most=ON_THE_WAY,
        details={"p50 ms": asked[0].quantile_ms(0.5)},
        note=f"{sum(map(len, asked))} requests",
    )


def _knowing(phases: Sequence[_Phases]) -> Figure:
    p99s = [one.knowing.of(TOUCHED).p99_ms for one in phases]
    healthy = [one.healthy.of(TOUCHED).p99_ms for one in phases]
    knew = [one.knew_after_s for one in phases if one.knew_after_s is not None]
    return figure(
        "touched namespace, after the breaker knew, p99",
        "ms",
        p99s,
        ratios=[a / b for a, b in zip(p99s, healthy, strict=True)],
        beside="all well",
        at_most=KNOWING_AIM,
        details={"all well p99 ms": statistics.median(healthy)} | ({"s until it knew": max(knew)} if knew else {}),
        note="" if len(knew) == len(phases) else f"IT NEVER KNEW: the last {LAST_S:g} s of a hang instead",
    )


def _first_servers(phases: Sequence[_Phases]) -> list[Figure]:
    guess = 100 / len(NAMESPACES[SPREAD])
    well = [one.healthy.of(SPREAD) for one in phases]
    hung = [one.hung.of(SPREAD).held_by_sick(False) for one in phases]
    sick = [one.hung.of(SPREAD).held_by_sick(True) for one in phases]
    return [
        figure(
            "first server has the object, at 1 of 4, all well",
            "%",
            [one.share_led_to_holder() * 100 for one in well],
            at_least=99,
            note=f"of {sum(map(len, well)):,}; by chance {guess:g} %",
        ),
        figure(
            "first server has the object, at 1 of 4, another one hung",
            "%",
            [one.share_led_to_holder() * 100 for one in hung],
            at_least=99,
            details={"if it is the holder that hangs": _mean_share(sick) * 100},
            note=f"of {sum(map(len, hung)):,}",
        ),
    ]


def _mean_share(some: Sequence[Requests]) -> float:
    return statistics.mean(one.share_led_to_holder() for one in some)


def _wrong_404s(requests: Requests) -> Figure:
    return figure("wrong 404s, origin hanging and healing", "404s", [requests.wrong_404s], at_most=0)


def _recovery(events: Sequence[Event]) -> Figure:
    waits = [(one.first_answer_at - one.healed_at) if one.first_answer_at else None for one in events]
    known = [wait for wait in waits if wait is not None]
    if len(known) < len(waits):
        return Figure(
            name="recovery: a healed origin is asked again",
            unit="s",
            median=RECOVERY_S,
            low=RECOVERY_S,
            high=RECOVERY_S,
            aim=f"at most {RECOVERY_S:g}",
            met=False,
            note="NOT WITHIN THAT TIME",
        )
    return figure(
        f"recovery: a healed origin is asked again, slowest of {len(known)}",
        "s",
        [max(known)],
        ratios=[max(known) / PROBE_INTERVAL_S],
        beside="the probe interval",
        at_most=RECOVERY_S / PROBE_INTERVAL_S,
        details={"fastest": min(known)},
    )
