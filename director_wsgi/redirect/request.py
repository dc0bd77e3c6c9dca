"""What a client asks (`ObjectRequest`) and what it is answered (`Redirection`)."""

import enum
from dataclasses import dataclass, field

from director_wsgi.federation.models import Coordinate
from director_wsgi.limits.deadline import Deadline
from director_wsgi.runtime.clients import Watchable
from director_wsgi.runtime.tracing.span import OFF, Trace
from director_wsgi.stat.evidence import PUBLIC


class Endpoint(enum.Enum):
    """Whom a request wants to be sent to."""

    OBJECT = "object"  # caches, or an origin that allows direct reads
    ORIGIN = "origin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A bearer token, read once and never shown.

    Attributes:
        value: The bare token; travels to the server in `authz=`.
        authority: A digest of it: what evidence gathered with this token is kept under.
        expired: It is a JWT that is past its end, or so near that a transfer would not live through it.
    """

    value: str = field(repr=False)
    authority: str = field(repr=False)
    expired: bool = False


@dataclass(slots=True, kw_only=True)
class ObjectRequest:
    """One request for one object, with every flag decided. Not to be changed: a frozen one takes far longer to make.

    Attributes:
        method: GET, HEAD, PUT, DELETE, COPY, PROPFIND, or another one, which no server supports.
        endpoint: Caches or origins.
        path: Object path: absolute, decoded, cleaned.
        query: Name and value of every query parameter, decoded, in order.
        token: The client's, if it sent one.
        pelican_timeout: What to hand on as `pelican.timeout`, verbatim; None if not said.
        depth: WebDAV's Depth header; None if absent.
        address: The client's IP address.
        user_agent: What it calls itself, verbatim; empty if it does not.
        coordinate: Where the client says it is; None if it does not.
        job_id: UUID that ties the logs of client, director and server together.
        deadline: When the answer must be on its way.
        client: By which its going is noticed while servers are waited for; None if that can't be told.
        trace: What becomes of it is told to this.
    """

    method: str
    endpoint: Endpoint
    path: str
    query: tuple[tuple[str, str], ...] = ()
    token: Token | None = None
    pelican_timeout: str | None = None
    depth: str | None = None
    direct_read: bool = False
    skip_stat: bool = False
    prefer_cached: bool = False
    recursive: bool = False
    wants_redirect: bool = True
    debug: bool = False
    address: str = ""
    user_agent: str = field(default="", repr=False)
    coordinate: Coordinate | None = None
    job_id: str = ""
    deadline: Deadline
    client: Watchable | None = field(default=None, repr=False, compare=False)
    trace: Trace = field(default=OFF, repr=False, compare=False)

    @property
    def authority(self) -> str:
        """What evidence gathered for this request is kept under."""
        return self.token.authority if self.token else PUBLIC


@dataclass(slots=True, kw_only=True)
class Redirection:
    """Where to go, ready to be written. Not to be changed.

    Attributes:
        location: URL of the best server, query included.
        headers: Every header of the answer but Location, in order; a name may occur twice.
        destination: `cache` or `origin`: what the best server is.
        debug: The ranking, to be shown instead of the usual body; None unless asked for.
        with_evidence: It is no guess: nothing had to be asked, or the object is where it leads, or, if that is a cache,
            at an origin.
    """

    location: str
    headers: tuple[tuple[str, str], ...]
    destination: str = "origin"
    debug: dict[str, object] | None = None
    with_evidence: bool = True
