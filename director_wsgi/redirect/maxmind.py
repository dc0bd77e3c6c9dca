"""Places of addresses, out of a database in MaxMind's format (`Director.GeoIPLocation`).

The file is copied into memory and the copy is mapped, not the file. The reader maps what it is given, and whoever
shortens a mapped file (`cp` over it does) has the kernel kill every process that reads it: SIGBUS, and no `except`
catches that. The copy is the director's own.

A reader that has been replaced is never closed, only dropped: a request may be in the middle of it, and to unmap memory
under a reader ends the process as well. When its last user lets go of it, Python frees it.

A look-up decodes a whole record, names in eight languages included: 6 to 10 µs with the C extension, 60 to 90 without
(GeoLite2-City, 57 MB). So the answers for the last `REMEMBERED` addresses are kept, and cost a twentieth of one.

Source: Pelican `director/maxmind.go`, `director/sort_utilities.go:getClientCoordinate`;
https://maxmind.github.io/MaxMind-DB/.
"""

import contextlib
import enum
import logging
import os
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Final, NamedTuple

import maxminddb

from director_wsgi.federation.models import Coordinate
from director_wsgi.redirect.geo import parse_address

MAX_ACCURACY_RADIUS_KM: Final = 900
"""A record that is no surer than this says no more than which part of a continent."""

REMEMBERED: Final = 16_384
"""Addresses whose place is kept, about 4 MB of them."""

REFRESH_INTERVAL_S: Final = 30.0
"""How often it is looked whether the file is another one."""

MAX_BYTES: Final = 1 << 30
"""The largest file that is read; cities of the whole world take a tenth."""

_CHUNK_BYTES: Final = 1 << 20
_PROBES: Final = tuple(f"{first}.{second}.1.1" for first in range(1, 224) for second in (8, 136))

log = logging.getLogger(__name__)


class Unplaced(enum.Enum):
    """Why an address has no place."""

    NO_DATABASE = "no database"
    NO_ADDRESS = "no address"  # a client on a Unix socket
    NO_RECORD = "no record"
    NOWHERE = "at 0, 0"
    TOO_VAGUE = "too vague"
    DAMAGED = "damaged record"


Found = Coordinate | Unplaced


class _File(NamedTuple):
    """What tells one state of a file from another."""

    inode: int
    mtime_ns: int
    size_bytes: int


class _Unusable(Exception):
    """Why a file is no database of places."""


class _StillWritten(Exception):
    """The file changed while it was read."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    """One database: a look-up over its reader, which lives exactly as long as this."""

    place_of: Callable[[str], Found]
    built_at: int
    description: str


class GeoDatabase:
    """Tells where addresses are. Any number of threads may ask while one of them refreshes.

    Args:
        path: The file; it need not be there. None: there is none, and there never will be.
        says_missing: Whether to log that it is not there; for one of several workers.
    """

    # _counts_lock guards _counts. _loaded is replaced as a whole; the rest is touched by `refresh` only.

    def __init__(self, path: Path | None, *, says_missing: bool = True) -> None:
        self._path = path
        self._says_missing = says_missing
        self._loaded: _Loaded | None = None
        self._seen: _File | None = None
        self._complaint = ""
        self._counts: Counter[Unplaced] = Counter()
        self._counts_lock = threading.Lock()

    @property
    def is_loaded(self) -> bool:
        """Whether there is a database to look into."""
        return self._loaded is not None

    @property
    def built_at(self) -> int | None:
        """When the database in use was made, in Unix seconds; None if there is none."""
        loaded = self._loaded
        return loaded.built_at if loaded else None

    @property
    def counts(self) -> Mapping[Unplaced, int]:
        """How often an address had no place, by the reason."""
        with self._counts_lock:
            return dict(self._counts)

    def place_of(self, address: str) -> Found:
        """The place of an IP address, or why it has none. Raises nothing, reads no file, waits for nobody."""
        loaded = self._loaded
        found = loaded.place_of(address) if loaded else Unplaced.NO_DATABASE
        if isinstance(found, Unplaced):
            with self._counts_lock:
                self._counts[found] += 1
        return found

    def refresh(self) -> bool:
        """Read the file if it is another than the last time; one thread at a time. Whether a new one is in use.

        A file that is not there, or is no database, changes nothing: the database in use stays. That is logged once.
        """
        if self._path is None:
            return False
        try:
            file = _look_at(self._path)
            if file == self._seen:
                return False
            self._seen = file  # if it is useless, it is not read again until it is another
            loaded = _load(self._path, file)
        except _StillWritten:
            self._seen = None  # the next time it may be whole
            return False
        except FileNotFoundError:
            self._seen = None
            self._tell_missing(self._path)
            return False
        except OSError as error:
            self._seen = None
            self._tell_useless(self._path, error.strerror or str(error))
            return False
        except _Unusable as error:
            self._tell_useless(self._path, str(error))
            return False
        self._loaded, self._complaint = loaded, ""
        log.info("places of addresses come from %s (%s)", self._path, loaded.description)
        return True

    def _tell_missing(self, path: Path) -> None:
        if self._loaded:
            self._tell(logging.WARNING, f"{path} is gone; the places read from it stay in use until a restart")
        elif self._says_missing:
            self._tell(
                logging.INFO,
                f"there is no {path} (Director.GeoIPLocation): where clients and servers are is known from themselves "
                "and from GeoIPOverrides only; it is read as soon as it is there",
            )

    def _tell_useless(self, path: Path, why: str) -> None:
        so = "the places read before stay in use" if self._loaded else "no places are read from it"
        self._tell(
            logging.WARNING,
            f"{path} (Director.GeoIPLocation) cannot be used: {why}; {so}. Put a whole City database there: write it "
            "beside the old one and rename it, as geoipupdate does",
        )

    def _tell(self, level: int, complaint: str) -> None:
        if complaint != self._complaint:
            self._complaint = complaint
            log.log(level, "%s", complaint)


def _look_at(path: Path) -> _File:
    """Which file is there now.

    Raises:
        OSError: None that could be read.
        _Unusable: It is no regular file: reading a pipe might wait for ever.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise _Unusable("it is no regular file")
    if found.st_size > MAX_BYTES:
        raise _Unusable(f"it is larger than {MAX_BYTES >> 20} MiB")
    return _File(found.st_ino, found.st_mtime_ns, found.st_size)


