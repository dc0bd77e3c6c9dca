r"""Logging: one line per record, to standard error, with nothing in it that opens a door.

A line is `2026-01-31T12:00:00.123Z WARNING 4711 director_wsgi.stat.engine: message [job-id]`. Line breaks and other
control characters are written as escapes, tracebacks included, so that nobody can forge a line by sending one.

Tokens travel in `Authorization` and in queries (`authz=`), so they can turn up wherever a URL, a header or an
exception is written. `redact` is applied to the finished text, after every formatter, the operator's own included:
what is not known to be a secret when it is logged is still recognised by its shape.
"""

import codecs
import logging
import re
import sys
import time
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, ClassVar

from gunicorn.glogging import Logger

from director_wsgi.runtime import outlet
from director_wsgi.runtime.sockets import GIVEN_UP

job_id: ContextVar[str | None] = ContextVar("job_id", default=None)
"""The id of the request a thread is working on, as clients see it in `X-Pelican-JobId`; shown at the end of a line.

Whoever sets it resets it: handler threads are used again."""

MAX_CHARACTERS = 16_384
"""Longer lines are cut: what others send must not decide how much is written."""

REDACTED = "[redacted]"

_LEVELS = {"trace": "debug", "warn": "warning", "fatal": "critical", "panic": "critical"}
_SECRET_HEADERS = ("authorization", "proxy-authorization", "cookie", "set-cookie")

_VALUE = r"[^\s&;,\"'<>\\]+"
_SECRETS = re.compile(
    # A JSON object in base64url begins with eyJ, and so does every JWT; one that was cut off has no dots.
    r"(?P<jwt>(?-i:eyJ)[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)*)"
    # "Bearer T", however the blank was encoded.
    rf"|(?P<scheme>\b(?:bearer|basic)(?:\s+|%20|\+))(?P<credentials>{_VALUE})"
    # "authz=T" in a query, "Authorization: T" in a header, "'access_token': 'T'" in JSON or a dict.
    r"|(?P<name>(?:authz|authorization|access_token|refresh_token|id_token|client_secret|password)"
    rf"[\"']?\s*(?:=|:|%3D)\s*[\"']?)(?P<value>(?:(?:bearer|basic)(?:\s+|%20|\+))?{_VALUE})",
    re.IGNORECASE,
)
_escape = codecs.getencoder("unicode_escape")  # now: it is in a file, and later there may be no descriptor to read it
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def redact(text: str) -> str:
    """`text` with everything in it that looks like a bearer token, a password or a JWT replaced."""
    return _SECRETS.sub(lambda found: f"{found['scheme'] or found['name'] or ''}{REDACTED}", text)


def one_line(text: str) -> str:
    r"""`text` with control characters as escapes (`\n`, `\x1b`), cut at `MAX_CHARACTERS`."""
    if len(text) > MAX_CHARACTERS:
        text = f"{text[:MAX_CHARACTERS]}… ({len(text)} characters)"
    return _CONTROL.sub(lambda found: _escape(found[0])[0].decode("ascii"), text)


def gunicorn_level(level: str) -> str:
    """Pelican's name of a level (`trace` … `panic`) in gunicorn's words, which know fewer."""
    return _LEVELS.get(level, level)


class LineFormatter(logging.Formatter):
    """Writes a record as the line described in the module."""

    converter = time.gmtime  # type: ignore[assignment]  # typed as a method, called as a function
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """One line, the traceback at its end."""
        line = super().format(record)
        job = job_id.get()
        return f"{line} [{job}]" if job else line


class SafeFormatter(logging.Formatter):
    """What another formatter writes, on one line and without secrets."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self.inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """`inner`'s text, cut, redacted."""
        return redact(one_line(self.inner.format(record)))


def make_safe(handlers: Iterable[logging.Handler]) -> None:
    """Put a `SafeFormatter` around the formatter of each of `handlers` that has none yet."""
    for handler in handlers:
        if not isinstance(handler.formatter, SafeFormatter):
            handler.setFormatter(SafeFormatter(handler.formatter or LineFormatter()))


def configure(level: str) -> None:
    """Log to standard error at Pelican's `level`: for commands that run without gunicorn."""
    handler = logging.StreamHandler(sys.stderr)
    make_safe([handler])
    logging.basicConfig(level=gunicorn_level(level).upper(), handlers=[handler], force=True)


def set_level(level: str) -> None:
    """Log at Pelican's `level` from now on, in this process; the same level again costs nothing.

    Where an operator's own `--log-config` decides what is logged, it goes on to do so.
    """
    if GunicornLogger.is_decided_elsewhere:
        return
    name = gunicorn_level(level).upper()
    for logger in (logging.getLogger(), logging.getLogger("gunicorn.error")):
        if logging.getLevelName(logger.level) != name:  # to set it empties the caches of all loggers
            logger.setLevel(name)


def _tell_lost(lines: int) -> str:
    record = logging.LogRecord(
        __name__, logging.WARNING, __file__, 0, "Nobody read the log: %d lines are lost", (lines,), None
    )
    return f"{LineFormatter().format(record)}\n"


class GunicornLogger(Logger):  # type: ignore[misc]
    """gunicorn's logger: the director's records and gunicorn's go the same way, in the same shape, safe.

    An operator's own `--log-config` decides where records go and how they look; they are made safe all the same.

    Attributes:
        is_decided_elsewhere: Whether there is such a `--log-config`, in this process.
    """

    is_decided_elsewhere: ClassVar[bool] = False

    def setup(self, cfg: Any) -> None:
        """Called by the master at the start and on every HUP; workers inherit what it did."""
        super().setup(cfg)
        root = logging.getLogger()
        GunicornLogger.is_decided_elsewhere = bool(cfg.logconfig or cfg.logconfig_dict or cfg.logconfig_json)
        if not self.is_decided_elsewhere:
            for handler in self.error_log.handlers:
                handler.setFormatter(LineFormatter())
            root.handlers[:] = self.error_log.handlers
            root.setLevel(self.loglevel)
        for logger in (root, self.error_log, self.access_log):
            make_safe(logger.handlers)
            outlet.fit(logger.handlers, _tell_lost)

    def atoms(self, resp: Any, req: Any, environ: Any, request_time: Any) -> dict[str, Any]:
        """What an access log format may name, without the headers that are secret whatever they look like."""
        atoms: dict[str, Any] = super().atoms(resp, req, environ, request_time)
        for name in _SECRET_HEADERS:
            for atom in (f"{{{name}}}i", f"{{{name}}}o", f"{{http_{name.replace('-', '_')}}}e"):
                if atom in atoms:
                    atoms[atom] = REDACTED
        return atoms

    def exception(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        """A traceback, except for a client that fell silent (`runtime.sockets`) or sent nonsense."""
        error = sys.exc_info()[1]
        if isinstance(error, GIVEN_UP):
            self.debug("A client was given up in the middle of a request or an answer: %s", error)
        else:
            super().exception(msg, *args, **kwargs)
