"""What the operator decided, as the rooms want to hear it."""

from director_wsgi.limits.breaker import BreakerSettings
from director_wsgi.redirect.resolver import Policy
from director_wsgi.runtime.config import Config
from director_wsgi.stat.engine import StatPolicy
from director_wsgi.stat.evidence import Lifetimes
from director_wsgi.stat.roster import LEAST_SLOTS

BREAKER_WINDOW_S = 20.0
BREAKER_VOLUME = 5
"""So long and so few that one object in demand at a server that hangs, a HEAD every three seconds, trips it, too."""

BREAKER_ROW = LEAST_SLOTS
"""As many failures as a server that hangs makes at once when it is trusted least."""

FIRST_BACKOFF_S = 0.5
"""How long a server that has turned out to be sick is left alone at first."""


def stat_policy(config: Config) -> StatPolicy:
    """How servers are asked."""
    return StatPolicy(
        timeout_s=config.stat_timeout_s,
        slots=config.stat_concurrency_limit,
        adapts=config.adaptive_concurrency,
        threads=config.stat_threads,
        lanes=config.threads - config.reserved_threads,
        lifetimes=Lifetimes(
            presence_s=config.presence_ttl_s,
            absence_s=config.absence_ttl_s,
            failure_s=config.failure_ttl_s,
            stale_s=config.stale_if_error_s,
        ),
        capacity=config.presence_capacity,
        breaker=BreakerSettings(
            window_s=BREAKER_WINDOW_S,
            minimum_volume=BREAKER_VOLUME,
            failures_in_a_row=BREAKER_ROW,
            slow_s=config.slow_stat_s,
            first_backoff_s=min(FIRST_BACKOFF_S, config.probe_interval_s),
            backoff_cap_s=config.probe_interval_s,
        ),
    )


def redirect_policy(config: Config) -> Policy:
    """How requests are answered."""
    return Policy(
        web_url=config.web_url,
        cache_sort_method=config.cache_sort_method,
        filter_caches_in_error_state=config.filter_caches_in_error_state,
        check_origin_presence=config.check_origin_presence,
        assume_presence_at_single_origin=config.assume_presence_at_single_origin,
        caches_pull_from_caches=config.caches_pull_from_caches,
        check_cache_presence=config.check_cache_presence,
        adaptive_truncate=config.adaptive_truncate,
        ranking_seed=config.ranking_seed,
        when_unknown=config.when_unknown,
    )
