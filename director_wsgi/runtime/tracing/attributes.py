"""The only things a span may say.

What is not listed here is not exported: `otlp` looks at nothing else. None of these ever holds what a client has sent
freely: neither a path, a query, a header nor a token. Names are OpenTelemetry's where it has one.
"""

from typing import Final, NewType

Attribute = NewType("Attribute", str)
"""The name of an attribute. Made in this module only."""

# -- the request
METHOD: Final = Attribute("http.request.method")
ROUTE: Final = Attribute("http.route")
STATUS: Final = Attribute("http.response.status_code")
JOB_ID: Final = Attribute("pelican.job_id")
"""By which the logs of client, director and server are found."""
CLIENT: Final = Attribute("pelican.client")
"""`program/version`, if it is one of Pelican's."""

# -- match and rank
NAMESPACE: Final = Attribute("pelican.namespace")
ORIGINS: Final = Attribute("director.match.origins")
CACHES: Final = Attribute("director.match.caches")
DESTINATION: Final = Attribute("director.rank.destination")
CHOSEN: Final = Attribute("director.rank.server")
WITH_EVIDENCE: Final = Attribute("director.rank.with_evidence")

# -- the gates of a stat, each with how many servers
REMEMBERED: Final = Attribute("director.stat.remembered")
ASKED: Final = Attribute("director.stat.asked")
JOINED: Final = Attribute("director.stat.joined")
CIRCUIT_OPEN: Final = Attribute("director.stat.circuit_open")
NO_SLOT: Final = Attribute("director.stat.no_slot")
LEFT: Final = Attribute("director.stat.left")
CLIENT_GONE: Final = Attribute("director.stat.client_gone")

# -- one HEAD
SERVER: Final = Attribute("pelican.server")
HOST: Final = Attribute("server.address")
PORT: Final = Attribute("server.port")
PRESENCE: Final = Attribute("director.stat.presence")
REASON: Final = Attribute("director.stat.reason")
QUEUED: Final = Attribute("director.stat.queued_s")
"""How long the HEAD waited for a slot."""
DETACHED: Final = Attribute("director.stat.detached")
"""`refresh` or `probe`: nobody waits for it."""

ERROR: Final = Attribute("error.type")

ALLOWED: Final = frozenset(value for name, value in list(globals().items()) if name.isupper() and type(value) is str)
"""All of them."""

MAX_CHARACTERS: Final = 256
"""Longest text that is exported."""
