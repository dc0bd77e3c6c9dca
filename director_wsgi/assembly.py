"""How a director is put together: the only place that knows which part is given to which.

Building one starts no thread and opens no socket.
"""

import random
from collections.abc import Collection
from functools import partial

from director_wsgi.director import Director, Present
from director_wsgi.federation.alone import Alone
from director_wsgi.federation.directory import Directory
from director_wsgi.federation.filters import Filters
from director_wsgi.federation.models import ServerAd
from director_wsgi.federation.replica import HOST, Replica
from director_wsgi.federation.shared_ads import SharedAds
from director_wsgi.federation.startup import StartupWindow
from director_wsgi.federation.state import State
from director_wsgi.federation.status import TestVerdict
from director_wsgi.health import io_load, reports, sharing, vitals
from director_wsgi.health.io_load import IoLoads
from director_wsgi.health.readiness import SAMPLE_S, Readiness
from director_wsgi.health.reports import Reports
from director_wsgi.health.tests import DirectorTests, Result
from director_wsgi.health.tokens import Tokens
from director_wsgi.health.trial import Trial
from director_wsgi.health.vitals import Sources, Vitals
from director_wsgi.limits.breaker import BreakerSnapshot
from director_wsgi.limits.deadline import Clock, Deadline, WallClock
from director_wsgi.outbound.names import NameResolver
from director_wsgi.policies import stat_policy
from director_wsgi.redirect.geo import Overrides
from director_wsgi.redirect.maxmind import REFRESH_INTERVAL_S, GeoDatabase
from director_wsgi.redirect.places import ClientPlaces, Places, ServerPlaces
from director_wsgi.reload_records import PASSING as CONFIGURATIONS
from director_wsgi.runtime import seating
from director_wsgi.runtime.clients import ClientWatch
from director_wsgi.runtime.config import Config
from director_wsgi.runtime.leases import Leases
from director_wsgi.runtime.metrics import Metrics
from director_wsgi.runtime.outgoing import MakeClient, Outgoing
from director_wsgi.runtime.periodic import PeriodicJob
from director_wsgi.runtime.siblings import Siblings
from director_wsgi.runtime.tracing.counts import SpanCounts
from director_wsgi.stat.engine import StatEngine
from director_wsgi.trust import keyring
from director_wsgi.trust.admission import Admission, help_sentence
from director_wsgi.trust.downtimes import RegistryDowntimes
from director_wsgi.trust.fed_token import FedTokens
from director_wsgi.trust.federation_keys import TIMEOUT_S as FEDERATION_KEYS_TIMEOUT_S
from director_wsgi.trust.federation_keys import FederationKeys
from director_wsgi.trust.inquiry import Inquiries
from director_wsgi.trust.keyring import KeyRing
from director_wsgi.trust.minting import Minter
from director_wsgi.trust.pool import THREADS as REGISTRY_THREADS
from director_wsgi.trust.prefixes import AllowedPrefixes
from director_wsgi.trust.registry import Registry
from director_wsgi.trust.shared import Sharing

REGISTRY_CONNECTIONS = REGISTRY_THREADS + 2
"""Connections to the registry that are kept open: one for each thread that asks it, the two polls included."""

TEST_CONNECTIONS = 2_500
"""Connections to servers under test that are kept open: shaking hands anew costs twice as much as the rest of a test,
and each server has two, for its data and for its reports. Since all have their turn one after the other, too few of
them would be as good as none."""

UPKEEP_INTERVAL_S = 10.0
"""How often what belonged to servers whose advertisements have expired is given back, and downtimes that have begun or
ended meanwhile act."""

PASSING = frozenset({io_load.KIND, reports.KIND, vitals.KIND, *CONFIGURATIONS})
"""Kinds of what workers tell each other that are worth nothing after a reboot, and would be written to disk all day."""

SHARES_INTERVAL_S = 1.0
"""How often a worker sees how many there are: what is meant for all of them together is shared anew."""


