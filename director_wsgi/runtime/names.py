"""Which names a configuration may use, in files and in the environment."""

import difflib
import re
from collections.abc import Iterator
from typing import Final

from director_wsgi.runtime.parameters import PARAMETERS
from director_wsgi.runtime.rows import variable_of

_INERT_BY_REASON: Final = {
    "a broker stands elsewhere, and nothing is dialled through it": (
        "Director.EnableBroker",
        "Transport.BrokerEndpointCacheTTL",
    ),
    "no web interface, so no login": (
        "Director.EnableOIDC",
        "Director.MaxStatResponse",
        "Director.MetadataComparisonInterval",
        "Director.MinStatResponse",
        "Server.AdminGroups",
        "Server.EnablePprof",
        "Server.EnableUI",
        "Server.SessionSecretFile",
        "Server.UIActivationCodeFile",
        "Server.UIAdminUsers",
        "Server.UILoginRateLimit",
        "Server.UIPasswordFile",
        "Server.WebConfigFile",
        "Server.WebReadOnly",
    ),
    "nothing is kept in a database": ("Director.DbLocation", "Server.DbLocation"),
    "the database of places is fetched by other means": ("Director.MaxMindKeyFile",),
    "the topology of the OSG is not imported": (
        "Federation.TopologyDowntimeUrl",
        "Federation.TopologyNamespaceUrl",
        "Federation.TopologyReloadInterval",
        "Topology.DisableCaches",
        "Topology.DisableDowntime",
        "Topology.DisableOrigins",
    ),
    "the issuer is the director itself, or the federation": (
        "Server.IssuerHostname",
        "Server.IssuerPort",
        "Server.IssuerUrl",
    ),
    "no other director is told of this one yet": ("Server.AdvertisementInterval",),
    "gunicorn says when it serves": ("Server.StartupTimeout",),
    "one deadline bounds all of a call": (
        "Transport.DialerKeepAlive",
        "Transport.ExpectContinueTimeout",
        "Transport.IdleConnTimeout",
        "Transport.MaxIdleConns",
        "Transport.ResponseHeaderTimeout",
        "Transport.TLSHandshakeTimeout",
    ),
    "no Prometheus inside": (
        "Monitoring.DataLocation",
        "Monitoring.DataRetention",
        "Monitoring.DataRetentionSize",
        "Monitoring.EnablePrometheus",
        "Monitoring.LabelLimit",
        "Monitoring.LabelNameLengthLimit",
        "Monitoring.LabelValueLengthLimit",
        "Monitoring.PromQLAuthorization",
        "Monitoring.SampleLimit",
        "Monitoring.TokenExpiresIn",
        "Monitoring.TokenRefreshInterval",
    ),
    "the log goes to standard error": ("Logging.LogLocation",),
    "what other servers, or clients, do": (
        "Cache.DirectorTest",
        "Cache.EnableBroker",
        "Client.AssumeDirectorServerHeader",
        "Client.DirectorRetries",
        "GeoLocation",
        "Origin.DirectorTest",
        "Origin.DisableDirectClients",
        "Origin.EnableBroker",
        "Registry.RequireCacheApproval",
        "Registry.RequireOriginApproval",
    ),
}

INERT: Final = {name: reason for reason, names in _INERT_BY_REASON.items() for name in names}
"""Pelican's other parameters that a director may be given, and why they have no effect here."""


def _known() -> Iterator[str]:
    for one in PARAMETERS:
        yield one.row.name
        if one.row.formerly:
            yield one.row.formerly
    yield from INERT


BY_LOWER_NAME: Final = {name.lower(): name for name in _known()}
"""Pelican's spelling of every name that is known, by its lower-case form."""

BY_VARIABLE: Final = {variable_of(name): name for name in BY_LOWER_NAME.values()}
"""Pelican's name for every variable of the environment that is known."""

SECTIONS: Final = frozenset(one.row.name.rpartition(".")[0].lower() for one in PARAMETERS if "." in one.row.name)
"""Lower-case names that must be mappings."""

_ALL_KNOWN_BELOW: Final = ("Director", "Server.SSRFProtection", "Tracing")
"""Where every name is known. A misspelt one elsewhere may be a parameter of another server."""

# A Kubernetes service or a Docker link called `pelican-director` sets these in every container beside it.
_SERVICE_LINK = re.compile(
    r"PELICAN_DIRECTOR(_\w+)?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)\Z"
)


def is_misspelt(name: str) -> bool:
    """Whether an unknown name can only be a mistake."""
    return name.lower().startswith(tuple(f"{section.lower()}." for section in _ALL_KNOWN_BELOW))


def is_misspelt_variable(variable: str) -> bool:
    """The same for an unknown variable of the environment."""
    prefixes = tuple(f"{variable_of(section)}_" for section in _ALL_KNOWN_BELOW)
    return variable.startswith(prefixes) and not _SERVICE_LINK.match(variable)


def nearest(name: str) -> str:
    """The known name, or variable, that a misspelt one most probably means; there always is one."""
    known = BY_VARIABLE if name.startswith("PELICAN_") else BY_LOWER_NAME
    wanted = name if known is BY_VARIABLE else name.lower()
    found = difflib.get_close_matches(wanted, known, n=1, cutoff=0.0)[0]
    return found if known is BY_VARIABLE else BY_LOWER_NAME[found]
