"""Workers of one host, whose replicas take their turns when they are told to."""

from collections.abc import Callable, Sequence
from pathlib import Path

from director_wsgi.federation.replica import Replica
from director_wsgi.federation.store.errors import StoreError
from director_wsgi.federation.store.records import Changes, Drop, Put, Record, Renewal, Written
from director_wsgi.federation.store.sqlite import SqliteStore
from director_wsgi.limits.deadline import Deadline
from tests.fakes import FakeClock


class Faulty:
    """A store that can be made to fail, and that lets something happen before it is used."""

    def __init__(self, path: Path, *, clock: FakeClock, wall: FakeClock) -> None:
        self.cannot_write: Exception | None = None
        self.cannot_read: StoreError | None = None
        self.before_put: Callable[[], object] = lambda: None
        self.puts: list[Put | Drop] = []
        self.is_closed = False
        self.store = SqliteStore(path, clock=clock, wall=wall)

    def put(self, changes: Sequence[Put | Drop], deadline: Deadline) -> Written:
        self._may_write()
        happens, self.before_put = self.before_put, lambda: None
        happens()
        self.puts += changes
        return self.store.put(changes, deadline)

    def get(self, kind: str, key: str) -> Record | None:
        return self.store.get(kind, key)

    def changes(self, since: int) -> Changes:
        self._may_read()
        return self.store.changes(since)

    def revision(self) -> int:
        self._may_read()
        return self.store.revision()

    def take_lease(self, name: str, holder: str, ttl_s: float) -> bool:
        self._may_write()
        return self.store.take_lease(name, holder, ttl_s)

    def leave(self, name: str, holder: str) -> None:
        self._may_write()
        self.store.leave(name, holder)

    def holder(self, name: str) -> str | None:
        return self.store.holder(name)

    def close(self) -> None:
        self.is_closed = True
        self.store.close()

    def bodies(self, kind: str) -> list[tuple[str, bytes | None]]:
        """What was put of a kind, in order; None for what was merely renewed."""
        return [(put.key, put.body) for put in self.puts if isinstance(put, Put) and put.kind == kind]

    def _may_write(self) -> None:
        if self.cannot_write is not None:
            raise self.cannot_write

    def _may_read(self) -> None:
        if self.cannot_read is not None:
            raise self.cannot_read


class Notes:
    """A follower that takes down what it is told. Its token for a record is the body."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, bytes | None]] = []
        self.known = True
        self.fails_at: str | None = None

    def took(self, record: Record) -> bytes:
        if record.key == self.fails_at:
            raise RuntimeError("cannot take this")
        self.told.append(("took", record.key, record.body))
        return record.body

    def renewed(self, renewal: Renewal) -> bool:
        self.told.append(("renewed", renewal.key, None))
        return self.known

    def dropped(self, key: str) -> None:
        self.told.append(("dropped", key, None))

    def take(self) -> list[tuple[str, str, bytes | None]]:
        told, self.told = self.told, []
        return told


class Worker:
    """One worker: its replica, its side of the store, and what it was told of the kind `thing`."""

    def __init__(self, path: Path, name: str, *, clock: FakeClock, wall: FakeClock) -> None:
        self.store = Faulty(path, clock=clock, wall=wall)
        self.replica = Replica(self.store, holder=name, clock=clock, wall=wall)
        self.notes = Notes()
        self.replica.follow("thing", self.notes)

    def says(self, key: str, body: bytes, *, lifetime_s: float = 60.0) -> None:
        self.replica.publish("thing", key, lambda: body, lifetime_s=lifetime_s, token=body)


class Host:
    """Some workers and the time they share."""

    def __init__(self, folder: Path, clock: FakeClock, wall: FakeClock) -> None:
        self.path = folder / "bus.sqlite"
        self.clock = clock
        self.wall = wall
        self.workers: list[Worker] = []

    def worker(self) -> Worker:
        """One more, which has not taken a turn yet."""
        name = f"worker-{len(self.workers)}"
        self.workers.append(Worker(self.path, name, clock=self.clock, wall=self.wall))
        return self.workers[-1]

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.wall.advance(seconds)

    def turns(self, seconds: float = 0.0, *, of: Sequence[Worker] = ()) -> None:
        """All, or these, take turns until what one has to say is heard by the others; and again each second."""
        for step in range(int(seconds) + 1):
            if step:
                self.advance(1.0)
            for _ in range(3):
                for worker in of or self.workers:
                    worker.replica.turn()

    def close(self) -> None:
        for worker in self.workers:
            worker.store.close()
