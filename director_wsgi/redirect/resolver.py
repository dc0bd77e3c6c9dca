"""The way of a request, on one screen: match, ask, rank, choose, tell.

Nothing here needs Flask, a request context or a thread. The snapshot is read once, at the top.

Source: Pelican `director/director.go:redirectToCache`, `redirectToOrigin`; `director/stat.go:shouldStatOrigins`.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from director_wsgi.errors import NoCapableServer, NoNamespace, NoUsableServer, ObjectNotFound, Starting, TokenExpired
from director_wsgi.federation.directory import Group, Snapshot, Source
from director_wsgi.federation.models import Coordinate, ServerAd, ServerKind
from director_wsgi.federation.urls import quote_path
from director_wsgi.limits.deadline import Deadline
from director_wsgi.redirect import headers
from director_wsgi.redirect.debug import debug_body
from director_wsgi.redirect.matching import Match, Need, lists, match, may, needs
from director_wsgi.redirect.places import ClientPlaces
from director_wsgi.redirect.ranking import rank
from director_wsgi.redirect.request import Endpoint, ObjectRequest, Redirection
from director_wsgi.stat.evidence import Evidence, Presence

MONITORING = "/pelican/monitoring"
"""The namespace that the director serves itself, for tests of caches."""

_TIER = {Presence.PRESENT: 0, Presence.DENIED: 1, Presence.UNKNOWN: 2}
"""Who comes first, whatever the distance. Slow is not absent: who did not answer comes last, but comes."""


class Ask(Protocol):
    """`stat.engine.StatEngine.ask`, or a fake."""

    def __call__(
        self, servers: tuple[ServerAd, ...], path: str, *, bearer: str | None, authority: str, deadline: Deadline
    ) -> tuple[Evidence, ...]:
        """One piece of evidence for each server, in their order, by the deadline."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the operator decides about redirects; Pelican's parameters of the same names, without their room."""

    web_url: str
    cache_sort_method: str = "distance"
    filter_caches_in_error_state: bool = True
    check_origin_presence: bool = True
    assume_presence_at_single_origin: bool = True
    caches_pull_from_caches: bool = False


