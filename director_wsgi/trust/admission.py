"""Admission: the way of an advertisement, from the bytes posted to the directory.

The order of the steps is part of the contract: broken JSON is 400 whatever the token, too old a server learns so before
its token is looked at, a server that is not approved before its signature is.

Source: Pelican `director/director.go:registerServerAd`, `finishRegisterServeAd`.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from posixpath import normpath
from typing import Final, Protocol
from urllib.parse import urlsplit

from director_wsgi.errors import (
    AdForbidden,
    AdRejected,
    IncompatibleVersion,
    NotApproved,
    RegistryUnavailable,
    TooManyAds,
)
from director_wsgi.federation.ads import ParsedAd, parse_ad, remember
from director_wsgi.federation.directory import Directory
from director_wsgi.federation.filters import Filters
from director_wsgi.federation.models import Coordinate, ServerAd, ServerKind
from director_wsgi.federation.versions import refusal, settled_version
from director_wsgi.limits.deadline import Deadline, WallClock
from director_wsgi.trust.ad_counts import UNVERIFIED, AdCounts, Received
from director_wsgi.trust.inquiry import Inquiries, Inquiry
from director_wsgi.trust.prefixes import AllowedPrefixes
from director_wsgi.trust.registry import BadAnswer
from director_wsgi.trust.tokens import AdvertiseToken, ScopeMissing, TokenRefused, bearer

log = logging.getLogger(__name__)

MAX_SKEW_S: Final = 0.1
"""A sender's clock may differ by this much before its times are shifted."""

MAX_LIFETIME_S: Final = 86_400.0
"""Longest life of an advertisement, whatever its sender says: one whose approval is taken back ends, too."""

LONG_BYTES: Final = 256 << 10
"""An advertisement that is longer takes its turn: reading one of 16 MiB costs a quarter of a second and 100 MiB."""

TURNS: Final = 4
"""Long advertisements that may be read or wait for it at once. Anybody can send some: they are read before their sender
is known, and every thread that reads slows redirects down."""

_FAILED: Final = "Authorization token verification failed"
_HOME: Final = {ServerKind.ORIGIN: "/origins/", ServerKind.CACHE: "/caches/"}


def help_sentence(*, contact_email: str, contact_url: str, web_url: str) -> str:
    """Whom to turn to, as it ends the message to a server that is not approved."""
    match contact_email, contact_url:
        case "", "":
            return f"You may find more information on {web_url}"
        case mail, "":
            return f"Contact {mail} for help."
        case "", url:
            return f"Visit {url} for help."
        case mail, url:
            return f"Contact {mail} or visit {url} for help."


Locate = Callable[[ServerAd, Deadline], Coordinate | None]
"""Given a server and a deadline, the place of its host; None if nobody knows. Raises nothing."""


def nowhere(_server: ServerAd, _deadline: Deadline) -> None:
    """A `Locate` that knows no place."""


class Publish(Protocol):
    """Told what was admitted: the object that the directory holds. The sender's answer waits for it."""

    def __call__(self, ad: ServerAd, lifetime_s: float, *, is_heeded: bool) -> None:
        """`is_heeded`: whether the registry vouches for the server's name, so that filters heed what it says."""
        ...


def to_nobody(ad: ServerAd, lifetime_s: float, *, is_heeded: bool) -> None:
    """A `Publish` for a director of one worker."""


