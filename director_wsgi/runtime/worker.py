"""The worker: gunicorn's gthread, with the answers it gives by itself in the director's words.

These things differ from the class below it:

* What gunicorn refuses before the application sees it (400, 414, 431 …) is answered as JSON with the director's
  `Server`, as every other error; nothing that a client sent is echoed or logged.
* No thread waits for a client to ask, or to go (`runtime.slow_clients`). The polite end of a connection (half-close,
  then wait for the client to close too) is for who may still be sending. What that client still sends is read, however
  much: a PUT is redirected before its body, and a connection closed upon unread bytes is reset, which takes the
  redirect from a client that was busy sending.
* Nobody is told to go on (`100 Continue`) with a body that nobody is going to read.
* Reading a body fails with an `OSError` and nothing else, whether the client fell silent, went away or sent nonsense:
  an application needs to know nothing of gunicorn to tell a bad client from its own defects.
* A request target may hold raw UTF-8.
* Neither a want of descriptors, when a client connects, nor of anything else, when the replacement of a worker starts,
  ends what can go on: gthread's worker dies of the one, and gunicorn stops the whole service for the other.
* The connections of clients are spread evenly over the workers (`balance`).
* The `Server` header, which an application cannot set under gunicorn.
* Head and body of a short answer leave together (`runtime.response`).
* What needs no waiting is answered by the main thread itself (`runtime.at_once`).
"""

import contextlib
import errno
import json
import re
import socket
import ssl
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

from gunicorn import util
from gunicorn.http import errors, message, wsgi
from gunicorn.workers import gthread

from director_wsgi import __version__
from director_wsgi.runtime import response, start
from director_wsgi.runtime.arrival import READ_METHODS, SMALL_BODY_BYTES
from director_wsgi.runtime.at_once import AtOnceWorker
from director_wsgi.runtime.balance import register
from director_wsgi.runtime.slow_clients import content_length
from director_wsgi.runtime.sockets import InvalidBody

SERVER = f"pelican/{__version__}"
"""Pelican's clients recognise a director by the part before the slash."""

TARGET_INVALID = re.compile(r"[\x00-\x20\x7f]")
"""What a request target may not hold. gunicorn refuses raw UTF-8, too, which curl sends as typed and Go takes."""

KEPT_AT_THE_END_S = 0.5
"""How long a worker that ends waits for a request that may be under way to it on a connection that is kept: longer than
one takes around the world. gunicorn's 2 s would be so much more of nobody listening whenever a director restarts."""

SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""How accepting a connection fails if there is nothing to hold it with; it stays in the kernel's queue."""

SHORTAGE_PAUSE_S = 0.1
"""Until the next try; those who hold descriptors give them back meanwhile."""

SHORTAGE_LOGGED_S = 60.0
"""How often the log says so, at most."""

RESTART_PAUSE_S = 1.0
"""Before a worker that could not start makes room for the next, so that these do not follow each other too fast."""

_REFUSALS: tuple[tuple[type[Exception], int, str], ...] = (
    # Ordered: what an application did wrong is a subclass of what a client did.
    (errors.InvalidResponseHeader, 500, "Internal server error"),
    (errors.InvalidResponseHeaderName, 500, "Internal server error"),
    (errors.ConfigurationProblem, 500, "Internal server error"),
    (errors.LimitRequestLine, 414, "The request line is too long"),
    (errors.LimitRequestHeaders, 431, "The request has too many header fields, or one that is too long"),
    (errors.UnsupportedTransferCoding, 501, "The transfer coding of the request is not supported"),
    (errors.ExpectationFailed, 417, "The expectation of the request cannot be met"),
    (errors.ForbiddenProxyRequest, 403, "This peer may not speak for others"),
    (errors.InvalidRequestMethod, 400, "The request method is not valid"),
    (errors.InvalidRequestLine, 400, "The request line is not valid HTTP"),
    (errors.InvalidHTTPVersion, 400, "The HTTP version of the request is not supported"),
    (errors.InvalidHeaderName, 400, "The name of a header field is not valid"),
    (errors.InvalidHeader, 400, "A header field is not valid, or contradicts another"),
    (errors.ObsoleteFolding, 400, "A header field goes on in a second line"),
    (errors.InvalidChunkSize, 400, "The chunked body of the request is not valid"),
    (errors.InvalidChunkExtension, 400, "The chunked body of the request is not valid"),
    (errors.ChunkMissingTerminator, 400, "The chunked body of the request is not valid"),
    (errors.ParseException, 400, "The request is not valid HTTP"),
)
_DEFECT = (500, "Internal server error")


def refusal(error: BaseException) -> tuple[int, str]:
    """The status and the sentence for what went wrong outside the application's own handling of errors."""
    return next(((status, words) for kind, status, words in _REFUSALS if isinstance(error, kind)), _DEFECT)


def error_answer(status: int, words: str, *, with_body: bool = True) -> bytes:
    """A whole HTTP/1.1 response that says `words` as JSON and ends the connection.

    Args:
        status: The status code.
        words: The sentence for `msg`.
        with_body: False in answer to a HEAD.
    """
    body = json.dumps({"status": "error", "msg": words}).encode()
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        f"Server: {SERVER}\r\n"
        f"Date: {util.http_date()}\r\n"
        "Connection: close\r\n"
        "Content-Type: application/json; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("ascii") + (body if with_body else b"")


