"""gthread that answers from its main thread what needs no waiting.

gthread hands every request to a thread: a future, a queue, two wake-ups, and the way back. That costs as much as a
redirect does. Here, a request that comes on a connection that was kept, and that can be answered without waiting, is
read, answered and sent by the main thread itself; all else goes to the threads as it came. So such answers do not
depend on whether a thread is free.

The main thread must never wait. It takes only what has arrived in one piece, in the clear, without a body; it asks
only an application that has an answer without waiting (`AT_ONCE`), and only for a client whose last request was
answered so, since asking in vain is not for nothing; and it sends only what the kernel takes at once, and leaves the
rest to a thread.
"""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from gunicorn import http
from gunicorn.http import wsgi
from gunicorn.workers.gthread import ThreadWorker

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

    AnswerAtOnce = Callable[[WSGIEnvironment], WSGIApplication | None]

AT_ONCE: Final = "director_wsgi.at_once"
"""In an application's `extensions`: what says an answer if that can be had without waiting."""

MOST_BYTES: Final = 8192
"""A longer request is for a thread."""

_METHODS: Final = (b"GET ", b"HEAD")
_END: Final = b"\r\n\r\n"
_NOT_PLAIN: Final = (b"\r\ncontent-length:", b"\r\ntransfer-encoding:", b"\r\nexpect:", b"\r\nupgrade:")
"""Signs of a body, or of more than a request and its answer."""


_this = threading.local()  # this thread's request, as far as it is told


def note() -> None:
    """Say, on the thread of a request, that its answer needed no waiting: the client's next one may be answered so."""
    _this.answered_at_once = True


class _Outbox:
    """Takes what would be sent."""

    __slots__ = ("pieces",)

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        """Not yet."""
        self.pieces.append(data)


class AtOnceWorker(ThreadWorker):  # type: ignore[misc]
    """See the module."""

    wsgi: Any

    def load_wsgi(self) -> None:
        """Main thread, after the fork."""
        super().load_wsgi()
        # TLS may have to write in order to read. An operator's hooks may wait, and want to see every request.
        is_ours = not self.cfg.is_ssl and all(
            self.cfg.settings[hook].get() is self.cfg.settings[hook].default for hook in ("pre_request", "post_request")
        )
        extensions = getattr(self.wsgi, "extensions", {})
        self._answer_at_once: AnswerAtOnce | None = extensions.get(AT_ONCE) if is_ours else None

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Handler thread."""
        _this.answered_at_once = False
        kept = super().handle_request(req, conn)
        conn.was_at_once = _this.answered_at_once
        return kept

    def on_client_socket_readable(self, conn: Any, client: Any) -> None:
        """Main thread. A request has come on a connection that was kept, or its end."""
        if not (getattr(conn, "was_at_once", False) and self.may_answer_at_once() and self._is_answered(conn)):
            super().on_client_socket_readable(conn, client)

    def may_answer_at_once(self) -> bool:
        """Main thread. Whether nothing is to be said besides the answer: the worker goes on, and so do connections."""
        return bool(
            self.alive
            and self.cfg.keepalive
            and self.nr + 1 < self.max_requests
            and len(self.keepalived_conns) < self.max_keepalived
        )

    def _is_answered(self, conn: Any) -> bool:
        """Main thread. Answer if that needs no waiting; if not, the request is where a thread looks for it."""
        try:
            data = conn.sock.recv(MOST_BYTES)
        except OSError:  # or nothing there, after all
            return False
        answer = self._answer(conn, data) if _is_plain(data) else None
        if answer is None:
            conn.was_at_once = False
            if data:
                conn.parser = http.get_parser(self.cfg, conn.sock, conn.client)
                conn.parser.unreader.unread(data)
            return False
        self.nr += 1
        self._send(conn, answer)
        return True

    def _answer(self, conn: Any, data: bytes) -> bytes | None:
        """What to send; None if that is for a thread to find out."""
        try:
            conn.parser.unreader.unread(data)
            began_at = time.monotonic()
            req = next(conn.parser)
            if req.should_close():
                return None
            response, environ = wsgi.create(req, conn.sock, conn.client, conn.server, self.cfg)
            say = self._answer_at_once(environ) if self._answer_at_once else None
            if say is None:
                return None
            outbox = response.sock = _Outbox()
            for part in say(environ, response.start_response):
                response.write(part)
            response.close()
            self.log.access(response, req, environ, timedelta(seconds=time.monotonic() - began_at))
        except Exception:  # noqa: BLE001, a thread meets the same, and says what is to be said
            return None
        return b"".join(outbox.pieces)

    def _send(self, conn: Any, answer: bytes) -> None:
        """Main thread. Send; the connection is kept for the next request."""
        try:
            sent = conn.sock.send(answer)
        except BlockingIOError:
            sent = 0
        except OSError:  # nobody there any more, as the next look at the connection tells
            sent = len(answer)
        self.keepalived_conns.remove(conn)
        if sent == len(answer):
            conn.set_timeout()
            self.keepalived_conns.append(conn)
            return
        self.poller.unregister(conn.sock)
        job = self.tpool.submit(_send_rest, conn, answer[sent:])
        job.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))


def _is_plain(data: bytes) -> bool:
    """Whether this is one request, whole, and nothing else."""
    if data[:4] not in _METHODS or data.find(_END) != len(data) - len(_END):
        return False
    head = data.lower()
    return not any(sign in head for sign in _NOT_PLAIN)


def _send_rest(conn: Any, data: bytes) -> bool:
    """Handler thread. Send to a client that reads slowly; whether the connection may be kept."""
    conn.sock.setblocking(True)
    conn.sock.sendall(data)
    return True