class Resolver:
    """Decides where a request goes. Any number of threads at once."""

    def __init__(
        self,
        *,
        policy: Policy,
        snapshot: Callable[[], Snapshot],
        ask: Ask,
        places: ClientPlaces,
        is_starting: Callable[[], bool],
        generator: random.Random,
    ) -> None:
        """Put a resolver together.

        Args:
            policy: What the operator decided.
            snapshot: The federation now.
            ask: How servers are asked for an object.
            places: Where clients are.
            is_starting: Whether advertisements may still be on their way after the director's first start.
            generator: Randomness for the ranking `random`.
        """
        self._policy = policy
        self._snapshot = snapshot
        self._ask = ask
        self._places = places
        self._is_starting = is_starting
        self._generator = generator

    def resolve(self, request: ObjectRequest) -> Redirection:
        """Where this request goes.

        Raises:
            NoNamespace, Starting: No origin serves a prefix of the path.
            NoCapableServer: Origins do, but none allows this.
            TokenExpired: The token would not live through the transfer. No server has seen it.
            ObjectNotFound: Every origin said that it does not have the object.
            NoUsableServer: No cache is usable, and no origin may be read directly.
        """
        if request.endpoint is Endpoint.ORIGIN and request.path.startswith(MONITORING + "/"):
            return self._to_monitoring(request)
        found = self._match(request)
        if request.token is not None and request.token.expired:
            raise TokenExpired(f"bearer token has expired: Request ID: {request.job_id}")
        client = self._places.of(request)
        to_origins = request.endpoint is Endpoint.ORIGIN or request.direct_read
        origins = self._rank(found.origins, client) if to_origins else found.origins.members
        if self._must_ask(request, found):
            origins = self._with_the_object(origins, request)
        servers = self._choose(request, found, origins, client, to_origins=to_origins)
        return self._tell(request, found, origins, servers, client)

    def _match(self, request: ObjectRequest) -> Match:
        entry = self._snapshot().match(request.path)
        if entry is None:
            if self._is_starting():
                raise Starting(
                    f"no servers were found for the requested path '{request.path}'; "
                    f"director just restarted, try again shortly: Request ID: {request.job_id}"
                )
            raise NoNamespace(
                "No sources found for the requested path: no origins found for the requested namespace "
                f"'{request.path}': Request ID: {request.job_id}"
            )
        need = needs(request)
        found = match(entry, need, filter_errors=self._policy.filter_caches_in_error_state)
        if not found.origins.members:
            raise NoCapableServer(
                "Discovered sources for the namespace, but none support the request: no origins found that support "
                f"the '{_verb(request)}' request type with queries '{_queries(request)}': "
                f"See '{self._policy.web_url}' to troubleshoot available origins/caches and their capabilities: "
                f"Request ID: {request.job_id}"
            )
        return found

    def _must_ask(self, request: ObjectRequest, found: Match) -> bool:
        return (
            request.method in {"GET", "HEAD"}
            and self._policy.check_origin_presence
            and not request.skip_stat
            and not (len(found.origins) == 1 and self._policy.assume_presence_at_single_origin)
            and (found.namespace.capabilities.public_reads or request.token is not None)
        )

    def _with_the_object(self, origins: tuple[Source, ...], request: ObjectRequest) -> tuple[Source, ...]:
        """The origins that have the object or may have it, the surest first.

        Origins behind a connection broker cannot be asked and count as having it.
        """
        evidence = self._ask(
            tuple(source.server for source in origins),
            request.path,
            bearer=request.token.value if request.token else None,
            authority=request.authority,
            deadline=request.deadline,
        )
        tiers = [
            (0 if source.server.broker_url else _TIER[told.presence], source)
            for source, told in zip(origins, evidence, strict=True)
            if source.server.broker_url or told.presence is not Presence.ABSENT
        ]
        if not tiers:
            raise ObjectNotFound("All sources report object was not found")
        return tuple(source for _tier, source in sorted(tiers, key=lambda pair: pair[0]))

    def _rank(self, sources: Group[Source], client: Coordinate) -> tuple[Source, ...]:
        return rank(sources, self._policy.cache_sort_method, _place_of_source, client, self._generator)

    def _ranked_caches(self, found: Match, client: Coordinate) -> tuple[ServerAd, ...]:
        ranked = rank(found.caches.capable, self._policy.cache_sort_method, _place_of_server, client, self._generator)
        return ranked + found.caches.doubtful if found.caches.doubtful else ranked

    def _choose(
        self,
        request: ObjectRequest,
        found: Match,
        origins: tuple[Source, ...],
        client: Coordinate,
        *,
        to_origins: bool,
    ) -> tuple[ServerAd, ...]:
        if to_origins:
            servers = tuple(source.server for source in origins[: headers.MAX_SERVERS])
            chained = self._policy.caches_pull_from_caches and request.prefer_cached and request.method == "GET"
            if chained and len(servers) < headers.MAX_SERVERS:
                servers = self._ranked_caches(found, client)[: headers.MAX_SERVERS - len(servers)] + servers
            return servers
        caches = self._ranked_caches(found, client)
        if caches:
            return caches
        readable = next((source.server for source in origins if may(source, Need.DIRECT_READS)), None)
        if readable is None:
            raise NoUsableServer(
                "No caches can fulfill this request and no fallback origins with the 'DirectReads' capability found "
                f"for this object. Request ID: {request.job_id}"
            )
        return (readable,)

    def _tell(
        self,
        request: ObjectRequest,
        found: Match,
        origins: tuple[Source, ...],
        servers: tuple[ServerAd, ...],
        client: Coordinate,
    ) -> Redirection:
        namespace_headers = found.origins.derive(
            ("headers", origins), lambda _members: headers.describe(origins, prefix=found.prefix)
        )
        quoted_path = quote_path(request.path)
        return Redirection(
            location=headers.location(servers[0], quoted_path, request),
            headers=headers.redirect_headers(
                servers, request, quoted_path, prefix=found.prefix, namespace_headers=namespace_headers
            ),
            debug=debug_body(servers, client, self._policy.cache_sort_method, request.address)
            if request.debug
            else None,
        )

    def _to_monitoring(self, request: ObjectRequest) -> Redirection:
        """To the director's own test files, which caches fetch through it."""
        own = ServerAd(
            kind=ServerKind.ORIGIN,
            name="",
            data_url=self._policy.web_url,
            base_url=f"{self._policy.web_url}/api/v1.0/director/healthTest",
        )
        told = (("X-Pelican-Namespace", f"namespace={MONITORING}, require-token=false"),)
        quoted_path = quote_path(request.path)
        return Redirection(
            location=headers.location(own, quoted_path, request),
            headers=headers.redirect_headers((own,), request, quoted_path, prefix=MONITORING, namespace_headers=told),
        )


def _place_of_source(source: Source) -> Coordinate | None:
    return source.server.coordinate


def _place_of_server(server: ServerAd) -> Coordinate | None:
    return server.coordinate


_VERBS = {"GET": "get", "PUT": "put", "DELETE": "delete"}


def _verb(request: ObjectRequest) -> str:
    """Pelican's word for what is asked, in messages."""
    if request.method == "PROPFIND":
        return "ls" if lists(request) else "stat"
    return _VERBS.get(request.method, "unknown")


def _queries(request: ObjectRequest) -> str:
    """Pelican's words for the capabilities that the query asks for, in messages."""
    asked: Sequence[tuple[bool, str]] = ((request.direct_read, "DirectReads"), (request.recursive, "Listings"))
    return " AND ".join(name for is_asked, name in asked if is_asked)
