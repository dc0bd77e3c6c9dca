"""Servers for whose name the registry was asked in vain: they are not waited for again at once."""

from director_wsgi.limits.deadline import Clock, monotonic
from director_wsgi.limits.ttl import TTLTable
from director_wsgi.trust.shared import ALONE, FLAGS, SharedAnswers, Sharing


class Nameless:
    """Prefixes for which a name was waited for in vain, by this worker or another. Safe between threads."""

    def __init__(
        self, place: str, *, capacity: int, lifetime_s: float, sharing: Sharing = ALONE, clock: Clock = monotonic
    ) -> None:
        """There are none yet.

        Args:
            place: URL of the registry.
            capacity: Most prefixes kept.
            lifetime_s: So long each is one.
            sharing: With whom they are shared.
            clock: Monotonic seconds.
        """
        self._lifetime_s = lifetime_s
        self._table: TTLTable[str, bool] = TTLTable(capacity, clock)
        self._shared = SharedAnswers(
            "nameless", place, codec=FLAGS, memory=self, sharing=sharing, lifetime_s=lifetime_s
        )

    def found(self, prefix: str) -> None:
        """It is one from now on."""
        self.learn(prefix, True, 0.0)
        self._shared.answered(prefix, True)

    def __contains__(self, prefix: str) -> bool:
        """Whether it is one now."""
        return prefix in self._table

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._table)

    # -- as a `Memory`

    def learn(self, prefix: str, _value: bool, age_s: float, /) -> None:
        """It was found to be one so long ago."""
        if age_s < self._lifetime_s:
            self._table.put(prefix, True, self._lifetime_s - age_s)

    def renew(self, prefix: str, age_s: float, /) -> bool:
        """It was found again. Always knows it: the value says nothing."""
        self.learn(prefix, True, age_s)
        return True

    def forget(self, prefix: str, /) -> None:
        """It is none any more."""
        self._table.pop(prefix)