class _BodyReader:
    """What a request's body is read through. Used by the handler thread of that request."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; raises `OSError` only."""
        try:
            data: bytes = self._inner.read(size)
        except errors.ParseException as error:
            raise InvalidBody(refusal(error)[1]) from None
        return data


def _has_body(req: Any) -> bool:
    return any(
        name == "TRANSFER-ENCODING" or (name == "CONTENT-LENGTH" and value.strip() != "0")
        for name, value in req.headers
    )


def _is_in_the_way(req: Any, conn: Any) -> bool:
    """Whether the request has a body that a thread would have to wait for, or to read at length, before the next."""
    if not conn.has_body:
        return _has_body(req)
    return req.method not in READ_METHODS and content_length(req) > SMALL_BODY_BYTES


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)


class DirectorWorker(AtOnceWorker):
    """See the module. One main thread accepts and waits for idle connections; a pool of threads runs requests."""

    def init_process(self) -> None:
        """Main thread, after the fork."""
        wsgi.SERVER = SERVER
        response.install()
        message.RFC9112_TARGET_INVALID = TARGET_INVALID
        gthread.STOP_KEEPALIVE_LINGER = KEPT_AT_THE_END_S
        self.last_shortage_at = -SHORTAGE_LOGGED_S
        self.share = register.own
        try:
            super().init_process()
        except Exception:
            if self.booted or start.is_first_worker():
                raise
            self.log.exception("The worker could not start; another one will try")
            _pause(RESTART_PAUSE_S)
            sys.exit(1)  # any status but gunicorn's own for this, upon which it would stop the service

    def set_accept_enabled(self, enabled: bool) -> None:
        """Main thread. Waits for new connections, or does not: not while the next one is left to other workers."""
        if not enabled:
            self.share.stop_holding()
        super().set_accept_enabled(enabled and not self.share.is_holding(self.nr_conns))

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Main thread. One turn of its loop."""
        if self.alive:
            self.share.tell(self.nr_conns)
        else:
            self.share.withdraw()
        super().wait_for_and_dispatch_events(min(timeout, self.share.patience_s))
        self.share.end_turn()

    def accept(self, listener: Any) -> None:
        """Main thread. Takes a connection, if there is one, something to hold it with, and no worker that has fewer."""
        if self.share.leaves_next_nowait(self.nr_conns):
            super().set_accept_enabled(False)
            return
        try:
            super().accept(listener)
            self.share.tell(self.nr_conns)
        except OSError as error:
            if error.errno not in SHORTAGES:
                raise
            now = time.monotonic()
            if now - self.last_shortage_at >= SHORTAGE_LOGGED_S:
                self.last_shortage_at = now
                self.log.error("Clients have to wait: cannot take a connection: %s", error.strerror)  # noqa: TRY400, the trace says nothing more
            _pause(SHORTAGE_PAUSE_S)

    def get_thread_pool(self) -> ThreadPoolExecutor:
        """Main thread. The names tell handler threads from the director's own."""
        return ThreadPoolExecutor(max_workers=self.cfg.threads, thread_name_prefix="handler")

    def parts_nowait(self) -> bool:
        """Main thread. As `handle_request` does, but no thread has to be free for it."""
        return self.share.has_too_many and self.share.parts_nowait()

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Handler thread. Calls the application and writes its answer; true if the connection may be kept."""
        req.body.reader = _BodyReader(req.body.reader)
        conn.may_be_sending = _has_body(req)
        if req._expected_100_continue and req.method not in READ_METHODS:  # noqa: SLF001, gunicorn offers nothing else
            # RFC 9110 10.1.1: the final answer may come instead. The body may then follow or not, so nothing else can.
            req._expected_100_continue = False  # noqa: SLF001
            req.force_close()
        if conn.was_told_to_go_on:
            req._expected_100_continue = False  # noqa: SLF001
        if _is_in_the_way(req, conn):
            req.force_close()  # so that the answer says so
        if self.share.has_too_many and not req.should_close() and self.share.parts_nowait():
            req.force_close()
        return super().handle_request(req, conn)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Handler thread. Answers what neither the parser nor the application could deal with."""
        peer = addr[0] if addr else "a local socket"
        if isinstance(exc, ssl.SSLError):
            self._refuse_plain_http(client, peer, exc)
            return
        status, words = refusal(exc)
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            what = (getattr(req, "method", "a request"), getattr(req, "path", ""))
            self.log.error("Error handling %s %s", *what, exc_info=exc)
        else:
            self.log.info("Answered %d to %s: %s", status, peer, words)
        answer = error_answer(status, words, with_body=getattr(req, "method", "") != "HEAD")
        with contextlib.suppress(OSError):
            util.write_nonblock(client, answer)

    def _refuse_plain_http(self, client: Any, peer: str, error: ssl.SSLError) -> None:
        """Tell who speaks HTTP where TLS is spoken; any other failure of a handshake ends without a word."""
        self.log.debug("TLS with %s failed: %s", peer, error.reason)
        if error.reason == "HTTP_REQUEST":
            with contextlib.suppress(OSError):
                # Below TLS, which has not begun.
                socket.socket.send(client, error_answer(400, "An HTTP request was sent to an HTTPS port"))
