"""The process: gunicorn's settings and hooks.

Every public name in lower case is one of gunicorn's settings; gunicorn ignores what it does not know, so a test holds
that. gunicorn's flags and `GUNICORN_CMD_ARGS` win over what stands here. The way in is `gunicorn -c gunicorn.conf.py`,
which runs this file again on HUP; `-c python:director_wsgi.runtime.process` serves where that file is not at hand,
but keeps the settings of its first start until the next one.

Left at gunicorn's default, on purpose: `workers` (else `WEB_CONCURRENCY` would not count), `preload_app` (threads do
not survive a fork), `reuse_port` (each worker would have an accept queue of its own, and lose it when it ends),
`max_requests` (nothing grows with the requests that were served), `accesslog` (off: one line per redirect is the
operator's choice), `ca_certs` (for client certificates; `Server.TLSCACertificateFile` is whom the director trusts).
"""

import contextlib
import gc
import logging
import math
import os
import resource
import signal
import ssl
import sys
import threading
from pathlib import Path
from typing import Any, Protocol

from gunicorn import sock

from director_wsgi import __version__
from director_wsgi.errors import ConfigError
from director_wsgi.limits.deadline import Deadline
from director_wsgi.runtime import seating, start
from director_wsgi.runtime.admin import AdminServer, Answer, Asked, Later
from director_wsgi.runtime.admin_listener import admin_listener
from director_wsgi.runtime.config import Config
from director_wsgi.runtime.handover import hand_over
from director_wsgi.runtime.heaps import keep_few_heaps
from director_wsgi.runtime.log import gunicorn_level
from director_wsgi.runtime.notify import notifier
from director_wsgi.runtime.sockets import bound_silence, number_for_systemd, server_context
from director_wsgi.runtime.spawning import outlive_shortage, use_heartbeats

SPARE_CONNECTIONS = 32
"""Connections a worker accepts beyond its threads: those kept alive and idle. Few, so that overload shows at the door
(the kernel's queue, the load balancer) rather than in a queue nobody sees; enough for a proxy's pool."""

DRAIN_S = 3.0
"""How long a worker that ends may take to give back what the director holds; its requests have ended before."""

END_S = 5
"""What the master waits for a worker beyond the time for its requests: the drain, the second that gthread may be late
to notice that the time is over, and one to spare. Both would else count from the same signal, and the master's SIGKILL
would come in the middle of the drain."""

MOST_DESCRIPTORS = 65_536
"""Open files and sockets of a worker, if the system lets it have so many: a thousand servers, some connections each."""

_logger = logging.getLogger("director_wsgi.process")


class _Part(Protocol):
    """What the hooks need of a part of the application that has a life of its own."""

    def start(self) -> None: ...

    def close(self) -> None: ...


class _Probes(Protocol):
    """What they need of `web.probes.Probes`."""

    def answer(self, asked: Asked) -> Answer | Later: ...


def _configured() -> Config:
    try:
        config = start.load_config(os.environ, Path.cwd())
    except ConfigError as error:
        start.refuse(error.problems)
    start.first_start_at(os.environ)
    return config


def _text(file: Path | None) -> str | None:
    return None if file is None else str(file)


_config = _configured()

# Where and what
wsgi_app = "director_wsgi.wsgi:application"
proc_name = "director"
bind = [start.address(_config)]
certfile = _text(_config.tls_certificate_chain)
keyfile = _text(_config.tls_key)

# How many
worker_class = "director_wsgi.runtime.worker.DirectorWorker"
threads = _config.threads
worker_connections = threads + SPARE_CONNECTIONS

# How long. `timeout` is no limit for a request: it ends a worker whose main thread does not run any more. Without it
# nothing would.
timeout = 30
graceful_timeout = math.ceil(_config.graceful_timeout_s) + END_S
keepalive = 5

# How large: a token of 7 kB must pass, in a header or in a query. 8190 is the most gunicorn can bound.
limit_request_line = 8190
limit_request_field_size = 8190

# Whom to believe: nobody. X-Forwarded-For is read by the application, which knows Server.TrustedProxies; gunicorn
# would let every peer on loopback set the path and the scheme, and answer 400 where two proxies disagree on it.
forwarded_allow_ips = ""
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}

http_parser = "python"
control_socket_disable = True

# What is said
logger_class = "director_wsgi.runtime.log.GunicornLogger"
loglevel = gunicorn_level(_config.log_level)
errorlog = "-"


def _why_only_one() -> str:
    """Why there may not be several workers; empty if there may."""
    if not start.shares_state():
        return (
            "with Director.StateLocation = :memory: only 1 is possible, since workers share what they learn through "
            "the state. Name a directory."
        )
    return ""


