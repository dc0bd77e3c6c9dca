"""Downtimes: when a server is not to be used, as the server itself or the registry announces it. Pure.

Source: Pelican `server_structs` (`Downtime`); when one is active, `director/cache_ads.go:applyServerDowntimes`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from director_wsgi.federation.wire import Fields, WireError

MAX_OF_ONE_SERVER: Final = 100
"""Downtimes kept of one advertisement: the first ones. Servers send the present one and those to come."""

MAX_OF_REGISTRY: Final = 10_000
"""Downtimes kept of the registry's list: the first ones."""

OPEN_END: Final = -1
"""`endTime` of a downtime that lasts until somebody ends it."""


def milliseconds(now_s: float) -> int:
    """The millisecond that an instant lies in."""
    return math.floor(now_s * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Downtime:
    """One announcement. Instants are milliseconds since the Unix epoch, as on the wire.

    Attributes:
        id: A UUID, by which the copies of a server and of the registry are known to be one; may be empty.
        server_name: Whose it is. In old entries of a registry this is the registry prefix.
        server_id: The same by identifier; may be empty.
        source: Who announced it first: `origin`, `cache` or `registry`.
        kind: `SCHEDULED` or `UNSCHEDULED` (`class` on the wire).
        ends_at_ms: Its last millisecond, or `OPEN_END`.
        deleted_at_ms: None for one that was not withdrawn.
    """

    id: str = ""
    server_name: str = ""
    server_id: str = ""
    created_by: str = ""
    updated_by: str = ""
    source: str = ""
    kind: str = ""
    description: str = ""
    severity: str = ""
    starts_at_ms: int = 0
    ends_at_ms: int = 0
    created_at_ms: int = 0
    updated_at_ms: int = 0
    deleted_at_ms: int | None = None

    def is_active(self, now_s: float) -> bool:
        """Whether the server is not to be used at this instant, in seconds since the Unix epoch."""
        now_ms = milliseconds(now_s)
        return self.starts_at_ms <= now_ms and (self.ends_at_ms == OPEN_END or now_ms <= self.ends_at_ms)

    def edges_ms(self) -> tuple[int, ...]:
        """Its first millisecond, and the first one after its end if it has one."""
        return (self.starts_at_ms,) if self.ends_at_ms == OPEN_END else (self.starts_at_ms, self.ends_at_ms + 1)

    def wire(self) -> dict[str, object]:
        """The JSON object that Pelican's listings show."""
        return {
            "id": self.id,
            "serverName": self.server_name,
            "serverId": self.server_id,
            "createdBy": self.created_by,
            "updatedBy": self.updated_by,
            "source": self.source,
            "class": self.kind,
            "description": self.description,
            "severity": self.severity,
            "startTime": self.starts_at_ms,
            "endTime": self.ends_at_ms,
            "createdAt": self.created_at_ms,
            "updatedAt": self.updated_at_ms,
            "deletedAt": self.deleted_at_ms,
        }


def downtimes_of_ad(fields: Fields) -> tuple[Downtime, ...]:
    """The member `downtimes` of an advertisement.

    Raises:
        WireError: One of its values has the wrong type. An advertisement is read as a whole or not at all.
    """
    return tuple(map(_downtime, list(fields.structs("downtimes", "Downtime"))[:MAX_OF_ONE_SERVER]))


def downtimes_of_registry(values: Iterable[Any]) -> tuple[tuple[Downtime, ...], int]:
    """The registry's list, and how many of its elements could not be read.

    One element that makes no sense keeps nobody else's downtime from being heeded.
    """
    read: list[Downtime] = []
    unreadable = 0
    for value in values:
        if len(read) == MAX_OF_REGISTRY:
            break
        downtime = _readable(value)
        if downtime is None:
            unreadable += 1
        else:
            read.append(downtime)
    return tuple(read), unreadable


def _readable(value: object) -> Downtime | None:
    if not isinstance(value, dict):
        return None
    try:
        return _downtime(Fields(value, "Downtime"))
    except WireError:
        return None


def _downtime(fields: Fields) -> Downtime:
    return Downtime(
        id=fields.text("id"),
        server_name=fields.text("serverName"),
        server_id=fields.text("serverId"),
        created_by=fields.text("createdBy"),
        updated_by=fields.text("updatedBy"),
        source=fields.text("source"),
        kind=fields.text("class"),
        description=fields.prose("description"),
        severity=fields.prose("severity"),
        starts_at_ms=_milliseconds(fields, "startTime"),
        ends_at_ms=_milliseconds(fields, "endTime"),
        created_at_ms=_milliseconds(fields, "createdAt"),
        updated_at_ms=_milliseconds(fields, "updatedAt"),
        deleted_at_ms=_milliseconds(fields, "deletedAt") if fields.has("deletedAt") else None,
    )


def _milliseconds(fields: Fields, name: str) -> int:
    return fields.integer(name, low=-(1 << 63), high=(1 << 63) - 1, wanted="int64")
