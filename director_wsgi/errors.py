"""What may end a request or a start-up.

What a *server* did is a value (`stat.evidence.Evidence`), since n servers have n outcomes and none decides alone.
What ends a request or a start-up is one of these::

    DirectorError
    ├─ ConfigError            start-up: every wrong row at once
    ├─ BadRequest             the client's path, parameters or version
    ├─ TokenExpired           a bearer token that would not live through the transfer
    ├─ NoNamespace            no advertised prefix covers the path
    │  └─ Starting            the same, so soon after the first start that advertisements may be on their way
    ├─ NoCapableServer        origins match, none may do this
    ├─ ObjectNotFound         every origin asked said, freshly, that it has no such object
    ├─ NothingKnown           no origin could tell whether it has the object; the client shall come again
    ├─ StillWriting           a listing is being written for the first time; the client shall come again
    ├─ NoUsableServer         origins match, but no cache is usable and none of the origins may be read directly
    ├─ FedTokenRefused        a server may have no federation token
    ├─ FedTokenFailed         a server did not prove who it is, or no federation token could be made
    └─ AdRejected             an advertisement is refused
       ├─ InvalidAd           its body
       ├─ AdForbidden         its token, or its registration
       │  └─ NotApproved      registered, but not approved by an administrator
       ├─ IncompatibleVersion its sender is too old
       ├─ TooManyAds          other long ones are being read; the sender shall come again
       └─ RegistryUnavailable cannot be decided now; the sender shall come again

The HTTP status of each stands in one table, `web.responses.STATUS_OF`.
"""

from typing import Any


class DirectorError(Exception):
    """Base of everything that ends a request or a start-up.

    `str(error)` is the sentence shown to the client; it names no address inside the operator's network.
    """


class ConfigError(DirectorError):
    """The configuration is unusable.

    Attributes:
        problems: One sentence per wrong row, each with its name, the value, the source and what was expected.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class BadRequest(DirectorError):
    """The request cannot be understood or contradicts itself."""


class TokenExpired(DirectorError):
    """The bearer token sent along has expired or is about to."""


class NoNamespace(DirectorError):
    """No origin advertises a prefix of the path."""


class Starting(NoNamespace):
    """No origin advertises a prefix of the path yet; the director has only just started."""


class NoCapableServer(DirectorError):
    """Origins serve the namespace, but none allows this method with these parameters."""


class ObjectNotFound(DirectorError):
    """Every origin asked said that it does not have the object."""


class NothingKnown(DirectorError):
    """No origin could tell in time whether it has the object, and the operator wants no client sent on a guess.

    Attributes:
        retry_after_s: When to come again, whole seconds, at least 1.
    """

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class StillWriting(DirectorError):
    """A listing is being written for the first time, by another thread, and takes long.

    Attributes:
        retry_after_s: When to come again.
    """

    retry_after_s = 1


class NoUsableServer(DirectorError):
    """The namespace is served, but nothing is left to redirect to."""


class FedTokenRefused(DirectorError):
    """A server asks for a federation token and may have none."""


class FedTokenFailed(DirectorError):
    """A server asks for a federation token and did not prove who it is, or none could be made."""


class AdRejected(DirectorError):
    """An advertisement is refused.

    Attributes:
        ad: The `ServerAd`, if it could be read; None otherwise. For counting.
    """

    ad: Any = None


class InvalidAd(AdRejected):
    """The body of an advertisement is not one."""


class AdForbidden(AdRejected):
    """The sender may not advertise this."""


class NotApproved(AdForbidden):
    """Registered at the registry, but an administrator has yet to approve it."""


class IncompatibleVersion(AdRejected):
    """The sender's software is older than this director supports."""


class TooManyAds(AdRejected):
    """Other long advertisements are being read; nothing is known against the sender.

    Attributes:
        retry_after_s: When to come again, whole seconds.
    """

    retry_after_s = 2


class RegistryUnavailable(AdRejected):
    """The registry could not be asked in time; nothing is known against the sender.

    Attributes:
        retry_after_s: When to come again, whole seconds.
    """

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)
