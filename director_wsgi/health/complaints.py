"""What the log says of tests: that something is wrong, at a bounded rate, and that it is well again."""

import logging
from typing import Final

from director_wsgi.health.cycle import NO_KEY, Ended
from director_wsgi.health.schedule import Entry

COMPLAINT_S: Final = 300.0
"""How often the log says of one server that something is wrong with it, at most."""

Line = tuple[int, str]
"""Level and text."""


class Complaints:
    """Decides what is said. Not for several threads at once: its owner has a lock, and logs without it."""

    def __init__(self) -> None:
        self._lacks_key = False

    def after(self, entry: Entry, ended: Ended, now: float) -> list[Line]:
        """What to log of a cycle that has ended."""
        return [*self._of_key(lacks=ended.lacks_key), *_of_server(entry, ended.complaint, now)]

    def _of_key(self, *, lacks: bool) -> list[Line]:
        """Of our key: once."""
        if lacks and not self._lacks_key:
            self._lacks_key = True
            return [(logging.ERROR, f"{NO_KEY}: no origin can be tested, and no server told how its test went")]
        return []


def _of_server(entry: Entry, complaint: str | None, now: float) -> list[Line]:
    name = entry.server.name
    if complaint is None:
        was_complained, entry.is_complained = entry.is_complained, False
        return [(logging.INFO, f"{name}: the director test is well again")] if was_complained else []
    if entry.complained_at is not None and now - entry.complained_at < COMPLAINT_S:
        return []
    entry.complained_at, entry.is_complained = now, True
    return [(logging.WARNING, f"{name}: {complaint}")]
