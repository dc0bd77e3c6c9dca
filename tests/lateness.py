"""How late this process runs: a machine that stands still makes the well look sick, and an experiment on it void.

with Lateness() as lateness:
    ...  # something whose outcome depends on time
if lateness.worst_s > margin_s:
    ...  # it says nothing
"""

import threading
from typing import Final, Self

from director_wsgi.limits.deadline import monotonic

TICK_S: Final = 0.01


class Lateness:
    """A thread that wakes every `TICK_S`, and writes down how late it was. A context manager.

    Whatever keeps it from running, be it the machine, another process or the interpreter's lock, keeps the other
    threads of this process as well.

    Attributes:
        worst_s: The most so far.
    """

    def __init__(self) -> None:
        self.worst_s = 0.0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lateness")

    def _run(self) -> None:
        ends = False
        while not ends:
            due = monotonic() + TICK_S
            ends = self._ending.wait(TICK_S)
            self.worst_s = max(self.worst_s, monotonic() - due)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
