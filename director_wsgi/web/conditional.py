"""Requests on a condition: what a client has, and whether that is what it would get.

What is conditional here has no date, so `If-Modified-Since` and `If-Unmodified-Since` are ignored.

Source: RFC 9110, sections 8.8.3.2 (comparison), 13.1 (`If-Match`, `If-None-Match`), 13.2.2 (their order).
"""

import re
from typing import Final

from flask import Request

_ENTITY_TAG: Final = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')


def instead_of(request: Request, tag: str) -> int | None:
    """With which status to answer instead of sending what has this strong entity tag; None: send it.

    Args:
        request: GET or HEAD, which would succeed.
        tag: In quotes.
    """
    wanted, had = request.headers.get("If-Match"), request.headers.get("If-None-Match")
    if wanted and not _has(wanted, tag, weakly=False):
        return 412
    if had and _has(had, tag, weakly=True):
        return 304
    return None


def _has(header: str, tag: str, *, weakly: bool) -> bool:
    """Whether this tag, or any (`*`), is meant. One pass, however long or broken the header is."""
    return header.strip() == "*" or any(
        found == tag and (weakly or not weak) for weak, found in _ENTITY_TAG.findall(header)
    )
