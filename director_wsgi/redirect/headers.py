"""What a redirection says: Location, Link and the X-Pelican headers.

Source: Pelican `director/director.go:generateRedirectResponse`, `getRedirectURL`, `getFinalRedirectURL`,
`generateLinkHeader`, `getLinkDepth`; `server_structs/director.go`. Link: RFC 8288; `rel="duplicate"`, RFC 6249.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from director_wsgi.federation.models import NamespaceAd, ServerAd
from director_wsgi.federation.snapshot import Source
from director_wsgi.redirect.paths import depth_below, encode_query
from director_wsgi.redirect.request import ObjectRequest

MAX_SERVERS = 6
"""How many servers one answer names, as upstream."""

Headers = tuple[tuple[str, str], ...]

_STRATEGIES = frozenset({"OAuth2", "Vault"})

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def location(server: ServerAd, quoted_path: str, request: ObjectRequest) -> str:
    """URL of the object at a server, with everything the client's query said and what its headers add to it."""
    query = _merged_query(request)
    url = server.base_url + quoted_path
    return f"{url}?{query}" if query else url


def _merged_query(request: ObjectRequest) -> str:
    if not request.query and request.token is None and request.pelican_timeout is None:
        return ""
    replaced: dict[str, str] = {}
    if request.token is not None:
        replaced["authz"] = request.token.value
    if request.pelican_timeout is not None:
        replaced["pelican.timeout"] = request.pelican_timeout
    for name, is_set in (
        ("directread", request.direct_read),
        ("prefercached", request.prefer_cached),
        ("skipstat", request.skip_stat),
    ):
        if is_set:
            replaced[name] = ""
    kept = [pair for pair in request.query if pair[0] not in replaced]
    return encode_query([*kept, *replaced.items()])


def link(servers: Sequence[ServerAd], quoted_path: str, depth: int) -> str:
    """The Link header: every server, best first; no query and never a token in it.

    `,` and `;` inside a URL are percent-encoded: Pelican's command line cuts the header at each of them.

    Args:
        servers: At least one; at most `MAX_SERVERS` are named.
        quoted_path: Encoded object path.
        depth: Components below the namespace. XRootD caches cut that many from the URL to learn where the namespace
            lives, and ask nobody for a minute: a wrong number sends them astray.
    """
    piece = _piece if depth <= _USUAL_DEPTH else _piece.__wrapped__
    named = servers[:MAX_SERVERS]
    pieces = [piece(position, depth, server.base_url) for position, server in enumerate(named)]
    return _whole(quoted_path).join([*pieces, piece(len(named), depth, None)])


_USUAL_DEPTH = 16


@lru_cache(maxsize=8192)
def _piece(position: int, depth: int, base_url: str | None) -> str:
    """What stands between two paths in a Link header: the end of one entry, and the URL that begins the next."""
    before = f'>; rel="duplicate"; pri={position}; depth={depth}' if position else ""
    if base_url is None:
        return before
    return f"{before}, <{_whole(base_url)}" if position else f"<{_whole(base_url)}"


def _whole(url: str) -> str:
    return url.replace(",", "%2C").replace(";", "%3B") if "," in url or ";" in url else url


def describe(sources: Sequence[Source], *, prefix: str) -> Headers:
    """The headers that tell of the namespace, in the words of its first origin.

    Args:
        sources: Origins that serve it, at least one.
        prefix: Its path; the root is told as the empty string, as upstream does.
    """
    namespace = sources[0].namespace
    told = [f"namespace={'' if prefix == '/' else prefix}"]
    told.append(f"require-token={'false' if namespace.capabilities.public_reads else 'true'}")
    collections_url = _collections_url(sources, namespace)
    if collections_url:
        told.append(f"collections-url={collections_url}")
    headers = [("X-Pelican-Namespace", ", ".join(told))]
    headers += [
        ("X-Pelican-Authorization", f"issuer={issuer.issuer}") for issuer in namespace.token_issuers if issuer.issuer
    ]
    generation = _token_generation(namespace)
    if generation:
        headers.append(("X-Pelican-Token-Generation", generation))
    return tuple((name, _CONTROL.sub("", value)) for name, value in headers)


def _collections_url(sources: Sequence[Source], namespace: NamespaceAd) -> str:
    """Where listings are had, verbatim as advertised: the namespace's copy that is told decides, and each server."""
    if not namespace.capabilities.listings:
        return ""
    return next((source.server.data_url for source in sources if source.server.capabilities.listings), "")


def _token_generation(namespace: NamespaceAd) -> str:
    """How to get a token; empty if it is not fully known, since Go clients refuse an answer with half of it."""
    generation = next(iter(namespace.token_generations), None)
    if generation is None or generation.strategy not in _STRATEGIES or generation.max_scope_depth <= 0:
        return ""
    told = [f"issuer={generation.issuer}"] if generation.issuer else []
    told += [f"max-scope-depth={generation.max_scope_depth}", f"strategy={generation.strategy}"]
    base_path = next(
        (
            issuer.base_paths[0]
            for issuer in namespace.token_issuers
            if issuer.base_paths and issuer.issuer == generation.issuer
        ),
        "",
    )
    if base_path:
        told.append(f"base-path={base_path}")
    return ", ".join(told)


def redirect_headers(
    servers: Sequence[ServerAd], request: ObjectRequest, quoted_path: str, *, prefix: str, namespace_headers: Headers
) -> Headers:
    """Every header of a redirection but Location.

    Args:
        servers: Best first, at least one.
        request: What was asked.
        quoted_path: Its path, encoded.
        prefix: The namespace's path.
        namespace_headers: What `describe` made.
    """
    depth = depth_below(request.path, prefix)
    headers = [("Link", link(servers, quoted_path, depth)), *namespace_headers]
    for server in servers[:MAX_SERVERS]:
        if server.broker_url:
            headers.append(("X-Pelican-Broker", _CONTROL.sub("", server.broker_url)))
            break
    headers.append(("X-Pelican-JobId", request.job_id))
    return tuple(headers)
