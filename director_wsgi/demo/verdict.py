"""What one run of one design comes to, in figures, and two of them as a table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from director_wsgi.demo.openloop import TIMED_OUT, Outcome
from director_wsgi.demo.scene import CLIENT_TIMEOUT_S, LISTING, NAMESPACES, SICK, TOUCHED, Arrival, Plan, holder
from director_wsgi.demo.scene import is_touched as lies_touched
from director_wsgi.demo.terminal import side_by_side

NORMAL_S: Final = 1.0
"""An answer that takes longer is not normal: Director.RedirectDeadline."""

GENERATOR_LATE_S: Final = 0.25
"""If requests were sent later than this, the machine was too busy for latencies to mean much."""

BEFORE, DURING, AFTER = "before", "during", "after"
PHASES: Final = (BEFORE, DURING, AFTER)


@dataclass(frozen=True, slots=True)
class Answered:
    """One request and what became of it."""

    arrival: Arrival
    outcome: Outcome

    @property
    def at_s(self) -> float:
        """Its scheduled instant."""
        return self.arrival.at_s

    @property
    def is_listing(self) -> bool:
        """Whether it asked for the directors, not for an object."""
        return self.arrival.target == LISTING

    @property
    def is_touched(self) -> bool:
        """Whether its object lies in the namespace of the sick origin."""
        return lies_touched(self.arrival.target)

    @property
    def is_served(self) -> bool:
        """Whether the client was told where to go: every object exists, so nothing else is right."""
        return self.outcome.status == (200 if self.is_listing else 307)

    @property
    def is_wrong_404(self) -> bool:
        """Whether the client was told that an object does not exist, which does."""
        return self.outcome.status == 404

    @property
    def is_timed_out(self) -> bool:
        """Whether the client gave up."""
        return self.outcome.failure == TIMED_OUT

    def leads_to_holder(self, ports: Sequence[int]) -> bool:
        """Whether the server that it was sent to first has the object."""
        return self.outcome.location.startswith(f"http://127.0.0.1:{ports[holder(self.arrival.target)]}/")


@dataclass(frozen=True)
class Run:
    """All that was seen of one design.

    Attributes:
        name: Of the design.
        ports: Of the origins, in their order.
        answers: One for each arrival of the plan, in their order.
        threads: (seconds since the first request, threads of the worker), in the order of time.
        asked_again_s: From the healing to the healed origin's first answer; None if there was none.
    """

    name: str
    plan: Plan
    ports: Sequence[int]
    answers: Sequence[Answered]
    threads: Sequence[tuple[float, int]]
    asked_again_s: float | None

    @cached_property
    def objects(self) -> list[Answered]:
        """Requests for objects, from the end of the warm-up on."""
        return [a for a in self.answers if not a.is_listing and a.at_s >= self.plan.begins_at]

    def of_phase(self, phase: str, *, touched: bool | None = None) -> list[Answered]:
        """Requests for objects of one phase: of the touched namespace, of the others, or (None) of all."""
        return [
            a for a in self.objects if self._phase_of(a.at_s) == phase and (touched is None or a.is_touched == touched)
        ]

    @property
    def listings_during(self) -> list[Answered]:
        """Requests for the directors while the origin hung."""
        return [a for a in self.answers if a.is_listing and self._phase_of(a.at_s) == DURING]

    @property
    def peak_threads(self) -> int:
        """Most threads that the worker was seen to have."""
        return max((number for _, number in self.threads), default=0)

    @property
    def lateness_s(self) -> float:
        """By how much the load generator sent a request too late, at worst."""
        return max((a.outcome.lateness_s for a in self.answers), default=0.0)

    @property
    def recovered_s(self) -> float | None:
        """From the healing to the instant from which on every object is had, and within `NORMAL_S`; None: never."""
        heals_at = self.plan.heals_at
        bad = [a.at_s for a in self.objects if not (a.is_served and a.outcome.latency_s <= NORMAL_S)]
        last = max((at_s for at_s in bad if at_s >= heals_at), default=None)
        if last is None:
            return 0.0
        return None if last > self.plan.ends_at - NORMAL_S else last - heals_at

    def share_led_to_holder(self, phase: str) -> float:
        """Of the redirects of a phase, the share whose first server has the object; 0 without redirects."""
        redirects = [a for a in self.of_phase(phase) if a.is_served]
        return sum(a.leads_to_holder(self.ports) for a in redirects) / len(redirects) if redirects else 0.0

    def _phase_of(self, at_s: float) -> str | None:
        plan = self.plan
        if not plan.begins_at <= at_s < plan.ends_at:
            return None
        return BEFORE if at_s < plan.hangs_at else DURING if at_s < plan.heals_at else AFTER


def quantile(answers: Sequence[Answered], share: float) -> float | None:
    """The latency, in seconds, that this share of the requests did not exceed (nearest rank); None without any.

    A client that gave up counts with the time that it had waited. An error counts as a time-out: it came fast, but no
    answer did.
    """
    waits = sorted(a.outcome.latency_s if a.is_served or a.is_wrong_404 else CLIENT_TIMEOUT_S for a in answers)
    return waits[math.ceil(share * len(waits)) - 1] if waits else None


def duration(seconds: float | None) -> str:
    """A latency as a person reads it; one that no client waits for is told as that."""
    if seconds is None:
        return "-"
    if seconds >= CLIENT_TIMEOUT_S:
        return f">{CLIENT_TIMEOUT_S:.0f} s"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def table(runs: Sequence[Run]) -> str:
    """The figures of runs of one plan side by side, as lines of text."""
    return side_by_side([run.name for run in runs], [_column(run) for run in runs])


def introduction(plan: Plan) -> str:
    """What is done, in one sentence for above the table."""
    everything = plan.rate_per_s * len(NAMESPACES)
    return (
        f"origin-{SICK + 1} of {len({n for origins in NAMESPACES.values() for n in origins})} hangs for "
        f"{plan.hang_s:g} s. {everything:g} objects/s are asked for, {plan.rate_per_s:g} of them in {TOUCHED}, which "
        f"that origin and another serve; one worker, {plan.threads} threads, {plan.slots} slots per origin."
    )


def _column(run: Run) -> list[tuple[str, str]]:
    objects, during, listings = run.objects, run.of_phase(DURING), run.listings_during
    others = len(objects) - sum(a.is_served or a.is_timed_out or a.is_wrong_404 for a in objects)
    rows = [
        ("objects asked for", f"{len(objects):,}"),
        ("  served", f"{sum(a.is_served for a in objects):,}"),
        ("  timed out", f"{sum(a.is_timed_out for a in objects):,}"),
        ("  wrong 404", f"{sum(a.is_wrong_404 for a in objects):,}"),
        ("  other errors", f"{others:,}"),
        ("served during the hang", _share(sum(a.is_served for a in during), len(during))),
        ("  sent to a server that has it", f"{run.share_led_to_holder(DURING):.1%}"),
    ]
    for heading, touched in (("untouched namespaces", False), (f"touched namespace ({TOUCHED})", True)):
        rows.append((f"{heading}, p50 / p99", ""))
        for phase in PHASES:
            answers = run.of_phase(phase, touched=touched)
            rows.append((f"  {phase}", f"{duration(quantile(answers, 0.5))} / {duration(quantile(answers, 0.99))}"))
    return [
        *rows,
        ("/directors during the hang", f"{sum(a.is_served for a in listings)} of {len(listings)}"),
        ("  p99", duration(quantile(listings, 0.99))),
        ("threads at the peak", str(run.peak_threads)),
        ("all well again after", _seconds(run.recovered_s, run.plan.after_s)),
        ("healed origin answers again after", _seconds(run.asked_again_s, run.plan.after_s)),
    ]


def _share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,}"


def _seconds(seconds: float | None, most_s: float) -> str:
    return f"{seconds:.1f} s" if seconds is not None else f"not in {most_s:g} s"
