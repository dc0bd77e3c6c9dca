"""The document at `Director.ConfigUrl`: a part of the configuration that is fetched, and then polled.

It is asked for with what is known of the last one (`If-None-Match`, `If-Modified-Since`), so that an unchanged one
costs an answer without a body. What cannot be had changes nothing: the document before stays, and across a restart its
copy on disk. Only a whole document is one: an answer whose length nobody states could have been cut off.

Whom to believe, which addresses to leave alone and where the copy lies is what files and the environment say of it,
never the document: one mistake in it could otherwise cut the director off from where the mistake will be mended.
"""

import json
import logging
import random
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from director_wsgi.errors import ConfigError
from director_wsgi.limits.deadline import Clock, Deadline, WallClock, monotonic, wall
from director_wsgi.outbound.client import Answer, Failure, HttpClient, NameResolver, OutboundError
from director_wsgi.runtime import kinds, private_file, watch
from director_wsgi.runtime.config import Config
from director_wsgi.runtime.outgoing import client_maker
from director_wsgi.runtime.yaml_file import MAX_BYTES

COPY_NAME: Final = "config-url.json"
"""The copy, in the directory of the state."""

FETCH_S: Final = 5.0
"""How long one question may take."""

OF_THE_FETCH: Final = frozenset(
    {
        "config_base",
        "config_poll_interval_s",
        "config_token_file",
        "config_url",
        "config_url_allow_http",
        "dial_timeout_s",
        "ssrf_allowed",
        "ssrf_blocked",
        "ssrf_disabled",
        "ssrf_skip_default_blocks",
        "state_location",
        "tls_ca_certificate_file",
        "tls_skip_verify",
    }
)
"""The attributes of `Config` that say how to fetch it."""

