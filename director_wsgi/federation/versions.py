"""Which Pelican software may talk to this director, told by its User-Agent.

Source: Pelican `utils/utils.go:ExtractVersionAndServiceFromUserAgent` (what is recognised) and
`director/director.go:validateIncomingRequest` (what is refused). Anything not recognised is let through: browsers,
curl, XRootD and Pelican's own C++ client all are.
"""

import re
from functools import lru_cache

Version = tuple[int, int, int]

MINIMUM: dict[str, Version] = {"client": (7, 0, 0), "origin": (7, 9, 0), "cache": (7, 8, 2)}
"""The oldest version of each service that speaks what we speak."""

MAX_USER_AGENT = 50
"""Longer ones are not looked at, as upstream."""

_USER_AGENT = re.compile(r"pelican-([A-Za-z]+)/([0-9]+)\.([0-9]+)\.([0-9]+)")

# As hashicorp/go-version reads one, whose leniency operators have come to rely on.
_LENIENT = re.compile(
    r"v?(?P<numbers>[0-9]{1,9}(?:\.[0-9]{1,9})*)(?:-?(?P<pre>(?<=-)[0-9A-Za-z~.-]+|[A-Za-z~][0-9A-Za-z~.-]*))?"
    r"(?:\+(?P<build>[0-9A-Za-z~.-]+))?"
)
_MAX_VERSION = 64


@lru_cache(maxsize=1024)
def parse_user_agent(user_agent: str) -> tuple[str, Version] | None:
    """Service and version of a Pelican program; None for every other one.

    Args:
        user_agent: The header as received. `pelican-client/7.20.0` is recognised, `pelican-client/7.20.0 project/x`
            and `pelican-client/7.20.0-rc.1` are not: the whole must fit, after trailing blanks are cut.
    """
    trimmed = user_agent.rstrip(" \t")
    found = _USER_AGENT.fullmatch(trimmed) if len(trimmed) <= MAX_USER_AGENT else None
    if found is None:
        return None
    return found[1], (int(found[2]), int(found[3]), int(found[4]))


@lru_cache(maxsize=1024)
def refusal(user_agent: str) -> str | None:
    """Why this program may not talk to us, as a sentence with Pelican's wording; None if it may."""
    parsed = parse_user_agent(user_agent)
    if parsed is None:
        return None
    service, version = parsed
    shown = user_agent.rstrip(" \t").partition("/")[2]
    minimum = MINIMUM.get(service)
    if minimum is None:
        return f"Invalid version format. The director does not support your {service} version ({shown})."
    if version < minimum:
        return (
            f"The director does not support your {service} version ({shown}). "
            f"Please update to {_dotted(minimum)} or newer."
        )
    return None


def settled_version(advertised: str, user_agent: str) -> str:
    """The version a server is listed with, given what its advertisement and its User-Agent say.

    The advertisement wins if it says something that can be read; the User-Agent comes next; `unknown` if neither says
    anything. What cannot be compared is kept as sent.

    Source: Pelican `director/director.go:finishRegisterServeAd`.
    """
    parsed = parse_user_agent(user_agent)
    if parsed is None:
        return advertised or "unknown"
    sender = parsed[1]
    found = _LENIENT.fullmatch(advertised) if len(advertised) <= _MAX_VERSION else None
    if found is None:
        return _dotted(sender)
    numbers = [int(number) for number in found["numbers"].split(".")]
    numbers += [0] * (3 - len(numbers))
    normal = _dotted(numbers)
    if found["pre"]:
        normal += f"-{found['pre']}"
    elif tuple(numbers) == sender:
        return advertised
    if found["build"]:
        normal += f"+{found['build']}"
    return normal


def _dotted(numbers: Version | list[int]) -> str:
    return ".".join(map(str, numbers))
