"""What servers said of an object, and who is left to be sent to.

An origin that said that it has no such object is out, if it said so freshly. The others stand in four ranks, whatever
their distance: those that have it; those that had it a while ago and cannot be asked now; those that refused to tell
this client; those of which nothing is known. Slow is not absent: who did not answer comes last, but comes.
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

from director_wsgi.errors import ObjectNotFound
from director_wsgi.federation.models import ServerAd, ServerKind
from director_wsgi.federation.snapshot import Source
from director_wsgi.redirect.asking import Told
from director_wsgi.stat.evidence import Evidence, Presence

PRESENT, STALE, DENIED, UNKNOWN = range(4)
"""The ranks, best first."""

_RANKS = {Presence.PRESENT: PRESENT, Presence.DENIED: DENIED, Presence.UNKNOWN: UNKNOWN}


class Candidate(NamedTuple):
    """An origin that has the object or may have it."""

    source: Source
    rank: int

    @property
    def is_available(self) -> bool | None:
        """Whether it counts as having the object; None if it did not say."""
        return None if self.rank == UNKNOWN else True


def candidates(origins: Sequence[Source], told: Told) -> tuple[Candidate, ...]:
    """The origins that are left, the surest first, else in their order.

    Who has not been asked counts as having the object, and so do origins behind a connection broker, which cannot be.

    Raises:
        ObjectNotFound: All said that they do not have it.
    """
    left = [Candidate(source, rank) for source in origins if (rank := _rank(source.server, told)) is not None]
    if not left:
        raise ObjectNotFound("All sources report object was not found")
    return tuple(sorted(left, key=attrgetter("rank")))


def _rank(server: ServerAd, told: Told) -> int | None:
    evidence = told.get(server.data_url)
    if evidence is None or server.broker_url:
        return PRESENT
    if evidence.presence is Presence.PRESENT and evidence.stale_s is not None:
        return STALE
    return _RANKS.get(evidence.presence)


def nothing_is_known(origins: Sequence[Source], caches: Sequence[ServerAd], told: Told) -> bool:
    """Whether no origin could tell anything of the object, and no cache has it."""
    return all(_rank(source.server, told) == UNKNOWN for source in origins) and not any(
        _is_present(cache, told) for cache in caches
    )


def cache_availability(caches: Sequence[ServerAd], told: Told) -> list[bool | None]:
    """For each cache whether it has the object; None if that is not known.

    A cache has it if its copy has aged. Without an age it has just begun to fetch it, or only passed the question on.
    One that refuses to tell this client counts as having it. If no cache was asked, all do.
    """
    if not any(cache.data_url in told for cache in caches):
        return [True] * len(caches)
    return [_has_copy(told.get(cache.data_url)) for cache in caches]


def _has_copy(evidence: Evidence | None) -> bool | None:
    match evidence:
        case Evidence(presence=Presence.PRESENT, age_s=age_s):
            return age_s is not None and age_s > 0
        case Evidence(presence=Presence.DENIED):
            return True
        case _:
            return None


def rests_on_evidence(first: ServerAd, origins: Sequence[Source], told: Told) -> bool:
    """Whether the choice of this server was no guess.

    It was none if nothing had to be asked; if the server itself has the object; or, for a cache, if an origin has it,
    since the cache can then fetch it.
    """
    if not told or _is_present(first, told):
        return True
    return first.kind is ServerKind.CACHE and any(_is_present(source.server, told) for source in origins)


def _is_present(server: ServerAd, told: Told) -> bool:
    evidence = told.get(server.data_url)
    return evidence is not None and evidence.presence is Presence.PRESENT