def _refused(settings: Any) -> tuple[str, ...]:
    """Why the director cannot run on `settings`, gunicorn's configuration after all flags; empty if it can."""
    problems = []
    if settings.workers < 1:
        problems.append("0 workers (-w, --workers or WEB_CONCURRENCY): nobody would answer. Give 1 or more.")
    if settings.workers > 1 and (why := _why_only_one()):
        problems.append(f"{settings.workers} workers (-w, --workers or WEB_CONCURRENCY): {why}")
    if settings.preload_app:
        problems.append("--preload: the director's threads would not survive the fork. Leave it out.")
    if settings.reuse_port:
        problems.append("--reuse-port: connections would be lost with every worker that ends. Leave it out.")
    if settings.timeout == 0:
        problems.append("--timeout 0: a worker that hangs would hang for ever. Give a number of seconds, such as 30.")
    if settings.settings["worker_class"].get() != worker_class:
        problems.append(f"worker class {settings.worker_class_str}: only {worker_class} is possible. Leave out -k.")
    if settings.threads <= _config.reserved_threads:
        problems.append(
            f"{settings.threads} threads: more than Director.ReservedThreads ({_config.reserved_threads}) are needed."
        )
    return tuple(problems)


def _follow_threads(settings: Any) -> None:
    """Keep `worker_connections` above the threads that `--threads` asked for, unless it was given too."""
    if settings.worker_connections == worker_connections:
        settings.set("worker_connections", settings.threads + SPARE_CONNECTIONS)


def on_starting(server: Any) -> None:
    """Master, once, before it listens: refuses what would only fail later, and less clearly."""
    problems = list(_refused(server.cfg))
    if server.cfg.is_ssl:
        try:
            sock.ssl_context(server.cfg)
        except OSError as error:
            problems.append(
                f"Server.TLSCertificateChain = {server.cfg.certfile} with Server.TLSKey = {server.cfg.keyfile}: "
                f"expected a certificate and its private key, in PEM ({error})"
            )
    if not problems:
        try:
            admin_listener.open(_config.admin_bind, os.environ)
        except OSError as error:
            problems.append(f"Director.AdminBind = {_config.admin_bind}: cannot listen there ({error})")
    if problems:
        start.refuse(tuple(problems))
    _follow_threads(server.cfg)
    keep_few_heaps()
    use_heartbeats()
    outlive_shortage(server)
    notifier.take_over(os.environ)
    hand_over(server)
    _settle(server)
    _logger.info("director_wsgi %s for %s", __version__, _config.web_url)
    seating.warn_of_too_many(server.cfg.workers)
    for warning in _config.warnings:
        _logger.warning("%s", warning)
    if _config.ignored:
        _logger.info("Parameters without effect on a director: %s", ", ".join(_config.ignored))


def _settle(server: Any) -> None:
    # Under another user (--user) the workers could not use a directory that the master makes.
    start.settle(os.environ, Path.cwd(), is_kept=server.cfg.uid == os.geteuid())


def when_ready(server: Any) -> None:
    """Master, once it listens."""
    bound_silence(server.LISTENERS)
    notifier.watch(server, lambda: start.complaint() or "Serving")


def on_reload(server: Any) -> None:
    """Master, after HUP, before it starts the new workers."""
    notifier.reloading(server)
    _settle(server)
    admin_listener.stay(_config.admin_bind)
    nworkers_changed(server, server.num_workers, server.num_workers)  # what has just been read may have no state
    server.cfg.set("workers", server.num_workers)
    _follow_threads(server.cfg)
    bound_silence(server.LISTENERS)
    if server.cfg.is_ssl:
        # For the new workers to inherit; a broken pair is logged there, and the last good one stays.
        with contextlib.suppress(OSError):
            sock.ssl_context(server.cfg)


def nworkers_changed(server: Any, new_value: int, old_value: int | None) -> None:
    """Master: TTIN, or a reload, asks for other workers than `_refused` has seen."""
    if old_value is None:
        return
    if new_value > 1 and (why := _why_only_one()):
        _logger.error("A second worker is refused: %s", why)
        server.num_workers = 1
        return
    if new_value > old_value:
        seating.warn_of_too_many(new_value)
    if new_value != old_value:
        seating.rearrange(server, new_value, _config.pin_workers)


def pre_exec(server: Any) -> None:
    """The child that will become the new master after USR2: it keeps the instant of the first start."""
    server.cfg.env_orig[start.FIRST_START] = repr(start.first_start_at(os.environ))
    start.hand_on(server.cfg.env_orig)
    notifier.hand_on(server.cfg.env_orig)
    admin_listener.hand_on(server.cfg.env_orig)
    if server.systemd:
        number_for_systemd(server.LISTENERS)


