"""A director that shares nothing: one worker, which forgets all when it ends."""

from collections.abc import Callable

from director_wsgi.federation.replica import Follower, Sharing
from director_wsgi.federation.store.errors import StoreError
from director_wsgi.limits.deadline import Deadline


class Alone:
    """Looks like a `Replica`, to a worker that has nobody to share with."""

    holder = "alone"
    workers = 1
    has_read = True
    trouble: StoreError | None = None

    def follow(self, kind: str, follower: Follower) -> None:
        """Nobody else publishes anything."""

    def after_telling(self, do: Callable[[], object]) -> None:
        """Nothing is ever told."""

    def contend(self, name: str) -> None:
        """There is nobody to contend with."""

    def publish(self, kind: str, key: str, encode: Callable[[], bytes], *, lifetime_s: float, token: object) -> None:
        """Nobody listens."""

    def drop(self, kind: str, key: str) -> None:
        """Nobody listens."""

    def has_shared(self, within_s: float) -> bool:  # noqa: ARG002, as `Replica.has_shared`
        """There is nobody who could not know."""
        return True

    def statistics(self) -> Sharing:
        """How it goes: not at all."""
        return Sharing(workers=1, pending=0, lost=0, late=0, revision=0, leases=())

    def holds(self, name: str) -> bool:  # noqa: ARG002, as `Replica.holds`
        """Whether this worker is the one that does it: always."""
        return True

    def start(self, deadline: Deadline) -> bool:  # noqa: ARG002, as `Replica.start`
        """There is nothing to be read."""
        return True

    def stop(self, deadline: Deadline) -> bool:  # noqa: ARG002, as `Replica.stop`
        """Nothing was started."""
        return True
