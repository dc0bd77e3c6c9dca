"""From a path and what is asked of it to the servers that may serve it.

Source: Pelican `director/sort.go:getAdsForPath`, `originSupportsVerb`, `originSupportsQuery`, `filterCaches`;
`features/`.
"""

import enum
import re
from dataclasses import dataclass

from director_wsgi.federation.models import Capabilities, NamespaceAd, ServerAd
from director_wsgi.federation.snapshot import Group, PrefixEntry, Source
from director_wsgi.redirect.request import ObjectRequest


class Need(enum.Flag):
    """What a request needs an origin to allow, on the server and on the namespace alike."""

    READS = enum.auto()  # public reads do as well
    WRITES = enum.auto()
    COPIES = enum.auto()
    LISTINGS = enum.auto()
    DIRECT_READS = enum.auto()
    IMPOSSIBLE = enum.auto()  # no server supports the method


_METHOD_NEEDS = {
    "GET": Need.READS,
    "HEAD": Need.READS,
    "PUT": Need.WRITES,
    "DELETE": Need.WRITES,
    "COPY": Need.COPIES,
}


def needs(request: ObjectRequest) -> Need:
    """What an origin has to allow to be asked this."""
    if request.method == "PROPFIND":
        need = Need.LISTINGS if lists(request) else Need.READS
    else:
        need = _METHOD_NEEDS.get(request.method, Need.IMPOSSIBLE)
    if request.direct_read:
        need |= Need.DIRECT_READS
    if request.recursive:
        need |= Need.LISTINGS
    return need


def lists(request: ObjectRequest) -> bool:
    """Whether a PROPFIND asks for more than the thing itself; no Depth, an empty one and `0` do not."""
    return request.depth not in {None, "", "0"}


def allows(capabilities: Capabilities, need: Need) -> bool:
    """Whether these capabilities cover a need."""
    return not (
        Need.IMPOSSIBLE in need
        or (Need.READS in need and not (capabilities.reads or capabilities.public_reads))
        or (Need.WRITES in need and not capabilities.writes)
        or (Need.COPIES in need and not capabilities.copies)
        or (Need.LISTINGS in need and not capabilities.listings)
        or (Need.DIRECT_READS in need and not capabilities.direct_reads)
    )


def _both(server: Capabilities, namespace: Capabilities) -> Capabilities:
    """What holds on both sides. Reads and public reads are accepted separately, each on both sides."""
    return Capabilities(
        public_reads=server.public_reads and namespace.public_reads,
        reads=server.reads and namespace.reads,
        writes=server.writes and namespace.writes,
        listings=server.listings and namespace.listings,
        direct_reads=server.direct_reads and namespace.direct_reads,
        copies=server.copies and namespace.copies,
    )


def may(source: Source, need: Need) -> bool:
    """Whether an origin allows this on its namespace."""
    return allows(_both(source.server.capabilities, source.namespace.capabilities), need)


_FEATURE_SINCE = {"CacheAuthz": (7, 16)}
"""Since which version of Pelican a cache can do what."""

_RELEASE = re.compile(r"v?(\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}))?(?:[-+].*)?")


def supports(version: str, feature: str) -> bool | None:
    """Whether a server of this version has a feature; None if its version tells nothing.

    A feature nobody knows is no reason to leave a cache out.
    """
    since = _FEATURE_SINCE.get(feature)
    if since is None:
        return True
    release = _RELEASE.fullmatch(version)
    if release is None:
        return None
    return (int(release[1]), int(release[2])) >= since


_ERROR_STATES = {"critical", "shutting down"}


@dataclass(frozen=True, slots=True)
class Caches:
    """The usable caches of a prefix.

    Attributes:
        capable: Those to be ranked.
        doubtful: Those whose version does not tell whether they have every feature; they come last, unranked.
    """

    capable: Group[ServerAd]
    doubtful: tuple[ServerAd, ...]


def _usable_caches(caches: tuple[ServerAd, ...], features: frozenset[str], *, filter_errors: bool) -> Caches:
    capable: list[ServerAd] = []
    doubtful: list[ServerAd] = []
    for cache in caches:
        if filter_errors and cache.status in _ERROR_STATES:
            continue
        answers = {supports(cache.version, feature) for feature in features}
        if False in answers:
            continue
        (doubtful if None in answers else capable).append(cache)
    return Caches(Group(tuple(capable)), tuple(doubtful))


@dataclass(frozen=True, slots=True)
class Match:
    """The servers that may serve a request.

    Attributes:
        prefix: The namespace's.
        origins: Those that allow what is asked; may be empty.
        caches: Those that are usable in front of these origins.
    """

    prefix: str
    origins: Group[Source]
    caches: Caches

    @property
    def namespace(self) -> NamespaceAd:
        """The namespace as its first origin tells it; only if there is an origin."""
        return self.origins.members[0].namespace


def match(entry: PrefixEntry, need: Need, *, filter_errors: bool) -> Match:
    """Who of a prefix may serve a request that needs this of its origins.

    Args:
        entry: The prefix and its servers.
        need: What the request needs.
        filter_errors: Leave caches out that call themselves critical or say that they are shutting down.
    """
    origins = Group(tuple(source for source in entry.origins if may(source, need)))
    features = frozenset(feature for source in origins for feature in source.server.required_features)
    caches: Caches = entry.caches.derive(
        (features, filter_errors), lambda members: _usable_caches(members, features, filter_errors=filter_errors)
    )
    return Match(entry.prefix, origins, caches)