def pre_fork(server: Any, worker: Any) -> None:
    """Master, before each worker."""
    start.count_worker()
    seating.prepare(server, worker, _config.pin_workers)


def post_fork(server: Any, worker: Any) -> None:  # noqa: ARG001, gunicorn counts the parameters
    """Worker, first thing: before it has threads, since those would keep the cores they started with."""
    seating.sit_down(worker, _config.pin_workers)
    start.use_threads(worker.cfg.threads)
    _open_more()
    # This process's copy of the settings: the time for requests, without that for the end.
    worker.cfg.set("graceful_timeout", max(1, worker.cfg.graceful_timeout - END_S))


def _open_more() -> None:
    """Raise the limit of descriptors as far as that needs nobody's leave.

    The usual soft limit, 1024, is for programs that call `select`; one connection kept to each of a thousand servers
    is more than that.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(MOST_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _parts(worker: Any) -> list[_Part]:
    """Those of the worker's application, in the order in which they begin; none of one that only compares."""
    found = _extensions(worker)
    return [found[name] for name in ("director", "reloads") if name in found]


def _extensions(worker: Any) -> dict[str, Any]:
    found: dict[str, Any] = getattr(getattr(worker, "wsgi", None), "extensions", {})
    return found


def post_worker_init(worker: Any) -> None:
    """Worker, when the application is loaded and before the first request."""
    # To the master HUP means reload; a worker that gets it as well, from a terminal that closes, must not die of it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _keep()
    for part in _parts(worker):
        part.start()
    _keep()  # a whole federation, if it was known from before
    _serve_operators(worker)  # with the first request: a reload's new worker is not to say that it is not ready yet
    _logger.info("Worker ready: %d threads on %s", worker.cfg.threads, seating.place())


def _keep() -> None:
    """Let the garbage collector look at what there is now for the last time.

    It stays until the end. Else all of it would be looked through time and again, which takes 40 ms, and every thread
    waits for it.
    """
    gc.collect()
    gc.freeze()


def _serve_operators(worker: Any) -> None:
    """Answer at `Director.AdminBind`, if that is set, for as long as the worker takes requests."""
    answers: _Probes | None = _extensions(worker).get("probes")
    if admin_listener.socket is not None and answers is not None:
        worker.admin = AdminServer(admin_listener.socket, answers.answer, is_serving=lambda: bool(worker.alive))
        worker.admin.start()


def worker_exit(server: Any, worker: Any) -> None:  # noqa: ARG001, gunicorn counts the parameters
    """Worker, last thing: gives back what it holds, within `DRAIN_S`, and ends the process itself.

    The interpreter's own way out waits for every thread of every executor, that is, for the slowest server: it is
    never reached. gunicorn calls this hook in the master too, for a worker found dead.
    """
    if os.getpid() != worker.pid:
        return
    status = _exit_status(sys.exc_info()[1])
    admin: AdminServer | None = getattr(worker, "admin", None)
    if admin is not None:
        admin.stop(Deadline.after(0.0))  # it ends meanwhile
    _drain(_parts(worker))
    logging.shutdown()
    os._exit(status)


def _drain(parts: list[_Part]) -> None:
    def close() -> None:
        for part in reversed(parts):
            part.close()

    drain = threading.Thread(target=close, name="drain", daemon=True)
    try:
        drain.start()
    except RuntimeError as error:  # the system has no thread left; the end of the process gives everything back as well
        _logger.warning("The worker ends without giving back what it holds: %s", error)
        return
    drain.join(DRAIN_S)
    if drain.is_alive():
        _logger.warning("The worker ends although not everything was given back within %.0f s", DRAIN_S)


def _exit_status(ending: BaseException | None) -> int:
    """The status that the process was about to end with: the master reads in it whether a new one may do better."""
    if ending is None:
        return 0
    code = ending.code if isinstance(ending, SystemExit) else 1
    return code & 0xFF if isinstance(code, int) else int(code is not None)


def child_exit(server: Any, worker: Any) -> None:  # noqa: ARG001, gunicorn counts the parameters
    """Master, after each worker."""
    seating.forget(worker.age)


def on_exit(server: Any) -> None:
    """Master, last thing."""
    if not server.reexec_pid:
        notifier.stopping()
    admin_listener.close(is_last=not server.reexec_pid and server.master_pid != os.getppid())


def ssl_context(config: Any, default_ssl_context_factory: Any) -> ssl.SSLContext:
    """Master at the start, worker at every connection: the context to speak TLS with."""
    return server_context.get(config, default_ssl_context_factory)
