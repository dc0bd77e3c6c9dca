"""The clients of the director's own HTTP calls, as the configuration wants them.

There is no other way to one: so whom to trust and which addresses to leave alone hold for every call.
"""

from collections.abc import Callable

from director_wsgi import __version__
from director_wsgi.limits.deadline import Clock
from director_wsgi.outbound.address_rules import AddressRules
from director_wsgi.outbound.client import HttpClient, NameResolver, TlsTrust
from director_wsgi.runtime.config import Config

USER_AGENT = f"pelican-director/{__version__}"

MakeClient = Callable[[int], HttpClient]
"""Given how many connections to keep open, a client for outbound calls."""


def client_maker(config: Config, names: NameResolver, clock: Clock) -> MakeClient:
    """What makes clients that share `names`, the certificates and the rules for addresses."""
    trust = TlsTrust(ca_file=config.tls_ca_certificate_file, skip_verify=config.tls_skip_verify)
    rules = AddressRules(
        allowed=config.ssrf_allowed,
        blocked=config.ssrf_blocked,
        skip_defaults=config.ssrf_skip_default_blocks,
        disabled=config.ssrf_disabled,
    )

    def make(connections: int) -> HttpClient:
        return HttpClient(
            names=names,
            trust=trust,
            user_agent=USER_AGENT,
            connections=connections,
            connect_timeout_s=config.dial_timeout_s,
            allow_address=rules.allowed,
            clock=clock,
        )

    return make
