"""One HEAD, and what its answer means.

Source: RFC 9110 9.3.2; Pelican `director/stat.go:sendHeadReq`, from which this differs where a wrong answer would
come of it: 401 is a refusal like 403; a redirect is not followed, since it would take the token to a server that
nobody advertised; there is no second try, since the first one has spent the time; no digest is asked for, since it
may cost the server a read of the whole object.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from director_wsgi.federation.urls import quote_path
from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Answer, Cancellation, Failure, OutboundError
from director_wsgi.stat.evidence import Evidence, Presence, Reason


class Client(Protocol):
    """The part of `outbound.client.HttpClient` that is needed here."""

    def send(
        self,
        method: str,
        url: str,
        *,
        deadline: Deadline,
        headers: Mapping[str, str] | None = None,
        cancellation: Cancellation | None = None,
    ) -> Answer:
        """One exchange; raises OutboundError only."""
        ...

    def keep(self, connections: int) -> None:
        """Keep so many connections open between questions from now on, at most; must neither wait nor raise."""
        ...

    def trim(self) -> None:
        """Give back connections that nobody has used for long; must neither wait nor raise."""
        ...

    def close(self) -> None:
        """Give the connections back."""
        ...


REASON_OF = {
    Failure.TIMED_OUT: Reason.TIMED_OUT,
    Failure.NAME: Reason.NAME,
    Failure.REFUSED: Reason.REFUSED,
    Failure.TLS: Reason.TLS,
    Failure.CUT_OFF: Reason.CUT_OFF,
    Failure.MALFORMED: Reason.FAILED,
    Failure.TOO_LARGE: Reason.FAILED,
    Failure.FORBIDDEN_ADDRESS: Reason.FORBIDDEN_ADDRESS,
    Failure.CANCELLED: Reason.CLOSED,
    Failure.CLOSED: Reason.CLOSED,
    Failure.OTHER: Reason.FAILED,
}
"""What a failed exchange tells of the object: nothing, for this reason."""

_SENDABLE = re.compile(r"[\x21-\x7e]+(?: +[\x21-\x7e]+)*")  # blanks within: XRootD's caches send `Basic …`
_MOST_DIGITS = 19
_LARGEST = 2**63 - 1


def head(
    client: Client,
    base_url: str,
    path: str,
    *,
    bearer: str | None,
    deadline: Deadline,
    cancellation: Cancellation,
    trace: Mapping[str, str] = MappingProxyType({}),
) -> Evidence:
    """Ask one server for one object. Nothing the server does raises.

    Args:
        client: How the server is reached.
        base_url: What the server's URLs are built on, without a slash at its end.
        path: Object path, decoded, starting with `/`.
        bearer: The client's token, as it came. One that cannot stand in a header is not sent, and nothing is asked:
            the server would refuse it, and asking without it would ask for somebody else.
        deadline: When the HEAD ends, whoever waits for it.
        cancellation: By which another thread ends it earlier; then the reason is CLOSED.
        trace: Headers by which the server learns for which trace it works.
    """
    headers = dict(trace)
    if bearer is not None:
        if not _SENDABLE.fullmatch(bearer):
            return Evidence.unknown(Reason.NOT_ASKED)
        headers["Authorization"] = f"Bearer {bearer}"
    url = base_url + quote_path(path)
    try:
        answer = client.send("HEAD", url, deadline=deadline, headers=headers, cancellation=cancellation)
    except OutboundError as error:
        return Evidence.unknown(REASON_OF[error.failure])
    return read(answer)


def read(answer: Answer) -> Evidence:
    """What an answer to a HEAD says of the object.

    Only 404 is an absence. 410 would be one by RFC 9110, but no Pelican server says it, so whoever does is something
    else in front of one; as everywhere, what is no clear answer is UNKNOWN.
    """
    status = answer.status
    if status == 200:
        length_bytes = _number(answer.headers.get("Content-Length"))
        if length_bytes is None:
            return Evidence.unknown(Reason.NO_LENGTH, status)
        age_s = _number(answer.headers.get("Age"))
        return Evidence(presence=Presence.PRESENT, status=status, length_bytes=length_bytes, age_s=age_s)
    if status == 404:
        return Evidence(presence=Presence.ABSENT, status=status)
    if status in {401, 403}:
        return Evidence(presence=Presence.DENIED, status=status)
    if 300 <= status < 400:
        return Evidence.unknown(Reason.REDIRECTED, status)
    return Evidence.unknown(Reason.FAILED, status)


def _number(value: str | None) -> int | None:
    """A whole number as HTTP writes it, within what Go's int64 holds; None if it is anything else."""
    digits = "" if value is None else value.strip(" \t")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS):
        return None
    number = int(digits)
    return number if number <= _LARGEST else None
