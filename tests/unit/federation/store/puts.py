"""Changes, with as little said as a test is about."""

from director_wsgi.federation.store.records import Changes, Drop, Put
from director_wsgi.limits.deadline import Deadline
from tests.fakes import FakeClock

NOW = 1_767_225_600.0
ENDS_AT = NOW + 900.0

ROOM = Deadline.after(10.0, FakeClock())


def put(
    key: str, body: bytes | None = b"body", *, kind: str = "ad", expires_at: float = ENDS_AT, unless_known: bool = False
) -> Put:
    return Put(kind=kind, key=key, body=body, expires_at=expires_at, granted_s=900.0, unless_known=unless_known)


def drop(key: str) -> Drop:
    return Drop(kind="ad", key=key)


def keys(changes: Changes) -> list[str]:
    return [record.key for record in changes.records]
