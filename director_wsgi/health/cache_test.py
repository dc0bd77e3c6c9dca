"""The test of a cache: have it fetch a file that it cannot have, from this director, and drop the one before.

Source: Pelican `director/cache_monitor.go:runCacheTest`, `evictTestFile`.
"""

import json

from director_wsgi.federation.models import ServerAd
from director_wsgi.federation.urls import quote_path
from director_wsgi.health.calls import Calls, ServerFailed, bearer, status_line
from director_wsgi.health.files import CONTENT, is_content
from director_wsgi.health.report import api_url
from director_wsgi.health.tokens import Tokens
from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import OutboundError


def read(cache: ServerAd, path: str, *, calls: Calls, deadline: Deadline) -> None:
    """Have the cache fetch a file, as a client without a token would.

    Raises:
        ServerFailed: It did not answer, or with something else.
    """
    try:
        answer = calls.send("GET", cache.base_url + quote_path(path), deadline=deadline, headers={})
    except OutboundError as error:
        why = f"failed to send request to cache for the test file: {error}"
        raise ServerFailed(why, error.failure) from None
    if answer.status != 200:
        raise ServerFailed(f"cache responds with non-200 status code: {status_line(answer.status)}")
    if not is_content(answer.body):
        why = "cache response file does not match expectation"
        raise ServerFailed(f"{why}: {len(answer.body)} bytes instead of {len(CONTENT)}, or others")


def evict(cache: ServerAd, path: str, *, calls: Calls, tokens: Tokens, deadline: Deadline) -> str | None:
    """Have the cache drop a file of an earlier test.

    Returns:
        What went wrong; None if nothing did.

    Raises:
        NoSigningKey: This director has no key.
    """
    headers = bearer(tokens.for_report(cache.web_url)) | {"Content-Type": "application/json"}
    body = json.dumps({"path": path}).encode()
    url = api_url(cache, "cache/evictTestFile")
    try:
        answer = calls.send("POST", url, deadline=deadline, headers=headers, body=body)
    except OutboundError as error:
        return str(error)
    return None if answer.status <= 299 else status_line(answer.status)
