"""The report of a test to the server that was tested.

A server that is told nothing for 30 seconds calls itself critical, and its advertisements say so.

Source: Pelican `director/origin_monitor.go:reportStatusToServer`; `server_utils/monitor.go`.
"""

import json
import math
import re

from director_wsgi.federation.models import ServerAd
from director_wsgi.health.calls import Calls, bearer, status_line
from director_wsgi.health.status import Result
from director_wsgi.health.tokens import Tokens
from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Answer, Failure, OutboundError


def api_url(server: ServerAd, name: str) -> str:
    """An endpoint of the server's own API."""
    base = re.split("[?#]", server.web_url, maxsplit=1)[0].rstrip("/")
    return f"{base}/api/v1.0/{name}"


def send(server: ServerAd, result: Result, *, calls: Calls, tokens: Tokens, deadline: Deadline) -> str | None:
    """Tell a server how its test ended.

    Returns:
        What went wrong; None if it took the report.

    Raises:
        NoSigningKey: This director has no key.
    """
    headers = bearer(tokens.for_report(server.web_url)) | {"Content-Type": "application/json"}
    told = {
        "status": "ok" if result.passed else "error",
        "message": result.message,
        "timestamp": math.floor(result.at),
    }
    url = api_url(server, f"{server.kind.value.lower()}/directorTest")
    try:
        answer = _post(calls, url, headers, json.dumps(told).encode(), deadline)
    except OutboundError as error:
        return str(error)
    return None if answer.status == 200 else status_line(answer.status)


def _post(calls: Calls, url: str, headers: dict[str, str], body: bytes, deadline: Deadline) -> Answer:
    """A report may be told twice: a server that has just closed the connection kept since the last one gets it anew."""
    try:
        return calls.send("POST", url, deadline=deadline, headers=headers, body=body)
    except OutboundError as error:
        if error.failure is not Failure.CUT_OFF:
            raise
    return calls.send("POST", url, deadline=deadline, headers=headers, body=body)
