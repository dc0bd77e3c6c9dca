"""Whom to ask for the object before it is decided where a request goes.

Origins, unless the only one is assumed to have everything. Caches for the ranking `adaptive` only. All are asked at
once, so that nobody's silence is waited for twice.

Source: Pelican `director/stat.go:shouldStatOrigins`, `shouldStatCaches`. There, caches are asked after origins, and
COPY is a read.
"""

from collections.abc import Mapping
from typing import Protocol

from director_wsgi.federation.models import ServerAd
from director_wsgi.federation.snapshot import Source
from director_wsgi.limits.deadline import Deadline
from director_wsgi.redirect.policy import Case, Policy
from director_wsgi.runtime.clients import Watchable
from director_wsgi.runtime.tracing.span import Trace
from director_wsgi.stat.evidence import Evidence
from director_wsgi.stat.patience import Patience

Told = Mapping[str, Evidence]
"""What was learned for one request, by the server's data URL; who is missing has not been asked."""

READS = frozenset({"GET", "HEAD"})


class Ask(Protocol):
    """`stat.engine.StatEngine.ask`, or a fake."""

    def __call__(
        self,
        servers: tuple[ServerAd, ...],
        path: str,
        *,
        bearer: str | None,
        authority: str,
        deadline: Deadline,
        namespace: str,
        patience: Patience,
        client: Watchable | None,
        trace: Trace,
    ) -> tuple[Evidence, ...]:
        """One piece of evidence for each server, in their order, by the deadline."""
        ...


def learn(ask: Ask, policy: Policy, case: Case, origins: tuple[Source, ...], caches: tuple[ServerAd, ...]) -> Told:
    """Ask whoever has to be asked, and wait until enough is known or the deadline has passed.

    Args:
        ask: How.
        policy: What the operator decided.
        case: The request.
        origins: All that may serve it, best first.
        caches: Those that may be named, best first.
    """
    if not _may_ask(case):
        return {}
    asked_caches = caches if _must_ask_caches(policy, case, caches) else ()
    asked = asked_caches
    if _must_ask_origins(policy, case):
        asked = tuple(source.server for source in origins) + asked_caches
    if not asked:
        return {}
    request = case.request
    evidence = ask(
        asked,
        request.path,
        bearer=request.token.value if request.token else None,
        authority=request.authority,
        deadline=request.deadline,
        namespace=case.found.prefix,
        patience=Patience.BEST if asked_caches else _patience_with_origins(case),
        client=request.client,
        trace=request.trace,
    )
    return dict(zip((server.data_url for server in asked), evidence, strict=True))


def _may_ask(case: Case) -> bool:
    """Whether servers would tell this client anything, and the client wants them asked."""
    request = case.request
    return (
        request.method in READS
        and not request.skip_stat
        and (case.found.namespace.capabilities.public_reads or request.token is not None)
    )


def _must_ask_origins(policy: Policy, case: Case) -> bool:
    is_assumed = policy.assume_presence_at_single_origin and len(case.found.origins) == 1
    return policy.check_origin_presence and not is_assumed


def _must_ask_caches(policy: Policy, case: Case, caches: tuple[ServerAd, ...]) -> bool:
    """Not if there is no choice between them: then nothing depends on what they say."""
    return policy.is_adaptive and policy.check_cache_presence and not case.request.direct_read and len(caches) > 1


def _patience_with_origins(case: Case) -> Patience:
    """A client that is sent to a cache need not know which origin has the object, only that one has it."""
    usable = case.found.caches
    sent_to_a_cache = not case.to_origins and bool(usable.capable.members or usable.doubtful)
    return Patience.FIRST if sent_to_a_cache else Patience.BEST
