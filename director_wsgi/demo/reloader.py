"""One of the processes that reload, in `demo reload-leak`: `python -m director_wsgi.demo.reloader HOLDER ENDPOINT`.

It obeys orders on standard input, one line of JSON each, and answers each with one on standard output. It ends when
there are no more.
"""

import gc
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

from director_wsgi.demo.refused import RefusedError
from director_wsgi.limits.deadline import Deadline

LEAKING: Final = "leaking"
LEASED: Final = "leased"

FIRST: Final = "first"
"""What the service is called before any reload."""

SETTLING_S: Final = 10.0
_POLL_S: Final = 0.002


class Holder(Protocol):
    """What a process holds its tracer with."""

    @property
    def exporter(self) -> type:
        """The class whose objects are counted as alive."""
        ...

    @property
    def builds(self) -> int:
        """How often a tracer, or what it is made of, was built."""
        ...

    def reload(self, service: str, *, is_wrong: bool) -> None:
        """Load another configuration.

        Args:
            service: Its only setting: what the service is called.
            is_wrong: Whether provisioning fails after the step of the tracer.

        Raises:
            RefusedError: It was wrong; the one before is still in force.
        """
        ...

    def use(self) -> None:
        """Serve a request by the configuration in force, and tell of it as a span."""
        ...

    def is_settled(self) -> bool:
        """Whether nothing is under way that will end by itself."""
        ...

    def close(self) -> None:
        """The last configuration goes, and nothing is loaded any more."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to do.

    Attributes:
        does: `reload` and use once; `settle`: wait for what ends by itself; `close`, and settle.
        service: See `Holder.reload`.
        is_wrong: See `Holder.reload`.
    """

    does: str
    service: str = ""
    is_wrong: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What became of an order, and how it stands after it.

    Attributes:
        builds: See `Holder.builds`.
        exporters: How many live, after what is garbage has been collected.
        was_refused: Whether the configuration was.
    """

    builds: int
    exporters: int
    was_refused: bool


def obey(holder: Holder, order: Order) -> Told:
    """Do what is ordered."""
    was_refused = False
    match order.does:
        case "reload":
            try:
                holder.reload(order.service, is_wrong=order.is_wrong)
            except RefusedError:
                was_refused = True
            holder.use()
        case "settle":
            _settle(holder)
        case "close":
            holder.close()
            _settle(holder)
        case _:
            raise ValueError(order.does)
    gc.collect()
    alive = sum(type(one) is holder.exporter for one in gc.get_objects())
    return Told(builds=holder.builds, exporters=alive, was_refused=was_refused)


def _settle(holder: Holder) -> None:
    deadline = Deadline.after(SETTLING_S)
    while not holder.is_settled() and not deadline.has_passed():
        time.sleep(_POLL_S)


def written(message: Order | Told) -> str:
    """A message as a line."""
    return json.dumps(asdict(message)) + "\n"


def _made(name: str, endpoint: str) -> Holder:
    """Only what it is about is imported: the memory of the two is to be compared."""
    if name == LEAKING:
        from director_wsgi.demo.leaking import Leaking  # noqa: PLC0415, see above

        return Leaking(endpoint, FIRST)
    if name == LEASED:
        from director_wsgi.demo.leased import Leased  # noqa: PLC0415, see above

        return Leased(endpoint, FIRST)
    raise ValueError(name)


def main(name: str, endpoint: str) -> None:
    """Obey until there are no more orders; a thread that nobody can end any more ends with the process."""
    holder = _made(name, endpoint)
    holder.use()
    for line in sys.stdin:
        fields: dict[str, Any] = json.loads(line)
        sys.stdout.write(written(obey(holder, Order(**fields))))
        sys.stdout.flush()
    os._exit(0)  # the SDK would wait for its collector, for up to 30 s


if __name__ == "__main__":
    main(*sys.argv[1:])