_JITTER: Final = 0.2
_MAX_TOKEN_BYTES = 16 * 1024
_MAX_COPY_BYTES = 4 * MAX_BYTES  # escaped, it is up to three times as long
_MAX_VALIDATOR = 1024
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 2.1
_ETAG = re.compile(r'(?:W/)?"[!#-~\x80-\xff]*"')  # RFC 9110 8.8.3
_DATE = re.compile(r"[A-Za-z0-9:, -]+")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What was fetched.

    Attributes:
        url: Where.
        body: UTF-8 or not, YAML or not; at most 1 MiB.
        etag: By which the server knows it again; empty if it says none.
        last_modified: The same, as a date.
        at: When it was fetched or last confirmed, Unix seconds.
    """

    url: str
    body: bytes = field(repr=False)
    etag: str = ""
    last_modified: str = ""
    at: float

    def is_as(self, other: "Document | None") -> bool:
        """Whether the other says the same, from the same place."""
        return other is not None and (self.url, self.body) == (other.url, other.body)


class RemoteFailed(Exception):
    """There is no document; the text says what came instead.

    Attributes:
        is_final: Asking again at once would not help.
    """

    def __init__(self, message: str, *, is_final: bool = False) -> None:
        self.is_final = is_final
        super().__init__(message)


class _Interrupted(Exception):
    """Somebody called `rest` meanwhile, which says nothing about the document."""


Send = Callable[[Config, Mapping[str, str], Deadline], Answer]
"""GET the `config_url` of a configuration, with these headers; raises OutboundError."""


class Remote:
    """What is known of the document, and when to ask again. For one thread at a time, but for `rest`.

    Args:
        clock: Monotonic seconds, for when to ask.
        wall: Unix seconds, for when it was fetched.
        jitter: A number from 0 to 1, anew each time.
        send: Asks; over the network if left out.

    Attributes:
        failure: Why nothing came when it was asked for last; None if something did, or nobody has asked.
    """

    def __init__(
        self,
        *,
        clock: Clock = monotonic,
        wall: WallClock = wall,
        jitter: Callable[[], float] = random.random,
        send: Send | None = None,
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._jitter = jitter
        self._wire = _Wire()
        self._send = send or self._wire.send
        self._document: Document | None = None
        self._due_at = clock()
        self._asked = ""
        self.failure: RemoteFailed | None = None

    def is_due(self, config: Config) -> bool:
        """Whether it is time to ask again, or to ask somebody else."""
        return self._clock() >= self._due_at or config.config_url != self._asked

    def known(self, config: Config) -> Document | None:
        """The document, if it has been had by this object."""
        known = self._document
        return known if known is not None and known.url == config.config_url else None

    def document(self, config: Config) -> Document | None:
        """The document, as it was when it was last had; from the copy on disk, if it was never had or that is newer."""
        copy = read_copy(config)
        known = (self.known(config), copy if copy is not None and copy.url == config.config_url else None)
        return max((one for one in known if one is not None), key=lambda one: one.at, default=None)

    def ask(self, config: Config, deadline: Deadline) -> Document | None:
        """Ask once, within `FETCH_S`; `failure` says whether that went well.

        Args:
            config: With the rows `OF_THE_FETCH` as they are set.
            deadline: By which to come back in any case.

        Returns:
            The document as it is now, or as it was before; None if nobody knows.
        """
        self._asked = config.config_url
        spread = 1 - _JITTER + 2 * _JITTER * self._jitter()
        self._due_at = self._clock() + config.config_poll_interval_s * spread
        before = self.known(config) or self.document(config)
        try:
            self._document = self._fetch(config, before, deadline)
        except _Interrupted:
            pass
        except RemoteFailed as error:
            self._note(config, error)
            self._document = self.document(config)  # by now another worker may have had a newer one
        else:
            self._note(config, None)
        return self.known(config)

    def rest(self) -> None:
        """Give up the connection and the threads that belong to it; the next question makes new ones. Any thread."""
        self._wire.rest()

    def _fetch(self, config: Config, before: Document | None, deadline: Deadline) -> Document:
        headers = {"Accept": "application/yaml, */*;q=0.1", **_validators(before), **_credentials(config)}
        try:
            answer = self._send(config, headers, deadline.at_most(FETCH_S))
        except OutboundError as error:
            if error.failure is Failure.CLOSED:
                raise _Interrupted from None
            is_final = error.failure in {Failure.MALFORMED, Failure.FORBIDDEN_ADDRESS}
            raise RemoteFailed(str(error), is_final=is_final) from None
        except ConfigError as error:  # the file of certificate authorities
            raise RemoteFailed(str(error)) from None
        if answer.status == 304 and before is not None and _validators(before):
            return _document(config.config_url, before.body, answer, self._wall(), before)
        _check(answer)
        return _document(config.config_url, answer.body, answer, self._wall(), None)

    def _note(self, config: Config, failure: RemoteFailed | None) -> None:
        """Log what has changed, and only that: it is asked every few seconds."""
        before, self.failure = self.failure, failure
        if failure is not None and str(failure) != str(before):
            _logger.warning("%s: %s", said(config), failure)
        elif failure is None and before is not None:
            _logger.info("%s answers again", said(config))


def said(config: Config) -> str:
    """How messages call it."""
    return f"Director.ConfigUrl = {kinds.shorten(config.config_url)} ({config.sources.get('config_url', '')})"


# -- asking


class _Wire:
    """The way to the document: one client, for as long as the rows that make it are the same."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards what follows
        self._terms: object = None
        self._open: tuple[HttpClient, NameResolver] | None = None

    def send(self, config: Config, headers: Mapping[str, str], deadline: Deadline) -> Answer:
        return self._client(config).send(
            "GET", config.config_url, deadline=deadline, headers=headers, max_bytes=MAX_BYTES
        )

    def rest(self) -> None:
        with self._lock:
            opened, self._open = self._open, None
        if opened is not None:
            client, names = opened
            client.close()
            names.close()

    def _client(self, config: Config) -> HttpClient:
        authorities = config.tls_ca_certificate_file
        terms = (
            authorities,
            None if authorities is None else watch.mark(authorities),
            config.tls_skip_verify,
            config.ssrf_disabled,
            config.ssrf_skip_default_blocks,
            config.ssrf_allowed,
            config.ssrf_blocked,
            config.dial_timeout_s,
        )
        if terms != self._terms:
            self.rest()
        with self._lock:
            if self._open is None:
                names = NameResolver(threads=1)
                self._open = client_maker(config, names, monotonic)(1), names
                self._terms = terms
            return self._open[0]


