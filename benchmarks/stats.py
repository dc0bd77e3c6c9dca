"""What a hung origin costs: the figures of asking servers, each beside something run in the same call.

Two directors under gunicorn with their production settings, one after the other, and origins over TLS in a process of
their own. The first has every default, and an origin hangs, heals, hangs, heals. The second gives a server fewer slots,
so that ten times the load that fills those of a hung one is within what the machine can do.
"""

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from benchmarks import stats_flock
from benchmarks.figures import Figure, figure
from benchmarks.load import WrongAnswerError
from benchmarks.origins import Origins, serving_origins
from benchmarks.server import Server, cores, serving
from benchmarks.stats_hang import ON_THE_WAY, hang_figures
from benchmarks.stats_play import Cycle, Requests, play
from benchmarks.stats_prefilled import ORIGINS_VARIABLE
from benchmarks.stats_scene import BURSTS, MANY, NAMESPACES, SPREAD, TOUCHED, UNTOUCHED, Source, objects, target
from benchmarks.stats_watch import Samples, Watch, guesses, scrape, watching
from director_wsgi.runtime.leases import MAX_REAPERS
from director_wsgi.trust.pool import THREADS as REGISTRY_THREADS

Say = Callable[[str], None]

DEADLINE_S = 1.0
"""Director.RedirectDeadline, its default."""

STAT_TIMEOUT_S = 2.0
"""Director.StatTimeout, its default."""

THREADS = 32
STAT_THREADS = 256
"""Director.Threads and Director.StatThreads, their defaults: the bound on threads, with `OWN_THREADS`."""

_SINGLE = (
    "backup",
    "clients",
    "configuration",
    "downtimes",
    "federation",
    "keys",
    "metrics",
    "places",
    "prefixes",
    "shares",
    "store",
    "tests",
    "trial",
    "upkeep",
    "vitals",
)
"""What there is one thread for, `director-` and this."""

_RESOLVERS = 8

OWN_THREADS = 1 + len(_SINGLE) + REGISTRY_THREADS + MAX_REAPERS + _RESOLVERS
"""Threads of a worker besides: the one that accepts, those for one thing each, those that ask the registry, those that
close what is not used any more, and those that resolve names."""

FEWER_SLOTS = 40
"""Of the second director: ten times what fills them is 200 requests a second."""

_CLOSED_CONNECTIONS = 32
FLOCK = 256
FLOCK_REQUESTS = 10_000

_CALM = Cycle(healthy_s=6.0, hang_s=13.0, recovery_s=6.2)
_OVERLOAD = Cycle(healthy_s=0.5, hang_s=6.0, recovery_s=0.5)
_LOAD = (Source(TOUCHED, 24), Source(SPREAD, 24), *(Source(prefix, 30) for prefix in UNTOUCHED))


@dataclass(frozen=True, slots=True)
class _Stage:
    """Where it all happens.

    Attributes:
        processors: For everything but the director.
    """

    origins: Origins
    processors: set[int]
    folder: Path

    def serving(self, name: str, stack: ExitStack, settings: dict[str, str] | None = None) -> tuple[Server, Watch]:
        """A director that knows the origins, looked at from now on, until the stack unwinds."""
        own = self.folder / name
        own.mkdir()
        environment = {
            ORIGINS_VARIABLE: json.dumps(self.origins.base_urls),
            "PELICAN_SERVER_TLSCACERTIFICATEFILE": str(self.origins.ca_file),
            "PELICAN_MONITORING_METRICAUTHORIZATION": "false",
        }
        server = stack.enter_context(
            serving("benchmarks.stats_prefilled:application", own, environment | (settings or {}))
        )
        return server, stack.enter_context(watching(server, self.processors))


