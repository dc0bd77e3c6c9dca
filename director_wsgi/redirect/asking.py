"""Whom to ask for the object before it is decided where a request goes.

Origins, unless the only one is assumed to have everything. Caches for the ranking `adaptive` only. All are asked at
once, so that nobody's silence is waited for twice.

Source: Pelican `director/stat.go:shouldStatOrigins`, `shouldStatCaches`. There, caches are asked after origins, and
COPY is a read.
"""

from collections.abc import Mapping
from typing import Protocol

from director_wsgi.federation.models import ServerAd, ServerKind
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


class Recall(Protocol):
    """`stat.engine.StatEngine.recall`, or a fake."""

    def __call__(
        self,
        servers: tuple[ServerAd, ...],
        path: str,
        *,
        bearer: str | None,
        authority: str,
        patience: Patience,
        trace: Trace,
    ) -> tuple[Evidence, ...] | None:
        """What `Ask` would say if it need not wait for it; None if somebody has to be asked. Never waits."""
        ...


def asked_of(policy: Policy, case: Case) -> tuple[ServerAd, ...]:
    """Who has to be asked before it is decided where a request goes; often nobody.

    Args:
        policy: What the operator decided.
        case: The request.
    """
    asks_origins = policy.check_origin_presence and not (
        policy.assume_presence_at_single_origin and len(case.origins) == 1
    )
    # Caches only if there is a choice between them: else nothing depends on what they say.
    asks_caches = (
        policy.is_adaptive and policy.check_cache_presence and not case.request.direct_read and len(case.caches) > 1
    )
    if not (asks_origins or asks_caches) or not _may_ask(case):
        return ()
    asked_caches = case.caches if asks_caches else ()
    return tuple(source.server for source in case.origins) + asked_caches if asks_origins else asked_caches


def recall(how: Recall, case: Case, asked: tuple[ServerAd, ...]) -> Told | None:
    """What is known already, if that is enough; None if somebody has to be asked. Never waits."""
    request = case.request
    evidence = how(
        asked,
        request.path,
        bearer=request.token.value if request.token else None,
        authority=request.authority,
        patience=_patience(case, asked),
        trace=request.trace,
    )
    return None if evidence is None else _told(asked, evidence)


def learn(how: Ask, case: Case, asked: tuple[ServerAd, ...]) -> Told:
    """Ask these, and wait until enough is known or the deadline has passed."""
    request = case.request
    evidence = how(
        asked,
        request.path,
        bearer=request.token.value if request.token else None,
        authority=request.authority,
        deadline=request.deadline,
        namespace=case.found.prefix,
        patience=_patience(case, asked),
        client=request.client,
        trace=request.trace,
    )
    return _told(asked, evidence)


def _told(asked: tuple[ServerAd, ...], evidence: tuple[Evidence, ...]) -> Told:
    return dict(zip((server.data_url for server in asked), evidence, strict=True))


def _may_ask(case: Case) -> bool:
    """Whether servers would tell this client anything, and the client wants them asked."""
    request = case.request
    return (
        request.method in READS
        and not request.skip_stat
        and (case.found.namespace.capabilities.public_reads or request.token is not None)
    )


def _patience(case: Case, asked: tuple[ServerAd, ...]) -> Patience:
    """A client that is sent to a cache need not know which origin has the object, only that one has it."""
    if case.to_origins or asked[-1].kind is ServerKind.CACHE:
        return Patience.BEST
    usable = case.found.caches
    return Patience.FIRST if usable.capable.members or usable.doubtful else Patience.BEST