class Admission:
    """Decides about advertisements. Any number of threads may be inside; few of them wait for the registry."""

    def __init__(
        self,
        *,
        directory: Directory,
        filters: Filters,
        inquiries: Inquiries,
        prefixes: AllowedPrefixes,
        default_lifetime_s: float,
        help_text: str,
        wall: WallClock,
        locate: Locate = nowhere,
        publish: Publish = to_nobody,
    ) -> None:
        """Put the collaborators together.

        Args:
            directory: Takes what is admitted.
            filters: Heeds what servers say of their downtimes and of shutting down.
            inquiries: What the registry says of prefixes.
            prefixes: What each cache may serve.
            default_lifetime_s: Of an advertisement that does not say when it ends (`Director.AdvertisementTTL`).
            help_text: See `help_sentence`.
            wall: For the times of tokens and advertisements.
            locate: Finds the place of a server that does not tell it.
            publish: Lets other workers know.
        """
        self._publish = publish
        self._locate = locate
        self._directory = directory
        self._filters = filters
        self._inquiries = inquiries
        self._prefixes = prefixes
        self._default_lifetime_s = default_lifetime_s
        self._help = help_text
        self._wall = wall
        self._counted = AdCounts()
        self._turns = threading.BoundedSemaphore(TURNS)
        self._reading = threading.Lock()  # held while a long one is parsed, which waits for nothing

    def adopt(self, *, default_lifetime_s: float, help_text: str) -> None:
        """Let the next advertisements that do not say when they end live so long, and tell who is refused this."""
        self._default_lifetime_s = default_lifetime_s
        self._help = help_text

    @property
    def counts(self) -> Mapping[str, int]:
        """Advertisements by what became of them: `admitted`, `expired`, or the name of the error."""
        return self._counted.outcomes

    def received(self) -> Mapping[Received, int]:
        """Namespaces in advertisements that could be read, by sender and answer; see `AdCounts`."""
        return self._counted.received

    def rejected(self) -> Mapping[str, int]:
        """Advertisements whose senders may not advertise them, by their names; see `AdCounts`."""
        return self._counted.rejected

    def answered(self, ad: ServerAd, status: int) -> None:
        """Take down with which HTTP status the sender was answered, for `received`."""
        self._counted.answered(ad, status)

    def admit(
        self, kind: ServerKind, body: bytes, *, authorization: str | None, user_agent: str, deadline: Deadline
    ) -> ServerAd:
        """Take an advertisement into the directory.

        One that has expired already is not stored, and not refused either, as upstream.

        Args:
            kind: By which route it came.
            body: As received; its size has been limited.
            authorization: The header; None if absent.
            user_agent: The header; empty if absent.
            deadline: For everything, questions to the registry included.

        Returns:
            What the server says of itself.

        Raises:
            AdRejected: One of its kinds; nothing was stored. It carries what could be read.
        """
        outcome = "failed"
        try:
            with self._turn(body, deadline):
                parsed = self._read(kind, body, authorization or "", user_agent)
            try:
                ad, outcome = self._admit(parsed, authorization or "", user_agent, deadline)
            except AdRejected as error:
                error.ad = parsed.ad
                raise
        except AdRejected as error:
            outcome = type(error).__name__
            raise
        finally:
            self._counted.ended(outcome)
        return ad

    @contextmanager
    def _turn(self, body: bytes, deadline: Deadline) -> Iterator[None]:
        """Let one long advertisement be read at a time.

        Raises:
            TooManyAds: Enough wait for that already, or it is not this one's turn by the deadline.
        """
        if len(body) <= LONG_BYTES:
            yield
            return
        busy = TooManyAds("Other long advertisements are being read; please retry shortly.")
        if not self._turns.acquire(blocking=False):
            raise busy
        try:
            if not self._reading.acquire(timeout=deadline.remaining_s()):
                raise busy
            try:
                yield
            finally:
                self._reading.release()
        finally:
            self._turns.release()

    def _read(self, kind: ServerKind, body: bytes, authorization: str, user_agent: str) -> ParsedAd:
        """What the sender says, as far as it may say it; who it is remains to be seen."""
        if not authorization:
            raise AdForbidden("Bearer token not present in the 'Authorization' header")
        why = refusal(user_agent)
        if why is not None:
            raise IncompatibleVersion(f"Incompatible versions detected: {why}")
        if kind is ServerKind.CACHE:
            self._check_prefix_table()
        parsed = parse_ad(body, kind)
        return replace(parsed, ad=self._restricted(parsed.ad)) if kind is ServerKind.CACHE else parsed

    def _admit(self, parsed: ParsedAd, authorization: str, user_agent: str, deadline: Deadline) -> tuple[ServerAd, str]:
        ad = parsed.ad
        lifetime_s = self._lifetime_s(parsed)
        try:
            _check_registry_prefix(ad)
        except AdForbidden:
            self._counted.rejected_sender(UNVERIFIED)
            raise
        with self._inquiries.open(deadline) as inquiry:
            try:
                self._check_sender(ad, authorization, inquiry)
            except AdForbidden:
                self._counted.rejected_sender(ad.name)
                raise
            if lifetime_s <= 0:
                return ad, "expired"
            ad, is_heeded = self._heeded(ad, inquiry)
        ad = replace(
            ad,
            version=settled_version(ad.version, user_agent),
            coordinate=ad.coordinate or self._locate(ad, deadline),
        )
        held = self._directory.record(ad, lifetime_s, self._filters.filtered())
        remember(parsed, held)
        self._publish(held, lifetime_s, is_heeded=is_heeded)
        return held, "admitted"

    def _check_prefix_table(self) -> None:
        if not self._prefixes.loaded:
            raise RegistryUnavailable(
                "The Director has not yet fetched this cache's allowed prefixes from the Registry; "
                "please retry shortly."
            )

    def _restricted(self, ad: ServerAd) -> ServerAd:
        """What the cache may serve, by its host name and by the name it is registered under.

        The latter is what the registry knows it by, and no second host name helps against it.
        """
        namespaces = ad.namespaces
        for name in (urlsplit(ad.base_url).hostname or "", ad.registry_prefix.removeprefix(_HOME[ServerKind.CACHE])):
            namespaces = self._prefixes.permitted(name, namespaces)
        return ad if namespaces is ad.namespaces else replace(ad, namespaces=namespaces)

    def _check_sender(self, ad: ServerAd, authorization: str, inquiry: Inquiry) -> None:
        """Whether the sender holds the key registered for its own prefix, and an origin that of each namespace."""
        try:
            token = AdvertiseToken(bearer(authorization))
        except TokenRefused as error:
            raise AdForbidden(f"{_FAILED} {error}") from None
        who = f'{ad.kind.value} "{ad.name}"'
        self._check_prefix(ad.registry_prefix, token, inquiry, who=who, separator="")
        if ad.kind is ServerKind.ORIGIN:
            for namespace in ad.namespaces:
                who = f'The namespace "{namespace.path}"'
                self._check_prefix(namespace.path, token, inquiry, who=who, separator=":")

    def _heeded(self, ad: ServerAd, inquiry: Inquiry) -> tuple[ServerAd, bool]:
        """Let the filters heed what a server says, unless it may be speaking in another's name; then it says less.

        The name is asked for even if there is nothing to be heeded, so that it is known when a server shuts down.

        Returns:
            What it says, and whether that is heeded.
        """
        name = inquiry.registered_name(ad.registry_prefix)
        if name == ad.name:
            self._filters.server_said(ad)
            return ad, True
        if name is not None:
            log.info("%s calls itself %s: its downtimes and its status filter nobody", name, ad.name)
        return (replace(ad, downtimes=()) if ad.downtimes else ad), False

    def _check_prefix(self, prefix: str, token: AdvertiseToken, inquiry: Inquiry, *, who: str, separator: str) -> None:
        """Whether the prefix is approved and the token signed with its key; the wording is upstream's."""
        try:
            if not inquiry.is_approved(prefix):
                raise NotApproved(f"{who} was not approved by an administrator. {self._help}")
            token.verify(inquiry.key_set(prefix, token.kid), self._wall())
        except ScopeMissing as error:
            raise AdForbidden(f"{_FAILED}. {error}") from None
        except (TokenRefused, BadAnswer) as error:
            raise AdForbidden(f"{_FAILED}{separator} {error}") from None

    def _lifetime_s(self, parsed: ParsedAd) -> float:
        """How long the advertisement lives from now on."""
        return min(self._said_lifetime_s(parsed), MAX_LIFETIME_S)

    def _said_lifetime_s(self, parsed: ParsedAd) -> float:
        """The same as the sender has it, whatever its clock shows."""
        if parsed.expiry_at is None:
            return self._default_lifetime_s
        now = self._wall()
        sent_at = parsed.sent_at
        if sent_at is not None and abs(sent_at - now) > MAX_SKEW_S and parsed.expiry_at > sent_at:
            return parsed.expiry_at - sent_at
        return parsed.expiry_at - now


def _check_registry_prefix(ad: ServerAd) -> None:
    kind, prefix = ad.kind.value, ad.registry_prefix
    if not prefix:
        raise AdForbidden(
            f"{kind} advertisement rejected: no registry prefix present in the ad. "
            "Ensure the server runs a supported Pelican version and is registered at the federation registry"
        )
    home = _HOME[ad.kind]
    if not prefix.startswith(home) or prefix == home or normpath(prefix) != prefix:
        raise AdForbidden(
            f'{kind} advertisement rejected: registry prefix "{prefix}" is not a valid {kind} registration prefix'
        )
