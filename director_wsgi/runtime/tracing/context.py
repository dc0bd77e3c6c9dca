"""Where a trace comes from, and how it goes on: W3C `traceparent` and `tracestate`.

Source: W3C Trace Context, level 1, sections 3.2 and 3.3.
"""

import re
from dataclasses import dataclass
from typing import Final

_PARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[!-~]{0,200})?", re.ASCII)
_STATE: Final = re.compile(r"[\t\x20-\x7e]{1,512}", re.ASCII)
_MEMBER: Final = re.compile(
    r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,256}",
    re.ASCII,
)
_MAX_MEMBERS: Final = 32
_SAMPLED: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """The span of somebody else under which a request comes.

    Attributes:
        trace_id: Not 0.
        span_id: Not 0.
        is_sampled: Whether he records it.
        state: `tracestate`, handed on to servers as it came, and told to nobody else; empty if there is none.
    """

    trace_id: int
    span_id: int
    is_sampled: bool
    state: str = ""


def parse(traceparent: str, tracestate: str = "") -> Parent | None:
    """What a client says of its trace; None if it says nothing that counts.

    Args:
        traceparent: As it came. A header that was sent twice, joined by a comma, is none.
        tracestate: As it came. If it is not as it must be, or longer than 512 characters, it does not count; the
            parent does.
    """
    found = _PARENT.fullmatch(traceparent.strip(" \t"))
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None
    trace_id, span_id = int(trace, 16), int(span, 16)
    if not (trace_id and span_id):
        return None
    state = tracestate.strip(" \t")
    return Parent(
        trace_id=trace_id,
        span_id=span_id,
        is_sampled=bool(int(flags, 16) & _SAMPLED),
        state=state if state and _is_state(state) else "",
    )


def _is_state(text: str) -> bool:
    if not _STATE.fullmatch(text):
        return False
    members = [member for one in text.split(",") if (member := one.strip(" \t"))]
    keys = {member.partition("=")[0] for member in members}
    return 0 < len(members) == len(keys) <= _MAX_MEMBERS and all(map(_MEMBER.fullmatch, members))


def traceparent(trace_id: int, span_id: int, *, is_sampled: bool) -> str:
    """The header by which a server learns of a span."""
    return f"00-{trace_id:032x}-{span_id:016x}-{'01' if is_sampled else '00'}"