def key_ring(config: Config, wall: WallClock, *, strict: bool = True) -> KeyRing:
    """The director's keys; see `KeyRing`."""
    return KeyRing(
        directory=config.issuer_keys_directory,
        single=config.issuer_key,
        extra=config.issuer_jwks,
        wall=wall,
        strict=strict,
    )


def build(
    config: Config,
    *,
    clock: Clock,
    wall: WallClock,
    started_at: float | None,
    make_client: MakeClient | None,
    ring: KeyRing | None = None,
    state: State | None = None,
    first_started_at: float | None = None,
) -> Director:
    """Put a director together; the arguments are those of `app.create_app`."""
    state = state or State.none()
    replica = state.replica
    names = NameResolver(clock=clock)
    outgoing = Outgoing(config, names, clock)
    make_client = make_client or outgoing.client
    places = _places(config, names, clock)
    loads = IoLoads(make_client(1), config.prometheus_url, publish=replica.publish, clock=clock, wall=wall)
    if config.prometheus_url:
        replica.follow(io_load.KIND, loads)
    directory = Directory(
        clock=clock,
        capacity=config.max_servers,
        status_time_constant_s=config.status_time_constant_s,
    )
    filters = Filters(permanent=config.filtered_servers, wall=wall)
    directory.set_filtered(filters.filtered())
    leases = Leases(clock=clock)
    engine = StatEngine(policy=stat_policy(config), build_client=make_client, leases=leases, clock=clock)
    registry_client = make_client(REGISTRY_CONNECTIONS)
    registry = Registry(registry_client, config.registry_url)
    told = Sharing(replica, wall)
    prefixes = AllowedPrefixes(registry, sharing=told, clock=clock)
    downtimes = RegistryDowntimes(
        registry,
        filters,
        sharing=told,
        on_filtered=lambda: directory.set_filtered(filters.filtered()),
        clock=clock,
    )
    inquiries = Inquiries(registry, timeout_s=config.registry_timeout_s, sharing=told, clock=clock)
    ring = ring or key_ring(config, wall)
    minter = Minter(ring, wall=wall)
    federation_keys = _federation_keys(config, make_client, told, clock)
    started_at = clock() if started_at is None else started_at
    window = StartupWindow(
        config.startup_window_s,
        started_at=started_at,
        first_started_at=started_at if first_started_at is None else first_started_at,
        clock=clock,
    )
    shared_ads = SharedAds(replica, directory, filters, wall=wall, on_heard=engine.heard_from)
    present = Present(config)
    trial = Trial(
        resolve=present.resolve,
        snapshot=directory.snapshot,
        deadline_s=config.redirect_deadline_s,
        generator=random.Random(),
        clock=clock,
    )
    readiness = _readiness(state, present, engine, trial, clock=clock, wall=wall)
    own_vitals = _vitals(replica, present, readiness, directory, filters, engine=engine, clock=clock, wall=wall)
    return Director(
        config=config,
        present=present,
        state=state,
        window=window,
        shared_ads=shared_ads,
        directory=directory,
        filters=filters,
        names=names,
        outgoing=outgoing,
        spans=SpanCounts(),
        ring=ring,
        minter=minter,
        federation_keys=federation_keys,
        fed_tokens=FedTokens(
            inquiries=inquiries,
            prefixes=prefixes,
            minter=minter,
            issuer=config.discovery_url,
            lifetime_s=config.fed_token_lifetime_s,
            wall=wall,
        ),
        leases=leases,
        engine=engine,
        registry_client=registry_client,
        inquiries=inquiries,
        prefixes=prefixes,
        admission=Admission(
            directory=directory,
            filters=filters,
            inquiries=inquiries,
            prefixes=prefixes,
            default_lifetime_s=config.advertisement_ttl_s,
            help_text=help_sentence(
                contact_email=config.support_contact_email,
                contact_url=config.support_contact_url,
                web_url=config.web_url,
            ),
            wall=wall,
            locate=places.servers.of,
            publish=shared_ads.admitted,
        ),
        clients=ClientWatch(),
        tests=_tests(
            config, replica, directory, filters, engine, minter=minter, make_client=make_client, clock=clock, wall=wall
        ),
        places=places,
        loads=loads,
        trial=trial,
        readiness=readiness,
        vitals=own_vitals,
        metrics=Metrics(Siblings(state.folder / "metrics", replica.holder) if state.folder is not None else None),
        jobs=(
            PeriodicJob("director-trial", trial.next_in_s, trial.run),
            PeriodicJob("director-vitals", SAMPLE_S, own_vitals.refresh),
            PeriodicJob("director-places", REFRESH_INTERVAL_S, places.refresh, at_once=False),
            *_load_jobs(config, replica, loads, clock),
            PeriodicJob("director-keys", keyring.REFRESH_S, ring.refresh, at_once=False),
            *_federation_jobs(federation_keys, replica, clock),
            _registry_job("director-prefixes", prefixes, present, replica, clock),
            _registry_job("director-downtimes", downtimes, present, replica, clock),
            PeriodicJob("director-shares", SHARES_INTERVAL_S, partial(_share, engine, replica)),
            PeriodicJob("director-expiry", directory.sweep_in_s, directory.sweep),
            PeriodicJob("director-upkeep", UPKEEP_INTERVAL_S, lambda: _keep_up(engine, filters, directory)),
        ),
    )