def measure(folder: Path, say: Say, *, quick: bool = False) -> list[Figure]:
    """Take the figures.

    Args:
        folder: For the servers' files.
        say: Told what is going on.
        quick: Less of everything: to try it, not to quote it.

    Raises:
        ServerFailedError, LoadFailedError, WrongAnswerError: There is nothing to be measured.
    """
    processors = cores()[1]
    own = folder / "stats"
    own.mkdir()
    with serving_origins(MANY, own, processors) as origins:
        stage = _Stage(origins, processors, own)
        with ExitStack() as stack:
            server, watch = stage.serving("defaults", stack)
            made = _hang(stage, server, watch, say, cycles=1 if quick else 2)
            made.append(_flock(stage, server, say, requests=2000 if quick else FLOCK_REQUESTS))
            _bursts(stage, server, say)
        peak = watch.threads
        with ExitStack() as stack:
            settings = {"PELICAN_DIRECTOR_STATCONCURRENCYLIMIT": str(FEWER_SLOTS)}
            server, watch = stage.serving("overload", stack, settings)
            made += _overload(stage, server, say)
        return [*made, _threads(max(peak, watch.threads))]


def _hang(stage: _Stage, server: Server, watch: Watch, say: Say, *, cycles: int) -> list[Figure]:
    load_per_s = sum(source.rate_per_s for source in _LOAD)
    say(f"stats: one of four origins hangs for {_CALM.hang_s:g} s, {cycles} x, {load_per_s:g} requests/s")
    before = scrape(server)
    requests, events = play(
        server,
        stage.origins,
        _LOAD,
        _CALM,
        cycles=cycles,
        warm_up_s=1.5,
        run="hang",
        processors=stage.processors,
    )
    made = hang_figures(requests, events, watch, stage.origins.base_urls, deadline_s=DEADLINE_S)
    return [*made, _guessed("decided without evidence, origin hanging half of the time", before, scrape(server))]


def _guessed(name: str, before: Samples, after: Samples) -> Figure:
    guesses_before, all_before = guesses(before)
    guesses_after, all_after = guesses(after)
    decisions = all_after - all_before
    share = (guesses_after - guesses_before) / decisions if decisions else 0.0
    return figure(name, "%", [share * 100], note=f"by the director's own count, of {decisions:,.0f}")


