"""Refusals in Pelican's words: clients tell some of them apart by their text.

Source: Pelican `director/director.go:redirectToCache`, `redirectToOrigin`, `director/sort.go:getSortedAds`.
"""

from collections.abc import Sequence

from director_wsgi.errors import NoCapableServer, NoNamespace, NothingKnown, NoUsableServer, Starting, TokenExpired
from director_wsgi.redirect.matching import lists
from director_wsgi.redirect.request import ObjectRequest


def starting(request: ObjectRequest) -> Starting:
    """No origin serves a prefix of the path, yet."""
    return Starting(
        f"no servers were found for the requested path '{request.path}'; "
        f"director just restarted, try again shortly: Request ID: {request.job_id}"
    )


def no_namespace(request: ObjectRequest) -> NoNamespace:
    """No origin serves a prefix of the path."""
    return NoNamespace(
        "No sources found for the requested path: no origins found for the requested namespace "
        f"'{request.path}': Request ID: {request.job_id}"
    )


def no_capable_server(request: ObjectRequest, web_url: str) -> NoCapableServer:
    """None of the origins allows what is asked.

    Args:
        request: What is asked.
        web_url: Where a person can look which origins there are.
    """
    return NoCapableServer(
        "Discovered sources for the namespace, but none support the request: no origins found that support "
        f"the '{_verb(request)}' request type with queries '{_queries(request)}': "
        f"See '{web_url}' to troubleshoot available origins/caches and their capabilities: "
        f"Request ID: {request.job_id}"
    )


def token_expired(request: ObjectRequest) -> TokenExpired:
    """The token would not live through the transfer."""
    return TokenExpired(f"bearer token has expired: Request ID: {request.job_id}")


def no_usable_server(request: ObjectRequest) -> NoUsableServer:
    """No cache, and no origin that may be read directly."""
    return NoUsableServer(
        "No caches can fulfill this request and no fallback origins with the 'DirectReads' capability found "
        f"for this object. Request ID: {request.job_id}"
    )


def nothing_known(request: ObjectRequest, retry_after_s: int) -> NothingKnown:
    """No origin could tell whether it has the object.

    Args:
        request: What is asked.
        retry_after_s: When one of them will be asked again, whole seconds.
    """
    return NothingKnown(
        f"no origin could tell in time whether it has the object '{request.path}'; "
        f"try again in {retry_after_s}s: Request ID: {request.job_id}",
        retry_after_s=retry_after_s,
    )


_VERBS = {"GET": "get", "PUT": "put", "DELETE": "delete"}


def _verb(request: ObjectRequest) -> str:
    """Pelican's word for what is asked."""
    if request.method == "PROPFIND":
        return "ls" if lists(request) else "stat"
    return _VERBS.get(request.method, "unknown")


def _queries(request: ObjectRequest) -> str:
    """Pelican's words for the capabilities that the query asks for."""
    asked: Sequence[tuple[bool, str]] = ((request.direct_read, "DirectReads"), (request.recursive, "Listings"))
    return " AND ".join(name for is_asked, name in asked if is_asked)
