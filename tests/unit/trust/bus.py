"""What workers tell each other, without a store or a thread: what one publishes the others hear at once."""

from collections.abc import Callable

from director_wsgi.federation.alone import Alone
from director_wsgi.federation.replica import Follower
from director_wsgi.federation.store.records import Record, Renewal
from director_wsgi.trust.shared import Sharing
from tests.fakes import FakeClock

Key = tuple[str, str]


class Bus:
    """The records, and who listens.

    Attributes:
        said: `put`, `renew` or `drop`, with the key, in order.
    """

    def __init__(self, wall: FakeClock) -> None:
        self.wall = wall
        self.records: dict[Key, Record] = {}
        self.said: list[tuple[str, str]] = []
        self._workers: list[Worker] = []

    def worker(self) -> "Worker":
        """One more worker; it is told what there is when it starts."""
        made = Worker(self)
        self._workers.append(made)
        return made

    def spoil(self, body: bytes) -> None:
        """Every body becomes this."""
        self.records = {
            key: Record(
                kind=record.kind,
                key=record.key,
                body=body,
                expires_at=record.expires_at,
                granted_s=record.granted_s,
                revision=record.revision,
            )
            for key, record in self.records.items()
        }

    def put(self, by: "Worker", record: Record, *, is_renewal: bool) -> None:
        self.records[record.kind, record.key] = record
        self.said.append(("renew" if is_renewal else "put", record.key))
        for worker in self._workers:
            if worker is not by:
                worker.hear(record, is_renewal=is_renewal)

    def drop(self, kind: str, key: str) -> None:
        self.said.append(("drop", key))
        if self.records.pop((kind, key), None) is not None:
            for worker in self._workers:  # the one that said so as well, as with a store
                worker.followers[kind].dropped(key)


class Worker(Alone):
    """Its end of the bus, in place of a `Replica`."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._tokens: dict[Key, object] = {}
        self.followers: dict[str, Follower] = {}

    @property
    def sharing(self) -> Sharing:
        return Sharing(self, self._bus.wall)

    def follow(self, kind: str, follower: Follower) -> None:
        self.followers[kind] = follower

    def publish(self, kind: str, key: str, encode: Callable[[], bytes], *, lifetime_s: float, token: object) -> None:
        known = self._bus.records.get((kind, key))
        is_renewal = known is not None and token is not None and self._tokens.get((kind, key)) == token
        body = known.body if is_renewal and known is not None else encode()
        self._tokens[kind, key] = token
        record = Record(
            kind=kind,
            key=key,
            body=body,
            expires_at=self._bus.wall() + lifetime_s,
            granted_s=lifetime_s,
            revision=len(self._bus.said) + 1,
        )
        self._bus.put(self, record, is_renewal=is_renewal)

    def drop(self, kind: str, key: str) -> None:
        self._bus.drop(kind, key)

    def read_all(self) -> None:
        """What a start does: take over what is there."""
        for record in tuple(self._bus.records.values()):
            self.hear(record, is_renewal=False)

    def hear(self, record: Record, *, is_renewal: bool) -> None:
        follower = self.followers.get(record.kind)
        if follower is None:
            return
        if is_renewal:
            renewal = Renewal(
                kind=record.kind,
                key=record.key,
                expires_at=record.expires_at,
                granted_s=record.granted_s,
                revision=record.revision,
            )
            if follower.renewed(renewal) is not False:
                return
        self._tokens[record.kind, record.key] = follower.took(record)