def _load(path: Path, file: _File) -> _Loaded:
    """Copy a file and open the copy.

    Raises:
        OSError: It cannot be read, or there is no memory for a copy.
        _StillWritten: It is another file by now.
        _Unusable: It is no whole database of places.
    """
    with os.fdopen(os.memfd_create("director-places"), "wb") as copy:
        _copy(path, copy.write)
        copy.flush()
        if _look_at(path) != file:
            raise _StillWritten
        try:
            # The reader opens the copy by this name, and keeps it after the descriptor is closed.
            reader = maxminddb.open_database(f"/proc/self/fd/{copy.fileno()}")
            metadata = reader.metadata()
            kind, built_at = metadata.database_type, metadata.build_epoch
            description = f"{kind}, made on {time.strftime('%Y-%m-%d', time.gmtime(built_at))}"
        except Exception as error:  # noqa: BLE001, there is no telling what the reader makes of other bytes
            raise _Unusable(f"it is no whole database in MaxMind's format ({type(error).__name__})") from None
    _probe(reader, kind)
    return _Loaded(lru_cache(REMEMBERED)(partial(_place_of, reader)), built_at, description)


def _copy(path: Path, write: Callable[[bytes], object]) -> None:
    left_bytes = MAX_BYTES
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            left_bytes -= len(chunk)
            if left_bytes < 0:
                raise _StillWritten  # it was smaller a moment ago
            write(chunk)


def _probe(reader: maxminddb.Reader, kind: str) -> None:
    """Look into every corner: a file with a hole in it opens like a whole one, and so does one of countries.

    Raises:
        _Unusable: A record cannot be read, or there are records, and none tells a place.
    """
    found = [_place_of(reader, address) for address in _PROBES]
    if Unplaced.DAMAGED in found:
        raise _Unusable("some of its records cannot be read")
    if set(found) == {Unplaced.NO_RECORD} and any(_has_record(reader, address) for address in _PROBES):
        raise _Unusable(f"it is of the kind {kind}, whose records tell no places")


def _has_record(reader: maxminddb.Reader, address: str) -> bool:
    with contextlib.suppress(ValueError):
        return reader.get(address) is not None
    return False


def _place_of(reader: maxminddb.Reader, address: str) -> Found:
    parsed = parse_address(address)
    if parsed is None:
        return Unplaced.NO_ADDRESS
    try:
        record = reader.get(str(parsed))
    except ValueError as error:
        # An IPv6 address in a database of IPv4 is one that it does not know; text that is no UTF-8 is damage.
        return Unplaced.DAMAGED if isinstance(error, UnicodeError) else Unplaced.NO_RECORD
    except Exception:  # noqa: BLE001, InvalidDatabaseError, or whatever bytes that make no sense lead the reader to
        return Unplaced.DAMAGED
    return _read(record)


def _read(record: object) -> Found:
    location = record.get("location") if isinstance(record, dict) else None
    if not isinstance(location, dict):
        return Unplaced.NO_RECORD
    latitude, longitude = location.get("latitude"), location.get("longitude")
    if latitude is None or longitude is None:
        return Unplaced.NO_RECORD
    radius_km = location.get("accuracy_radius", 0)
    if not (isinstance(latitude, (int, float)) and isinstance(longitude, (int, float)) and isinstance(radius_km, int)):
        return Unplaced.DAMAGED
    if not (abs(latitude) <= 90 and abs(longitude) <= 180 and radius_km >= 0):  # NaN fails this too
        return Unplaced.DAMAGED
    if latitude == 0 and longitude == 0:
        return Unplaced.NOWHERE
    if radius_km >= MAX_ACCURACY_RADIUS_KM:
        return Unplaced.TOO_VAGUE
    return Coordinate(latitude=latitude, longitude=longitude, accuracy_radius_km=radius_km, source="maxmind")
