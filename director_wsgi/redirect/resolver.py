"""The way of a request, on one screen: match, rank, ask, choose, tell.

Two go it. Who may wait goes it in one piece (`resolve`). Who may not begins, and if memory knows enough, concludes; if
somebody has to be asked, he hands what he has begun to one who may wait (`learn`), who concludes it.

Nothing here needs Flask, a request context or a thread. The snapshot is read once, at the top.

Source: Pelican `director/director.go:redirectToCache`, `redirectToOrigin`.
"""

import math
import random
from collections.abc import Callable
from typing import NamedTuple

from director_wsgi.federation.models import Coordinate, ServerAd, ServerKind
from director_wsgi.federation.snapshot import Snapshot, Source
from director_wsgi.federation.urls import quote_path
from director_wsgi.redirect import asking, headers, refusals, telling
from director_wsgi.redirect.adaptive import Weighed, draw_caches, draw_origins
from director_wsgi.redirect.asking import Ask, Recall, Told
from director_wsgi.redirect.candidates import candidates, nothing_is_known, rests_on_evidence
from director_wsgi.redirect.debug import debug_body
from director_wsgi.redirect.matching import Match, Need, may, needs
from director_wsgi.redirect.monitoring import is_monitoring, to_monitoring
from director_wsgi.redirect.places import ClientPlaces
from director_wsgi.redirect.policy import Case, Policy
from director_wsgi.redirect.prepared import Prepared
from director_wsgi.redirect.ranking import rank
from director_wsgi.redirect.request import Endpoint, ObjectRequest, Redirection
from director_wsgi.redirect.weights import HealthOf, nobody_knows

__all__ = ["Policy", "Resolver"]


class _Choice(NamedTuple):
    """The answer, before it is put into words.

    Attributes:
        servers: Who is named, best first; at least one.
        origins: In whose words the namespace is told.
        weighed: What spoke for the servers, if they were weighed.
    """

    servers: tuple[ServerAd, ...]
    origins: tuple[Source, ...]
    weighed: tuple[Weighed, ...]


