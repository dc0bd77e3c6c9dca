"""What the spans of a redirect say. Costs a few calls of nothing where nothing is traced.

Stages that ask nobody become spans of their own only where somebody was asked; the request itself always says what came
of them.
"""

from director_wsgi.federation.models import ServerAd
from director_wsgi.redirect.matching import Match
from director_wsgi.runtime.tracing import attributes as say
from director_wsgi.runtime.tracing.span import Trace


def matched(trace: Trace, began_at: float, found: Match) -> None:
    """Who may serve it is known."""
    if trace.is_recorded:
        trace.set(say.NAMESPACE, found.prefix)
        trace.stage(
            "match",
            began_at,
            {
                say.ORIGINS: len(found.origins.members),
                say.CACHES: len(found.caches.capable.members) + len(found.caches.doubtful),
            },
        )


def ranked(trace: Trace, began_at: float, best: ServerAd, *, with_evidence: bool) -> None:
    """Where it goes is known."""
    if trace.is_recorded:
        trace.set(say.CHOSEN, best.name)
        trace.set(say.DESTINATION, best.kind.value.lower())
        trace.set(say.WITH_EVIDENCE, with_evidence)
        trace.stage("rank", began_at)
