"""One asker's wait for several servers.

An asker waits at one place only, its inbox. Slots and answers arrive there in the order in which they come about, so
that no door and no server is waited for while another has opened or answered. Whatever is to end the wait earlier has
one place to stand: the condition of the loop in `ask_all`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue

from director_wsgi.limits.deadline import Deadline
from director_wsgi.limits.slots import Place, Slots
from director_wsgi.stat.evidence import Evidence, Reason
from director_wsgi.stat.server import Tell

NO_SLOT = Evidence.unknown(Reason.NO_SLOT)
"""The door was shut until the deadline."""

LEFT = Evidence.unknown(Reason.TIMED_OUT)
"""The asker left at its deadline; the server is still being asked."""


@dataclass(frozen=True, slots=True)
class Errand:
    """One server that is to be asked.

    Attributes:
        slots: The server's door.
        start: Asks the server without waiting, once the asker has a slot, and takes over that slot. What it is given
            is told the answer, once.
    """

    slots: Slots
    start: Callable[[Tell], None]


def ask_all(errands: Mapping[int, Errand], deadline: Deadline) -> dict[int, Evidence]:
    """Ask every server that has room, then wait for slots and answers until `deadline`.

    Every server is asked before any is waited for. At the doors still shut places are taken at once, at all of them;
    each is worth what `slots.acquire(timeout=deadline.remaining_s())` would be there alone.

    Args:
        errands: Whom to ask, by any number that tells them apart.
        deadline: When to leave. What has been started goes on.

    Returns:
        For each errand the answer, `LEFT` or `NO_SLOT`.
    """
    inbox: SimpleQueue[tuple[int, Evidence | None]] = SimpleQueue()  # None: the slot waited for is there
    answers: dict[int, Evidence] = {}
    places: dict[int, Place] = {}

    def start(which: int) -> None:
        errands[which].start(lambda answer: inbox.put((which, answer)))

    shut = []
    for which, errand in errands.items():
        if errand.slots.acquire(blocking=False):
            start(which)
        else:
            shut.append(which)
    try:
        for which in shut:
            places[which] = errands[which].slots.queue_up(partial(inbox.put, (which, None)))
        while len(answers) < len(errands):
            which, answer = inbox.get(timeout=deadline.remaining_s())
            if answer is not None:
                answers[which] = answer
            else:
                del places[which]
                start(which)
    except Empty:
        pass
    finally:
        for which, place in places.items():
            if errands[which].slots.leave(place):  # granted in this very moment
                errands[which].slots.release()
    return {which: answers.get(which, NO_SLOT if which in places else LEFT) for which in errands}
