"""What the federation tells of itself at `Federation.DiscoveryUrl`, for what the configuration leaves out.

An operator of an established federation names its discovery URL and nothing else. Who its registry is, where its keys
are and so on is told by the document there, once, when the director starts or is reloaded: it does not change while
the director runs, and the host of the document may then be away.

Source: Pelican `config/config.go:discoverFederationImpl`, `pelican_url/discovery.go`.
"""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urljoin

from director_wsgi.errors import ConfigError
from director_wsgi.limits.deadline import Deadline, monotonic
from director_wsgi.outbound.client import Answer, Failure, HttpClient, NameResolver, OutboundError
from director_wsgi.runtime import kinds
from director_wsgi.runtime.config import Config, is_own_discovery_host
from director_wsgi.runtime.outgoing import client_maker

PATH: Final = "/.well-known/pelican-configuration"

TRIES: Final = 4
"""How often a cold start asks before it gives up."""

ASK_S: Final = 10.0
"""How long one try may take."""

FIRST_PAUSE_S: Final = 1.0
"""Between the first two tries; doubled each time."""

_MAX_BYTES = 64 * 1024
_REDIRECTS = 4
_logger = logging.getLogger(__name__)

Pause = Callable[[float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a discovery document says, by the attributes of `Config`; an empty text where it says nothing."""

    registry_url: str
    director_url: str
    jwk_url: str
    broker_url: str


_MEMBERS: Final = {
    "registry_url": "namespace_registration_endpoint",
    "director_url": "director_endpoint",
    "jwk_url": "jwks_uri",
    "broker_url": "broker_endpoint",
}
_PARAMETERS: Final = {
    "registry_url": "Federation.RegistryUrl",
    "director_url": "Federation.DirectorUrl",
    "jwk_url": "Federation.JwkUrl",
    "broker_url": "Federation.BrokerUrl",
}
_DISPENSABLE: Final = frozenset({"broker_url"})


class DiscoveryFailed(Exception):
    """There is no document, or it is none; the text says what came instead.

    Attributes:
        is_final: Asking again would not help.
    """

    def __init__(self, message: str, *, is_final: bool = False) -> None:
        self.is_final = is_final
        super().__init__(message)


Fetch = Callable[[Config], Document]
"""Asks the discovery URL of a configuration once; raises DiscoveryFailed."""


def missing(config: Config) -> tuple[str, ...]:
    """The attributes that the discovery URL has to tell; empty if nothing is missing, or nobody else to be asked."""
    if "discovery_url" not in config.sources or is_own_discovery_host(config):
        return ()
    return tuple(one.name for one in fields(Document) if one.name not in config.sources)


def completed(config: Config, document: Document) -> Config:
    """`config` with what it leaves out as `document` has it.

    Raises:
        ConfigError: Neither names a registry.
    """
    told = {name: getattr(document, name) for name in missing(config) if getattr(document, name)}
    if not (config.registry_url or "registry_url" in told):
        raise ConfigError((_sentence(config, "it names no registry", ("registry_url",)),))
    source = url_of(config)
    return replace(config, **told, sources=MappingProxyType({**config.sources, **dict.fromkeys(told, source)}))


def completed_without(config: Config, why: str) -> Config:
    """`config` with a warning, where the director can do without what is missing.

    Args:
        config: Lacks something.
        why: What came when the discovery URL was asked, or why nobody asked.

    Raises:
        ConfigError: It cannot.
    """
    wanted = missing(config)
    sentence = _sentence(config, why, wanted)
    if not _DISPENSABLE.issuperset(wanted):
        raise ConfigError((sentence,))
    return replace(config, warnings=(*config.warnings, sentence))


def ask(config: Config, *, tries: int, fetch: Fetch | None = None, pause: Pause | None = None) -> Document:
    """Ask the discovery URL. Blocks, `ASK_S` for each try and the pauses between them at most.

    Args:
        config: As `config.made` has made it.
        tries: How often to ask, if need be; at least once.
        fetch: Asks once; over the network if left out.
        pause: Waits that many seconds.

    Raises:
        DiscoveryFailed: As the last try did.
    """
    fetch, pause = fetch or fetch_once, pause or _pause
    for number in range(1, tries):
        try:
            return fetch(config)
        except DiscoveryFailed as error:
            if error.is_final:
                raise
            pause_s = FIRST_PAUSE_S * 2 ** (number - 1)
            # Before gunicorn has set its log up, Python prints warnings, and nothing below them.
            _logger.warning("%s: %s (try %d of %d, next in %.0f s)", url_of(config), error, number, tries, pause_s)
            pause(pause_s)
    return fetch(config)


def discovered(config: Config, *, tries: int, fetch: Fetch | None = None, pause: Pause | None = None) -> Config:
    """`config` with what it leaves out, as far as the discovery URL tells it; the arguments are those of `ask`.

    Raises:
        ConfigError: Something indispensable is missing and could not be found out.
    """
    if not missing(config):
        return config
    try:
        return completed(config, ask(config, tries=tries, fetch=fetch, pause=pause))
    except DiscoveryFailed as error:
        return completed_without(config, str(error))


def url_of(config: Config) -> str:
    """Where the document is."""
    return config.discovery_url + PATH


def _sentence(config: Config, what_came: str, wanted: tuple[str, ...]) -> str:
    names = [_PARAMETERS[name] for name in wanted]
    shown = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    source = config.sources.get("discovery_url", "")
    return (
        f"Federation.DiscoveryUrl = {kinds.shorten(config.discovery_url)} ({source}): asked {url_of(config)} for "
        f"{shown}: {what_came}. Set {'it' if len(names) == 1 else 'them'} instead, and nobody is asked"
    )


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)


# -- asking


def fetch_once(config: Config) -> Document:
    """Ask over the network, within `ASK_S`. No thread is left behind, unless the system's resolver hangs in one.

    Raises:
        DiscoveryFailed: What came is no document.
    """
    names = NameResolver(threads=1)
    client = client_maker(config, names, monotonic)(1)
    try:
        return read(_get(client, url_of(config), Deadline.after(ASK_S)))
    finally:
        client.close()
        names.close()


def _get(client: HttpClient, url: str, deadline: Deadline) -> Answer:
    """Follow redirects, as Pelican's clients do at this place; each hop is judged by its address like any call."""
    headers = {"Accept": "application/json"}
    for _ in range(_REDIRECTS + 1):
        try:
            answer = client.send("GET", url, deadline=deadline, headers=headers, max_bytes=_MAX_BYTES)
        except OutboundError as error:
            final = error.failure in {Failure.MALFORMED, Failure.FORBIDDEN_ADDRESS}
            raise DiscoveryFailed(str(error), is_final=final) from None
        if answer.status not in {301, 302, 303, 307, 308}:
            return answer
        url = _target(url, answer.headers.get("Location", ""))
    raise DiscoveryFailed(f"more than {_REDIRECTS} redirects", is_final=True)


def _target(url: str, location: str) -> str:
    try:
        target = urljoin(url, location)
    except ValueError:
        raise DiscoveryFailed("it redirects to what is no URL", is_final=True) from None
    if url.startswith("https://") and not target.startswith("https://"):
        raise DiscoveryFailed("it redirects away from https", is_final=True)
    return target


def read(answer: Answer) -> Document:
    """What an answer says.

    Raises:
        DiscoveryFailed: It is not 200, not JSON, no object, or a member is no URL.
    """
    if answer.status != 200:
        is_final = 400 <= answer.status < 500 and answer.status not in {408, 429}
        raise DiscoveryFailed(f"it answered {answer.status}", is_final=is_final)
    try:
        said = json.loads(answer.body)
    except (ValueError, RecursionError):
        raise DiscoveryFailed(f"what it answered is not JSON{_type(answer)}") from None
    if not isinstance(said, dict):
        raise DiscoveryFailed("what it answered is JSON, but no object")
    return Document(**dict(_urls(said)))


def _type(answer: Answer) -> str:
    kind = answer.headers.get("Content-Type", "")
    return f" but {kinds.shorten(kind)}" if kind and kind.isprintable() else ""


def _urls(said: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, member in _MEMBERS.items():
        value = said.get(member)
        try:
            yield name, kinds.URL.read(value if isinstance(value, str) else _no_text(value))
        except ValueError as error:
            raise DiscoveryFailed(f"its member {member} is wrong: {error}") from None


def _no_text(value: object) -> str:
    if value is None:
        return ""
    raise ValueError("expected a text")
