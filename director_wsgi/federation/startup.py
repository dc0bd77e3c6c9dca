"""How long a director may not know yet who is there."""

from director_wsgi.limits.deadline import Clock


class StartupWindow:
    """Open for a while after the start: within it every server that lives has advertised itself.

    A worker that begins later than its director, and has been told what the others know, need not wait for anybody: its
    window is the director's. One that knows nobody has a window of its own.
    """

    def __init__(self, length_s: float, *, started_at: float, first_started_at: float, clock: Clock) -> None:
        """Put it at this worker's start.

        Args:
            length_s: How long it is open (`Director.StartupWindow`).
            started_at: When this worker began, on `clock`.
            first_started_at: When the director did.
            clock: Monotonic seconds.
        """
        self._length_s = length_s
        self._begins_at = started_at
        self._first_started_at = first_started_at
        self._clock = clock

    def caught_up(self) -> None:
        """This worker knows what was known before it."""
        self._begins_at = self._first_started_at

    def age_s(self) -> float:
        """For how many seconds servers have advertised to somebody whom this worker has heard."""
        return self._clock() - self._begins_at

    def is_open(self) -> bool:
        """Whether there may be servers that nobody knows of yet."""
        return self.age_s() <= self._length_s