class Resolver:
    """Decides where a request goes. Any number of threads at once."""

    def __init__(
        self,
        *,
        policy: Policy,
        snapshot: Callable[[], Snapshot],
        ask: Ask,
        recall: Recall,
        places: ClientPlaces,
        is_starting: Callable[[], bool],
        generator: random.Random,
        health_of: HealthOf = nobody_knows,
    ) -> None:
        """Put a resolver together.

        Args:
            policy: What the operator decided.
            snapshot: The federation now.
            ask: How servers are asked for an object.
            recall: How that is answered from memory.
            places: Where clients are.
            is_starting: Whether advertisements may still be on their way after the director's first start.
            generator: Randomness for the rankings `random` and `adaptive`, if the operator gave no seed.
            health_of: How servers have been lately.
        """
        self._policy = policy
        self._snapshot = snapshot
        self._ask = ask
        self._recall = recall
        self._places = places
        self._is_starting = is_starting
        self._generator = generator
        self._health_of = health_of
        # Replaced as a whole, by whichever thread first meets another snapshot.
        self._prepared = Prepared(snapshot(), filter_errors=policy.filter_caches_in_error_state)
        self._most_caches = policy.adaptive_truncate if policy.is_adaptive else headers.MAX_SERVERS

    def resolve(self, request: ObjectRequest) -> Redirection:
        """Where this request goes. May wait for servers, until the request's deadline.

        Raises:
            NoNamespace, Starting: No origin serves a prefix of the path.
            NoCapableServer: Origins do, but none allows this.
            TokenExpired: The token would not live through the transfer. No server has seen it.
            ObjectNotFound: Every origin said that it does not have the object.
            NothingKnown: No origin could tell, and the operator wants no client sent on a guess.
            NoUsableServer: No cache is usable, and no origin may be read directly.
        """
        begun = self.begin(request)
        return begun if isinstance(begun, Redirection) else self.conclude(begun, self.learn(begun))

    def begin(self, request: ObjectRequest) -> Case | Redirection:
        """Who may serve this request, and who is nearest; or the end, if that is this director. Never waits.

        Raises:
            NoNamespace, Starting, NoCapableServer, TokenExpired: See `resolve`.
        """
        if is_monitoring(request):
            return to_monitoring(request, self._policy.web_url)
        trace = request.trace
        began_at = trace.instant()
        prepared = self._prepared
        snapshot = self._snapshot()
        if prepared.snapshot is not snapshot:
            prepared = self._prepared = Prepared(snapshot, filter_errors=self._policy.filter_caches_in_error_state)
        case = self._case(request, prepared)
        telling.matched(trace, began_at, case.found)
        return case

    def recall(self, case: Case) -> Told | None:
        """What is known for it, if nothing has to be waited for; None if somebody has to be asked. Never waits."""
        asked = asking.asked_of(self._policy, case)
        return asking.recall(self._recall, case, asked) if asked else {}

    def learn(self, case: Case) -> Told:
        """What is known for it, once whoever has to be asked has been asked. May wait until the request's deadline."""
        asked = asking.asked_of(self._policy, case)
        return asking.learn(self._ask, case, asked) if asked else {}

    def conclude(self, case: Case, told: Told) -> Redirection:
        """Where it goes. Never waits.

        Raises:
            ObjectNotFound, NothingKnown, NoUsableServer: See `resolve`.
        """
        trace, origins = case.request.trace, case.origins
        if self._policy.when_unknown == "retry" and told and nothing_is_known(origins, case.caches, told):
            raise refusals.nothing_known(case.request, self._retry_after_s(origins))
        began_at = trace.instant()
        choice = self._choose(case, told)
        with_evidence = rests_on_evidence(choice.servers[0], origins, told)
        telling.ranked(trace, began_at, choice.servers[0], with_evidence=with_evidence)
        return self._tell(case, choice, with_evidence=with_evidence)

    # -- match, and rank as far as that needs no evidence

    def _case(self, request: ObjectRequest, prepared: Prepared) -> Case:
        found = self._match(request, prepared)
        if request.token is not None and request.token.expired:
            raise refusals.token_expired(request)
        to_origins = request.endpoint is Endpoint.ORIGIN or request.direct_read
        is_chained = self._policy.caches_pull_from_caches and request.prefer_cached and request.method == "GET"
        client, generator = self._places.of(request), self._generator_for(request)
        method, orders = self._policy.cache_sort_method, prepared.orders
        origins: tuple[Source, ...] = found.origins.members
        caches: tuple[ServerAd, ...] = ()
        if to_origins:
            origins = rank(found.origins, method, _place_of_source, client, generator, orders=orders)
        if is_chained or not to_origins:
            most = None if request.debug and not self._policy.is_adaptive else self._most_caches
            caches = rank(found.caches.capable, method, _place_of_server, client, generator, orders=orders, most=most)
        return Case(
            request=request,
            found=found,
            client=client,
            generator=generator,
            to_origins=to_origins,
            to_caches=is_chained or not to_origins,
            origins=origins,
            caches=caches,
        )

    def _match(self, request: ObjectRequest, prepared: Prepared) -> Match:
        entry = prepared.snapshot.match(request.path)
        if entry is None:
            raise refusals.starting(request) if self._is_starting() else refusals.no_namespace(request)
        found = prepared.match(entry, needs(request))
        if not found.origins.members:
            raise refusals.no_capable_server(request, self._policy.web_url)
        return found

    def _generator_for(self, request: ObjectRequest) -> random.Random:
        """With a seed, the same request meets the same dice again: in any process, after any other request."""
        seed = self._policy.ranking_seed
        if not seed:
            return self._generator
        # A path may hold bytes that are no UTF-8, which a string as a seed may not.
        return random.Random(f"{seed} {request.job_id} {request.path}".encode("utf-8", "surrogatepass"))

    # -- choose, by what was learned

    def _retry_after_s(self, origins: tuple[Source, ...]) -> int:
        """Whole seconds until the first of these origins will be asked again."""
        waits_s = (self._health_of(source.server).next_probe_in_s or 0.0 for source in origins)
        return max(1, math.ceil(min(waits_s)))

    def _choose(self, case: Case, told: Told) -> _Choice:
        origins, weighed = self._settle_origins(case, told)
        if not case.to_origins:
            return self._choose_caches(case, origins, told)
        servers = tuple(source.server for source in origins[: headers.MAX_SERVERS])
        room = headers.MAX_SERVERS - len(servers)
        if room == 0 or not case.to_caches:
            return _Choice(servers, origins, weighed)
        named, weighed_caches = self._settle_caches(case, told)
        return _Choice(named[:room] + servers, origins, weighed_caches + weighed)

    def _choose_caches(self, case: Case, origins: tuple[Source, ...], told: Told) -> _Choice:
        """The caches; if there is none, the first origin that may be read directly."""
        servers, weighed = self._settle_caches(case, told)
        if servers:
            return _Choice(servers, origins, weighed)
        readable = next((source.server for source in origins if may(source, Need.DIRECT_READS)), None)
        if readable is None:
            raise refusals.no_usable_server(case.request)
        return _Choice((readable,), origins, ())

    def _settle_origins(self, case: Case, told: Told) -> tuple[tuple[Source, ...], tuple[Weighed, ...]]:
        """The origins that have the object or may have it, the surest first, and what spoke for them."""
        origins = case.origins
        if self._policy.is_adaptive and case.to_origins:
            working_set = candidates(origins, told)[: self._policy.adaptive_truncate]
            drawn, weighed = draw_origins(working_set, case.client, self._health_of, case.generator)
            return tuple(candidate.source for candidate in drawn), weighed
        if told:
            origins = tuple(candidate.source for candidate in candidates(origins, told))
        return origins, ()

    def _settle_caches(self, case: Case, told: Told) -> tuple[tuple[ServerAd, ...], tuple[Weighed, ...]]:
        """The caches in the order in which they are named, and what spoke for them."""
        caches = case.caches
        weighed: tuple[Weighed, ...] = ()
        if self._policy.is_adaptive:
            weighed = draw_caches(caches, told, case.client, self._health_of, case.generator)
            caches = tuple(one.server for one in weighed)
        doubtful = case.found.caches.doubtful
        return caches + doubtful if doubtful else caches, weighed

    # -- tell

    def _tell(self, case: Case, choice: _Choice, *, with_evidence: bool) -> Redirection:
        request, found, origins = case.request, case.found, choice.origins
        namespace_headers = found.origins.derive(
            ("headers", origins), lambda _members: headers.describe(origins, prefix=found.prefix)
        )
        quoted_path = quote_path(request.path)
        return Redirection(
            location=headers.location(choice.servers[0], quoted_path, request),
            headers=headers.redirect_headers(
                choice.servers, request, quoted_path, prefix=found.prefix, namespace_headers=namespace_headers
            ),
            destination="cache" if choice.servers[0].kind is ServerKind.CACHE else "origin",
            debug=self._debug(case, choice) if request.debug else None,
            with_evidence=with_evidence,
        )

    def _debug(self, case: Case, choice: _Choice) -> dict[str, object]:
        method = self._policy.cache_sort_method
        return debug_body(choice.servers, choice.weighed, case.client, method, case.request.address)


def _place_of_source(source: Source) -> Coordinate | None:
    return source.server.coordinate


def _place_of_server(server: ServerAd) -> Coordinate | None:
    return server.coordinate