def _flock(stage: _Stage, server: Server, say: Say, *, requests: int) -> Figure:
    """Everybody asks for the same object, which nobody has asked for before."""
    say(f"stats: {requests:,} requests for one object over {FLOCK} connections")
    servers = NAMESPACES[SPREAD]
    stage.origins.delay(0.05)
    before = stage.origins.told()
    done = stats_flock.run(
        stats_flock.Order(
            port=server.port,
            connections=FLOCK,
            targets=[target(SPREAD, 0, holder=servers[-1], run="flock")],
            requests=requests,
            each=-(-requests // FLOCK),
        ),
        stage.processors,
    )
    after = stage.origins.told()
    stage.origins.delay(0.0)
    _must_be_redirects(done)
    heads = [after[number].heads - before[number].heads for number in servers]
    return figure(
        f"HEADs per server for {done.answers:,} requests of one cold object",
        "HEADs",
        [max(heads)],
        at_most=1,
        details={"requests/s": done.answers / done.lasted_s, "s": done.lasted_s},
        note=f"{FLOCK} connections, of which the worker serves {THREADS} at once; a HEAD takes 50 ms",
    )


def _bursts(stage: _Stage, server: Server, say: Say) -> None:
    """Many origins get many questions at once, one pair after the other: threads are made for each."""
    say(f"stats: {len(BURSTS)} bursts, each at two other origins")
    stage.origins.delay(0.1)
    targets = list(chain.from_iterable(islice(objects(prefix, "burst"), 40) for prefix in BURSTS))
    done = stats_flock.run(
        stats_flock.Order(port=server.port, connections=48, targets=targets, requests=len(targets), each=len(targets)),
        stage.processors,
    )
    stage.origins.delay(0.0)
    _must_be_redirects(done)


def _must_be_redirects(done: stats_flock.Done) -> None:
    if set(done.statuses) - {0, 307}:
        raise WrongAnswerError(f"answers by status: {done.statuses}")


def _overload(stage: _Stage, server: Server, say: Say) -> list[Figure]:
    """Ten times the load that fills the slots of a hung server; and before, what the machine can do at all."""
    per_s = 10 * FEWER_SLOTS / STAT_TIMEOUT_S
    say("stats: what the machine can do")
    done = _capacity(stage, server)
    capacity = done.answers / done.lasted_s
    say(f"stats: an origin hangs under {per_s:g} requests/s; the machine can do {capacity:.0f}")
    before = scrape(server)
    requests, (event,) = play(
        server,
        stage.origins,
        (Source(TOUCHED, per_s), *(Source(prefix, 10) for prefix in UNTOUCHED)),
        _OVERLOAD,
        cycles=1,
        warm_up_s=0.5,
        run="overload",
        processors=stage.processors,
    )
    after = scrape(server)
    hung = requests.between(event.hung_at, event.healed_at)
    return [
        *_goodput(hung, capacity),
        _guessed("decided without evidence, at ten times the load", before, after),
        figure(
            "first server has the object, all that the machine can do, all well",
            "%",
            [done.led_to_holder / done.answers * 100],
            at_least=99,
            details={"requests/s": capacity},
            note=f"{_CLOSED_CONNECTIONS} connections, one namespace, of {done.answers:,}; by chance 50 %",
        ),
    ]


def _capacity(stage: _Stage, server: Server) -> stats_flock.Done:
    """Redirects of cold objects, each over a connection of its own, as those of the open load are."""
    targets = list(islice(objects(TOUCHED, "capacity"), 20_000))
    order = stats_flock.Order(
        port=server.port,
        connections=_CLOSED_CONNECTIONS,
        targets=targets,
        requests=len(targets),
        keep_alive=False,
        at_most_s=2.5,
        base_urls=stage.origins.base_urls,
    )
    done = stats_flock.run(order, stage.processors)
    _must_be_redirects(done)
    return done


def _goodput(hung: Requests, capacity: float) -> list[Figure]:
    touched = hung.of(TOUCHED)
    offered_per_s = len(hung) / _OVERLOAD.hang_s
    share = hung.share_in_time(DEADLINE_S * ON_THE_WAY)
    load = offered_per_s / capacity
    doubts = ["MORE THAN HALF OF WHAT THE MACHINE CAN DO"] if load > 0.5 else []
    if hung.lateness_ms > 50:
        doubts.append(f"THE GENERATOR WAS {hung.lateness_ms:.0f} ms LATE")
    well = touched.held_by_sick(False)
    return [
        figure(
            "goodput at ten times the load that fills a hung server's slots",
            "1/s",
            [share * offered_per_s],
            ratios=[share],
            beside="what was asked for",
            at_least=1.0,
            details={
                "of what the machine can do": load,
                "p50 ms": hung.quantile_ms(0.5),
                "p99 ms": hung.p99_ms,
                "untouched p99 ms": hung.of(*UNTOUCHED).p99_ms,
            },
            note=", ".join(doubts),
        ),
        figure("wrong 404s, at ten times the load", "404s", [hung.wrong_404s], at_most=0, note=f"of {len(hung):,}"),
        figure(
            "first server has the object, at ten times the load, holder well",
            "%",
            [well.share_led_to_holder() * 100],
            at_least=99,
            note=f"of {len(well):,}; by chance 50 %",
        ),
    ]


def _threads(peak: int) -> Figure:
    bound = THREADS + STAT_THREADS + OWN_THREADS
    return figure(
        "threads of the worker at the peak",
        "threads",
        [peak],
        ratios=[peak / bound],
        beside="the bound",
        at_most=1.0,
        note=f"bound: {THREADS} + {STAT_THREADS} + {OWN_THREADS} of our own; {MANY} origins were asked",
    )
