"""What spans say of the gates and of single HEADs. Costs a few calls of nothing where nothing is traced."""

from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import urlsplit

from director_wsgi.federation.models import ServerAd
from director_wsgi.runtime.tracing import attributes as say
from director_wsgi.runtime.tracing.span import CLIENT, Trace
from director_wsgi.stat.evidence import Evidence, Presence, Reason


def begun(trace: Trace, server: ServerAd, detached: str, *, queued_s: float) -> Trace:
    """A HEAD begins.

    Args:
        trace: Of whoever asks.
        server: Who is asked.
        detached: Why, if nobody waits for it; else empty.
        queued_s: How long it waited for a slot.
    """
    span = trace.child("HEAD", CLIENT)
    if span.is_recorded:
        host, port = _place(server.base_url)
        span.set(say.METHOD, "HEAD")
        span.set(say.SERVER, server.name)
        span.set(say.HOST, host)
        span.set(say.PORT, port)
        span.set(say.QUEUED, queued_s)
        if detached:
            span.set(say.DETACHED, detached)
    return span


@lru_cache(maxsize=4096)
def _place(base_url: str) -> tuple[str, int]:
    """Host and port of a server; nothing, if what it advertises is none."""
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        return "", 0
    return parts.hostname or "", port or (443 if parts.scheme == "https" else 80)


def ended(span: Trace, evidence: Evidence) -> None:
    """It has ended so."""
    if span.is_recorded:
        span.set(say.PRESENCE, evidence.presence.value)
        if evidence.status is not None:
            span.set(say.STATUS, evidence.status)
        if evidence.presence is Presence.UNKNOWN and evidence.reason is not None:
            span.set(say.REASON, evidence.reason.value)
            span.fail(evidence.reason.value)
    span.end()


def joined(trace: Trace, server: ServerAd) -> None:
    """Somebody else is asking the server already; the HEAD is in his trace."""
    if trace.is_recorded:
        trace.event("joined", {say.SERVER: server.name})


def gates(
    trace: Trace, answers: Iterable[Evidence], *, asked: int, joined: int, no_slot: int, left: int, is_gone: bool
) -> None:
    """How many servers ended at which gate.

    Args:
        trace: Of whoever asks.
        answers: Of all servers.
        asked: By this asker.
        joined: Asked by somebody else already.
        no_slot: Too busy.
        left: Still being asked when the wait ended.
        is_gone: The client had gone.
    """
    if not trace.is_recorded:
        return
    is_open = sum(1 for one in answers if one.reason is Reason.CIRCUIT_OPEN or one.stale_s is not None)
    for attribute, servers in (
        (say.ASKED, asked),
        (say.JOINED, joined),
        (say.CIRCUIT_OPEN, is_open),
        (say.NO_SLOT, no_slot),
        (say.LEFT, left),
    ):
        trace.set(attribute, servers)
    if is_gone:
        trace.set(say.CLIENT_GONE, True)