def _places(config: Config, names: NameResolver, clock: Clock) -> Places:
    """Who tells places. What the configuration has to say to that comes with the first generation."""
    nothing, nowhere = Overrides(()), GeoDatabase(None)
    return Places(
        database=nowhere,
        clients=ClientPlaces(nothing, nowhere, generator=random.Random(), clock=clock, seed=config.ranking_seed),
        servers=ServerPlaces(nothing, nowhere, names),
    )


def _tests(
    config: Config,
    replica: Replica | Alone,
    directory: Directory,
    filters: Filters,
    engine: StatEngine,
    *,
    minter: Minter,
    make_client: MakeClient,
    clock: Clock,
    wall: WallClock,
) -> DirectorTests:
    tests = DirectorTests(
        servers=lambda: directory.snapshot().servers,
        filtered_names=filters.names,
        on_result=partial(_heed_test, directory, engine),
        client=make_client(TEST_CONNECTIONS),
        tokens=Tokens(minter, federation_issuer=config.discovery_url, web_url=config.web_url),
        hostname=config.hostname,
        interval_s=config.health_test_interval_s,
        threads=config.health_test_threads,
        is_ours=lambda: replica.holds(HOST),
        publish=lambda data_url, news: replica.publish(
            sharing.KIND, data_url, news.encode, lifetime_s=sharing.LIFETIME_S, token=None
        ),
        clock=clock,
        wall=wall,
    )
    replica.follow(sharing.KIND, sharing.Following(tests.heard, wall=wall))
    return tests


def _heed_test(directory: Directory, engine: StatEngine, server: ServerAd, result: Result) -> None:
    """What the result of a director test changes: how a server is ranked, and whether it is asked."""
    if result.passed:
        directory.tested(server.data_url, TestVerdict.PASSED)
        engine.heard_from(server.data_url)
    elif result.failure is not None and result.is_unanswered:
        directory.tested(server.data_url, TestVerdict.UNANSWERED)
        engine.failed_test(server.data_url, result.failure)
    else:
        directory.tested(server.data_url, TestVerdict.FAILED)


def _keys_are_ours(config: Config) -> bool:
    """Whether the federation's keys are those that this director publishes."""
    own = {f"{url}/.well-known/issuer.jwks" for url in (config.web_url, config.director_url)}
    return config.jwk_url in own


