"""The director's own HTTP calls, as the configuration wants them.

There is no other way to a client: so whom to trust and which addresses to leave alone hold for every call, and another
configuration holds for the next call of every client that is there already.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace

from director_wsgi import __version__
from director_wsgi.errors import ConfigError
from director_wsgi.limits.deadline import Clock, monotonic
from director_wsgi.outbound.address_rules import AddressRules
from director_wsgi.outbound.client import HttpClient, NameResolver, Terms, TlsTrust
from director_wsgi.runtime import files
from director_wsgi.runtime.config import Config

USER_AGENT = f"pelican-director/{__version__}"

MakeClient = Callable[[int], HttpClient]
"""Given how many connections to keep open, a client for outbound calls."""


class Outgoing:
    """Makes clients, and tells them all what holds now. Any number of threads may use them meanwhile.

    Args:
        config: What holds at first.
        names: Shared by all clients.
        clock: Monotonic seconds.

    Raises:
        ConfigError: See `prepare`.

    Attributes:
        terms: What holds now; replaced as a whole.
    """

    def __init__(self, config: Config, names: NameResolver, clock: Clock = monotonic) -> None:
        self.terms = _terms(config)
        self._names = names
        self._clock = clock

    def prepare(self, config: Config) -> Terms:
        """What would hold by `config`; changes nothing. Reads the authorities' file, if there is one.

        Returns:
            Terms for `adopt`. They are the present ones if they say the same and the file has the same content, and
            where only one part is another, the rest of them is kept, so that nothing is loaded twice.

        Raises:
            ConfigError: The file cannot be read, or holds no certificate.
        """
        return _terms(config, self.terms)

    def adopt(self, terms: Terms) -> None:
        """Let these hold from the next call on, of every client.

        Calls under way go on. A connection that was made under others is closed when its turn comes, unless these are
        the same in all that mattered when it was made. Cannot fail, and does not wait.
        """
        self.terms = terms

    def client(self, connections: int, *, trust: TlsTrust | None = None) -> HttpClient:
        """A client that keeps up to so many connections open; whoever asked for it closes it.

        Args:
            connections: How many.
            trust: Whom this one believes, whatever holds for all; None: whom all do.
        """
        return HttpClient(
            names=self._names,
            terms=(lambda: self.terms) if trust is None else (lambda: replace(self.terms, trust=trust)),
            user_agent=USER_AGENT,
            connections=connections,
            clock=self._clock,
        )


def client_maker(config: Config, names: NameResolver, clock: Clock) -> MakeClient:
    """Makes clients for which one configuration holds, for good.

    Raises:
        ConfigError: See `Outgoing.prepare`.
    """
    return Outgoing(config, names, clock).client


def _terms(config: Config, before: Terms | None = None) -> Terms:
    trust = _trust(config, None if before is None else before.trust)
    rules = AddressRules(
        allowed=config.ssrf_allowed,
        blocked=config.ssrf_blocked,
        skip_defaults=config.ssrf_skip_default_blocks,
        disabled=config.ssrf_disabled,
    )
    terms = Terms(trust=trust, rules=rules, connect_timeout_s=config.dial_timeout_s)
    return before if before == terms else terms


def _trust(config: Config, before: TlsTrust | None) -> TlsTrust:
    file = config.tls_ca_certificate_file
    if file is None:
        trust = TlsTrust(skip_verify=config.tls_skip_verify)
        return before if before == trust else trust
    try:
        # First, so that a file which changes meanwhile is seen to have changed the next time.
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        trust = TlsTrust(ca_file=file, skip_verify=config.tls_skip_verify, digest=digest)
        if before == trust:
            return before
        _ = trust.context  # now, while it can still be refused
    except OSError as error:  # ssl.SSLError is one
        complaint = files.authorities_complaint(file) or f"it could not be read: {error.strerror or error}"
        raise ConfigError((f"Server.TLSCACertificateFile = {str(file)!r}: {complaint}",)) from None
    return trust
