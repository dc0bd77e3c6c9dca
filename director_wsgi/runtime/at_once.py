"""gthread that answers from its main thread what needs no waiting.

gthread hands every request to a thread: a future, a queue, two wake-ups, and the way back. That costs as much as a
redirect does. Here, a request that comes on a connection that was kept, and that can be answered without waiting, is
read, answered and sent by the main thread itself; all else goes to the threads as it came. So such answers do not
depend on whether a thread is free.

The main thread must never wait. It takes only what has arrived in one piece, in the clear, without a body; it asks
only an application that has an answer without waiting (`AT_ONCE`), and only for a client whose last request was
answered so, since asking in vain is not for nothing; it sends what the kernel takes, and the rest as the client reads;
and when it has answered for a while, it looks after new connections and the threads' before it goes on.
"""

import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from gunicorn.http import wsgi
from gunicorn.workers import gthread

from director_wsgi.runtime.slow_clients import SlowClientsWorker

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

    AnswerAtOnce = Callable[[WSGIEnvironment], WSGIApplication | None]

AT_ONCE: Final = "director_wsgi.at_once"
"""In an application's `extensions`: what says an answer if that can be had without waiting."""

MOST_BYTES: Final = 8192
"""A longer request is for a thread."""

TURN_S: Final = 0.005
"""How long it answers before it looks at whatever else has happened: each time, it takes one new connection."""

UNREAD_S: Final = 60.0
"""How long an answer may go without being read. The kernel holds megabytes, and asks for more when a third is read."""

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


class AtOnceWorker(SlowClientsWorker):
    """See the module."""

    wsgi: Any
    _turn_ends_at: float | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unread: deque[Any] = deque()  # connections whose clients have to read first; the longest idle is first

    def load_wsgi(self) -> None:
        """Main thread, after the fork."""
        super().load_wsgi()
        # TLS may have to write in order to read. An operator's hooks may wait, and want to see every request. The
        # PROXY protocol tells the client's address once, to the parser of the first request. Names with blanks behind
        # them would hide that there is a body.
        is_ours = not self.cfg.is_ssl and all(
            self.cfg.settings[name].get() == self.cfg.settings[name].default
            for name in ("pre_request", "post_request", "proxy_protocol", "strip_header_spaces")
        )
        extensions = getattr(self.wsgi, "extensions", {})
        self._answer_at_once: AnswerAtOnce | None = extensions.get(AT_ONCE) if is_ours else None

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Handler thread."""
        _this.answered_at_once = False
        kept = super().handle_request(req, conn)
        conn.was_at_once = _this.answered_at_once
        return kept

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Main thread. One turn of its loop."""
        self._turn_ends_at = None
        super().wait_for_and_dispatch_events(timeout)

    def on_client_socket_readable(self, conn: Any, client: Any) -> None:
        """Main thread. A request has come on a connection that was kept, or its end."""
        if not (getattr(conn, "was_at_once", False) and self.may_answer_at_once()):
            super().on_client_socket_readable(conn, client)
            return
        now = time.monotonic()
        if self._turn_ends_at is None:
            self._turn_ends_at = now + TURN_S
        if now < self._turn_ends_at and not self._is_dealt_with(conn):
            super().on_client_socket_readable(conn, client)
        # What has been left is first in the next turn.

    def may_answer_at_once(self) -> bool:
        """Main thread. Whether nothing is to be said besides the answer: the worker goes on, and so do connections."""
        return bool(
            self._answer_at_once
            and self.alive
            and self.cfg.keepalive
            and self.nr + 1 < self.max_requests
            and len(self.keepalived_conns) <= self.max_keepalived  # this one included
        )

    def parts_nowait(self) -> bool:
        """Main thread. Whether to end the connection with the answer that is about to be given on it."""
        return False

    def _is_dealt_with(self, conn: Any) -> bool:
        """Main thread. Answer if that needs no waiting; if not, the request is where a thread looks for it."""
        try:
            data = conn.sock.recv(MOST_BYTES)
        except BlockingIOError:  # nothing there, after all
            return True
        except OSError:
            data = b""
        if not data:
            self.keepalived_conns.remove(conn)
            self._end(conn)
            return True
        answer = self._answer(conn, data) if _is_plain(data) else None
        if answer is None:
            conn.was_at_once = False
            conn.parser = self.new_parser(conn)
            conn.parser.unreader.unread(data)
            return False
        self.nr += 1
        self.keepalived_conns.remove(conn)
        if not self._has_sent(conn, answer):
            self._put_off(conn)
            self.poller.modify(conn.sock, selectors.EVENT_WRITE, partial(self._on_writable, conn))
        elif conn.parser.mesg.should_close():
            self._end(conn)
        else:
            self.keepalived_conns.append(conn)
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
            if self.parts_nowait():
                req.force_close()
            outbox = response.sock = _Outbox()
            body = say(environ, response.start_response)
            try:
                for part in body:
                    response.write(part)
            finally:
                if close := getattr(body, "close", None):
                    close()
            response.close()
            if response.should_close():
                req.force_close()
            self.log.access(response, req, environ, timedelta(seconds=time.monotonic() - began_at))
        except Exception:  # noqa: BLE001, a thread meets the same, and says what is to be said
            return None
        return b"".join(outbox.pieces)

    def _has_sent(self, conn: Any, answer: bytes) -> bool:
        """Main thread. Send; whether that was all. What is left is kept for as long as the client goes on reading."""
        try:
            sent = conn.sock.send(answer)
        except BlockingIOError:
            sent = 0
        except OSError:  # nobody there any more, as the next look at the connection tells
            sent = len(answer)
        conn.set_timeout()
        conn.unsent = answer[sent:]
        return not conn.unsent

    def _on_writable(self, conn: Any, _client: Any) -> None:
        """Main thread. The client has read something of an answer that was too much at once."""
        self._unread.remove(conn)
        if not self._has_sent(conn, conn.unsent):
            self._put_off(conn)
        elif conn.parser.mesg.should_close():
            self._end(conn)
        else:
            if not self.alive:
                conn.timeout = min(conn.timeout, time.monotonic() + gthread.STOP_KEEPALIVE_LINGER)
            self.keepalived_conns.append(conn)
            self.poller.modify(conn.sock, selectors.EVENT_READ, partial(self.on_client_socket_readable, conn))

    def _put_off(self, conn: Any) -> None:
        conn.timeout = time.monotonic() + UNREAD_S
        self._unread.append(conn)

    def murder_pending(self) -> None:
        """Main thread. End connections on which nothing happens, those of clients that do not read among them."""
        super().murder_pending()
        now = time.monotonic()
        while self._unread and self._unread[0].timeout <= now:
            self._end(self._unread.popleft())

    def _end(self, conn: Any) -> None:
        """Main thread. Be done with a connection that is in no queue any more."""
        self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()


def _is_plain(data: bytes) -> bool:
    """Whether this is one request, whole, and nothing else."""
    if data[:4] not in _METHODS or data.find(_END) != len(data) - len(_END):
        return False
    head = data.lower()
    return not any(sign in head for sign in _NOT_PLAIN)
