"""Go's notation for lengths of time: `300ms`, `2s`, `1m30s`, `1.5h`.

Pelican's configuration is written in it. Read exactly, so that what is printed reads back as the same number.

Source: Go `time.ParseDuration` and `time.Duration.String`.
"""

import re
from decimal import ROUND_HALF_EVEN, Decimal

_NS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_TERM = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_BARE_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)\Z")
_MAX_NS = 2**63 - 1
_MAX_CHARS = 100


def parse_duration(text: str) -> float:
    """Read a duration.

    Args:
        text: An optional sign, then one or more numbers with a unit (`ns`, `us`, `µs`, `ms`, `s`, `m`, `h`), or `0`.
            Nothing else, no blank either.

    Returns:
        Seconds; negative if the sign says so. A fraction of a nanosecond is cut off.

    Raises:
        ValueError: It is none, has no unit, or is longer than the 292 years that Go can hold.
    """
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if rest == "0":
        return 0.0
    if len(text) > _MAX_CHARS:
        raise ValueError("not a duration: too long")
    if _BARE_NUMBER.match(text):
        raise ValueError(
            f'duration value must include a unit suffix (e.g., "10s", "5m", "1h"); got bare number: {text}'
        )
    total_ns = 0
    position = 0
    while position < len(rest):
        term = _TERM.match(rest, position)
        if term is None:
            break
        total_ns += int(Decimal(term[1]) * _NS[term[2]])
        position = term.end()
    if position == 0 or position < len(rest):
        raise ValueError('not a duration; write numbers with units (e.g., "500ms", "10s", "1m30s")')
    if total_ns > _MAX_NS:
        raise ValueError("not a duration: longer than 292 years")
    return sign * total_ns / 10**9


def format_duration(seconds: float) -> str:
    """Write a duration as Go would: `1m30s`, `2s`, `1.5ms`, `0s`.

    Args:
        seconds: Finite; rounded to the nanosecond, and to the 292 years Go can hold.

    Returns:
        A text that `parse_duration` reads as the same number of nanoseconds.
    """
    total_ns = int((Decimal(seconds) * 10**9).to_integral_value(ROUND_HALF_EVEN))
    ns = min(abs(total_ns), _MAX_NS)
    sign = "-" if total_ns < 0 else ""
    if ns == 0:
        return "0s"
    for unit in ("ns", "µs", "ms"):
        if ns < 1000 * _NS[unit]:
            return f"{sign}{_decimal(ns, _NS[unit])}{unit}"
    hours, ns = divmod(ns, _NS["h"])
    minutes, ns = divmod(ns, _NS["m"])
    parts = [f"{hours}h"] if hours else []
    if minutes or (hours and ns):
        parts.append(f"{minutes}m")
    if ns:
        parts.append(f"{_decimal(ns, _NS['s'])}s")
    return sign + "".join(parts)


def _decimal(ns: int, unit_ns: int) -> str:
    whole, rest = divmod(ns, unit_ns)
    fraction = f"{rest:0{len(str(unit_ns)) - 1}d}".rstrip("0") if rest else ""
    return f"{whole}.{fraction}" if fraction else str(whole)