def _validators(document: Document | None) -> dict[str, str]:
    if document is None:
        return {}
    known = {"If-None-Match": document.etag, "If-Modified-Since": document.last_modified}
    return {name: value for name, value in known.items() if value}


def _credentials(config: Config) -> dict[str, str]:
    path = config.config_token_file
    if path is None:
        return {}
    shown = f"Director.ConfigTokenFile = {kinds.shorten(str(path))}"
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_TOKEN_BYTES + 1).decode("ascii").strip()
    except OSError as error:
        raise RemoteFailed(f"{shown}: cannot be read: {error.strerror}") from None
    except ValueError:
        text = ""
    if len(text) > _MAX_TOKEN_BYTES or not _TOKEN.fullmatch(text):
        raise RemoteFailed(f"{shown}: expected one bearer token")
    return {"Authorization": f"Bearer {text}"}


def _check(answer: Answer) -> None:
    """Refuse what is no document, or may not be all of it.

    Raises:
        RemoteFailed: It says why.
    """
    kind = answer.headers.get("Content-Type", "").strip()
    if answer.status != 200:
        is_final = 400 <= answer.status < 500 and answer.status not in {408, 425, 429}
        raise RemoteFailed(f"it answered {answer.status}", is_final=is_final)
    if "html" in kind.lower():
        raise RemoteFailed("it answered with a page (HTML) instead of a document")
    if answer.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise RemoteFailed("its answer is compressed, which nobody asked for")
    if "Content-Length" not in answer.headers and "Transfer-Encoding" not in answer.headers:
        raise RemoteFailed("its answer does not say how long it is, and may have been cut off")
    if not answer.body.strip():
        raise RemoteFailed("its answer is empty; expected at least `{}`")


def _document(url: str, body: bytes, answer: Answer, at: float, before: Document | None) -> Document:
    """What an answer makes; what it does not say again is as it was `before`."""
    etag = answer.headers.get("ETag", "" if before is None else before.etag).strip()
    date = answer.headers.get("Last-Modified", "" if before is None else before.last_modified).strip()
    return Document(
        url=url,
        body=body,
        etag=etag if _ETAG.fullmatch(etag) and len(etag) <= _MAX_VALIDATOR else "",
        last_modified=date if _DATE.fullmatch(date) and len(date) <= _MAX_VALIDATOR else "",
        at=at,
    )


# -- the copy on disk


def write_copy(config: Config, document: Document) -> None:
    """Keep a document that was good, for a start while nobody answers; in the state directory, for its owner alone.

    Raises:
        OSError: It cannot be kept. The one before stays.
    """
    if config.state_location is None or document.is_as(read_copy(config)):
        return
    kept = {**asdict(document), "body": document.body.decode("utf-8", "surrogateescape")}
    private_file.write(config.state_location, COPY_NAME, json.dumps(kept))


def read_copy(config: Config) -> Document | None:
    """The document that was kept; None if there is none, it is another's, or others could have written it."""
    directory: Path | None = config.state_location
    text = None if directory is None else private_file.read(directory / COPY_NAME, _MAX_COPY_BYTES)
    if text is None:
        return None
    try:
        kept: dict[str, Any] = json.loads(text)
        body = kept["body"].encode("utf-8", "surrogateescape")
        document = Document(**{**kept, "body": body, "at": float(kept["at"])})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    texts = (document.url, document.etag, document.last_modified)
    return document if all(isinstance(text, str) for text in texts) else None
