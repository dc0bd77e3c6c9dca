"""OutcomeWindow: how the calls of the last seconds ended.

Calls are counted in buckets of a tenth of the window, so that memory and time do not grow with their number. The
price: a bucket is forgotten as a whole, with the first of its calls.
"""

from collections import Counter, deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final

_BUCKETS: Final = 10


@dataclass(slots=True)
class _Bucket:
    """The calls that ended within a tenth of the window."""

    start_at: float
    volume: int = 0
    slow: int = 0
    reasons: Counter[Hashable] = field(default_factory=Counter)


class OutcomeWindow:
    """Counts of calls, of slow ones, and of failed ones by reason.

    Not safe between threads: its owner's lock guards it. Instants are seconds of one clock and never step back.

    Args:
        length_s: A call counts for at least nine tenths of this, and no longer than this. Above 0.
    """

    __slots__ = ("_buckets", "_length_s", "failures", "slow", "volume")

    def __init__(self, length_s: float) -> None:
        self._length_s = length_s
        self._buckets: deque[_Bucket] = deque()
        self.clear()

    def resize(self, length_s: float) -> None:
        """Let calls count for another length from now on; those counted already keep their buckets."""
        self._length_s = length_s

    def clear(self) -> None:
        """Forget everything."""
        self._buckets.clear()
        self.volume = self.slow = self.failures = 0

    def succeeded(self, now: float, *, is_slow: bool) -> None:
        """Count a call that ends now and has succeeded."""
        self._count(now, is_slow=is_slow)

    def failed(self, now: float, reason: Hashable, *, is_slow: bool) -> None:
        """Count a call that ends now and has failed."""
        self._count(now, is_slow=is_slow).reasons[reason] += 1
        self.failures += 1

    def forget(self, now: float) -> None:
        """Drop what is too old. `volume`, `slow` and `failures` are those of the last call of any method."""
        while self._buckets and now - self._buckets[0].start_at >= self._length_s:
            bucket = self._buckets.popleft()
            self.volume -= bucket.volume
            self.slow -= bucket.slow
            self.failures -= bucket.reasons.total()

    def main_reason(self) -> Hashable | None:
        """The reason most failures had; None without failures."""
        reasons = sum((bucket.reasons for bucket in self._buckets), Counter[Hashable]())
        return reasons.most_common(1)[0][0] if reasons else None

    def _count(self, now: float, *, is_slow: bool) -> _Bucket:
        self.forget(now)
        if not self._buckets or now - self._buckets[-1].start_at >= self._length_s / _BUCKETS:
            self._buckets.append(_Bucket(now))
        bucket = self._buckets[-1]
        bucket.volume += 1
        bucket.slow += is_slow
        self.volume += 1
        self.slow += is_slow
        return bucket