def _federation_keys(config: Config, make_client: MakeClient, told: Sharing, clock: Clock) -> FederationKeys | None:
    if _keys_are_ours(config):
        return None
    return FederationKeys(make_client(1), config.jwk_url, sharing=told, clock=clock)


def _federation_jobs(keys: FederationKeys | None, replica: Replica | Alone, clock: Clock) -> tuple[PeriodicJob, ...]:
    if keys is None:
        return ()
    return (
        PeriodicJob(
            "director-federation",
            keys.next_refresh_in_s,
            lambda: (
                replica.holds(HOST) and keys.is_due and keys.refresh(Deadline.after(FEDERATION_KEYS_TIMEOUT_S, clock))
            ),
        ),
    )


def _registry_job(
    name: str, table: AllowedPrefixes | RegistryDowntimes, present: Present, replica: Replica | Alone, clock: Clock
) -> PeriodicJob:
    """Fetch a table for all workers of the host when it is due, whoever fetched it last."""

    def turn() -> None:
        if replica.holds(HOST) and table.is_due(present.config.registry_query_interval_s):
            table.refresh(Deadline.after(present.config.registry_timeout_s, clock))

    return PeriodicJob(name, lambda: table.next_refresh_in_s(present.config.registry_query_interval_s), turn)


def _load_jobs(config: Config, replica: Replica | Alone, loads: IoLoads, clock: Clock) -> tuple[PeriodicJob, ...]:
    if not config.prometheus_url:
        return ()
    return (
        PeriodicJob(
            "director-load",
            io_load.INTERVAL_S,
            lambda: replica.holds(HOST) and loads.refresh(Deadline.after(io_load.TIMEOUT_S, clock)),
        ),
    )


def _share(engine: StatEngine, replica: Replica | Alone) -> None:
    """Divide what all workers have together by their number; who is not heard of for want of a store is still there."""
    if replica.trouble is None:
        engine.share(replica.workers)


def _keep_up(engine: StatEngine, filters: Filters, directory: Directory) -> None:
    """Sweep out what has expired; a downtime that has begun or ended since the last time acts from now on."""
    servers = directory.snapshot().servers
    directory.tell_expired()
    engine.retain(servers)
    filters.retain({server.registry_prefix for server in servers.values()})
    directory.set_filtered(filters.filtered())


def _readiness(
    state: State, present: Present, engine: StatEngine, trial: Trial, *, clock: Clock, wall: WallClock
) -> Readiness:
    replica, backup = state.replica, state.backup

    def store() -> str:
        return "The store cannot be used; what is learned now is not kept" if replica.trouble else ""

    def disk() -> str:
        is_behind = backup is not None and backup.trouble
        return "The state on disk is not kept up to date; what is learned now ends with a reboot" if is_behind else ""

    others = Reports(clock=clock, wall=wall)
    replica.follow(reports.KIND, others)
    return Readiness(
        has_read=lambda: replica.has_read or replica.trouble is not None,  # that there is trouble is a warning
        lanes=engine.lanes.all.statistics,
        trial=trial,
        warnings={"store": store, "disk": disk, "configuration": present.complaint, "cores": seating.trouble},
        notes={"cores": seating.note},
        others=others.of_others,
        clock=clock,
    )


def _vitals(
    replica: Replica | Alone,
    present: Present,
    readiness: Readiness,
    directory: Directory,
    filters: Filters,
    *,
    engine: StatEngine,
    clock: Clock,
    wall: WallClock,
) -> Vitals:
    def servers() -> Collection[ServerAd]:
        return directory.snapshot().servers.values()

    def breaker_of(data_url: str) -> BreakerSnapshot | None:
        health = engine.health_of(data_url)
        return None if health is None else health.breaker.snapshot()

    sources = Sources(
        servers=servers,
        filtered_names=filters.names,
        breaker_of=breaker_of,
        configuration=present.described,
    )
    told = Vitals(readiness, sources, shared=replica, lease=HOST, clock=clock, wall=wall)
    replica.follow(vitals.KIND, told)
    return told
