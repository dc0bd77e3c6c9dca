"""Admission: the way of an advertisement, from the bytes posted to the directory.

The order of the steps is part of the contract: broken JSON is 400 whatever the token, too old a server learns so before
its token is looked at, a server that is not approved before its signature is.

Source: Pelican `director/director.go:registerServerAd`, `finishRegisterServeAd`.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from posixpath import normpath
from typing import Final
from urllib.parse import urlsplit

from director_wsgi.errors import (
    AdForbidden,
    AdRejected,
    IncompatibleVersion,
    NotApproved,
    RegistryUnavailable,
    StalePrefixTable,
)
from director_wsgi.federation.ads import ParsedAd, parse_ad
from director_wsgi.federation.directory import Directory
from director_wsgi.federation.models import Coordinate, ServerAd, ServerKind
from director_wsgi.federation.versions import refusal, settled_version
from director_wsgi.limits.deadline import Deadline, WallClock
from director_wsgi.trust.inquiry import Inquiries, Inquiry
from director_wsgi.trust.prefixes import AllowedPrefixes
from director_wsgi.trust.registry import BadAnswer
from director_wsgi.trust.tokens import AdvertiseToken, ScopeMissing, TokenRefused, bearer

log = logging.getLogger(__name__)

MAX_SKEW_S: Final = 0.1
"""A sender's clock may differ by this much before its times are shifted."""

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


Locate = Callable[[str, Deadline], Coordinate | None]
"""Given a host and a deadline, the place of that host; None if nobody knows. Raises nothing."""


def nowhere(_host: str, _deadline: Deadline) -> None:
    """A `Locate` that knows no place."""


class Admission:
    """Decides about advertisements. Any number of threads may be inside; few of them wait for the registry."""

    def __init__(
        self,
        *,
        directory: Directory,
        inquiries: Inquiries,
        prefixes: AllowedPrefixes,
        default_lifetime_s: float,
        help_text: str,
        wall: WallClock,
        locate: Locate = nowhere,
    ) -> None:
        """Put the collaborators together.

        Args:
            directory: Takes what is admitted.
            inquiries: What the registry says of prefixes.
            prefixes: What each cache may serve.
            default_lifetime_s: Of an advertisement that does not say when it ends (`Director.AdvertisementTTL`).
            help_text: See `help_sentence`.
            wall: For the times of tokens and advertisements.
            locate: Finds the place of a server that does not tell it.
        """
        self._locate = locate
        self._directory = directory
        self._inquiries = inquiries
        self._prefixes = prefixes
        self._default_lifetime_s = default_lifetime_s
        self._help = help_text
        self._wall = wall
        self._counts: Counter[str] = Counter()
        self._counts_lock = threading.Lock()

    @property
    def counts(self) -> Mapping[str, int]:
        """Advertisements by what became of them: `admitted`, `expired`, or the name of the error."""
        with self._counts_lock:
            return dict(self._counts)

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
            AdRejected: One of its kinds; nothing was stored.
        """
        outcome = "failed"
        try:
            ad, outcome = self._admit(kind, body, authorization or "", user_agent, deadline)
        except AdRejected as error:
            outcome = type(error).__name__
            raise
        finally:
            self._count(outcome)
        return ad

    def _count(self, outcome: str) -> None:
        with self._counts_lock:
            self._counts[outcome] += 1

    def _admit(
        self, kind: ServerKind, body: bytes, authorization: str, user_agent: str, deadline: Deadline
    ) -> tuple[ServerAd, str]:
        if not authorization:
            raise AdForbidden("Bearer token not present in the 'Authorization' header")
        why = refusal(user_agent)
        if why is not None:
            raise IncompatibleVersion(f"Incompatible versions detected: {why}")
        if kind is ServerKind.CACHE:
            self._check_prefix_table()
        parsed = parse_ad(body, kind)
        ad = self._restricted(parsed.ad) if kind is ServerKind.CACHE else parsed.ad
        _check_registry_prefix(ad)
        self._check_sender(ad, authorization, deadline)
        lifetime_s = self._lifetime_s(parsed)
        if lifetime_s <= 0:
            return ad, "expired"
        ad = replace(
            ad,
            version=settled_version(ad.version, user_agent),
            coordinate=ad.coordinate or self._locate(urlsplit(ad.base_url).hostname or "", deadline),
        )
        self._directory.record(ad, lifetime_s)
        return ad, "admitted"

    def _check_prefix_table(self) -> None:
        if not self._prefixes.loaded:
            raise RegistryUnavailable(
                "The Director has not yet fetched this cache's allowed prefixes from the Registry; "
                "please retry shortly."
            )
        if self._prefixes.is_stale:
            raise StalePrefixTable(
                "Something is wrong with the director or registry. The Director is unable to fetch required "
                "information about this cache's allowed prefixes from the Registry."
            )

    def _restricted(self, ad: ServerAd) -> ServerAd:
        host = urlsplit(ad.base_url).hostname or ""
        namespaces = self._prefixes.permitted(host, ad.namespaces)
        return ad if namespaces is ad.namespaces else replace(ad, namespaces=namespaces)

    def _check_sender(self, ad: ServerAd, authorization: str, deadline: Deadline) -> None:
        """Whether the sender holds the key registered for its own prefix, and an origin that of each namespace."""
        try:
            token = AdvertiseToken(bearer(authorization))
        except TokenRefused as error:
            raise AdForbidden(f"{_FAILED} {error}") from None
        with self._inquiries.open(deadline) as inquiry:
            who = f'{ad.kind.value} "{ad.name}"'
            self._check_prefix(ad.registry_prefix, token, inquiry, who=who, separator="")
            if ad.kind is ServerKind.ORIGIN:
                for namespace in ad.namespaces:
                    who = f'The namespace "{namespace.path}"'
                    self._check_prefix(namespace.path, token, inquiry, who=who, separator=":")

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
        """How long the advertisement lives from now on, whatever the sender's clock shows."""
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
