"""The files that director tests write and read: their names and what is in them.

An origin keeps what it is given; a cache fetches the file from this director, which serves any file with a right name
(`web.health_test`).

Source: Pelican `server_utils/test_file_transfer.go`, `director/cache_monitor.go`.
"""

import datetime as dt
from typing import Final

from director_wsgi.redirect.monitoring import MONITORING

CONTENT: Final = b"This object was created by the Pelican director-test functionality"
"""What is written to an origin and must come back. What this director serves to caches has a newline at its end."""

DIRECTOR_TEST: Final = "director-test-"
SELF_TEST: Final = "self-test-"
"""What the names of files begin with; the time of the test follows."""

_DIRECTORY: Final = f"{MONITORING}/directorTest"


def stamp(now: float) -> str:
    """A Unix time as Go writes it in RFC 3339, in UTC: `2026-01-24T12:16:59Z`."""
    return dt.datetime.fromtimestamp(now, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def path_at_origin(now: float) -> str:
    """Where a test of an origin that begins now writes."""
    return f"{_DIRECTORY}/{DIRECTOR_TEST}{stamp(now)}.txt"


def path_at_cache(now: float, hostname: str) -> str:
    """What a test of a cache that begins now reads.

    Args:
        now: Unix time.
        hostname: This director's (`Server.Hostname`): several directors may test one cache.
    """
    when = stamp(now)
    return f"{_DIRECTORY}/{hostname}/{when[:10]}/{DIRECTOR_TEST}{when}.txt"


def is_content(body: bytes) -> bool:
    """Whether this is the file, with or without the newline."""
    return body.removesuffix(b"\n") == CONTENT
