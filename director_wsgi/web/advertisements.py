"""Advertisements of origins and caches.

Source: Pelican `director/director.go:registerServerAd`.
"""

from flask import Blueprint, Response, request
from werkzeug.exceptions import BadRequest

from director_wsgi.errors import AdRejected, InvalidAd
from director_wsgi.federation.models import ServerKind
from director_wsgi.limits.deadline import Clock, Deadline
from director_wsgi.stat.engine import StatEngine
from director_wsgi.trust.admission import Admission
from director_wsgi.web.responses import error_response, simple


def _body(kind: ServerKind) -> bytes:
    length = request.content_length
    try:
        if length is None:
            return request.get_data(cache=False)
        # In one go: Flask reads by 64 KiB, which takes twice as long for the megabyte of a cache.
        body: bytes = request.environ["wsgi.input"].read(length)
    except (BadRequest, OSError):  # cut off, or its framing is broken
        pass
    else:
        if len(body) == length:
            return body
    raise InvalidAd(f"invalid {kind.value} registration: the body could not be read")


def blueprint(admission: Admission, engine: StatEngine, *, max_bytes: int, timeout_s: float, clock: Clock) -> Blueprint:
    """The two routes by which servers advertise themselves.

    Args:
        admission: Decides about them.
        engine: Told that a server is alive.
        max_bytes: Size of a body; a larger one is refused unread.
        timeout_s: How long deciding about one may take, questions to the registry included.
        clock: Monotonic.
    """
    routes = Blueprint("advertisements", __name__, url_prefix="/api/v1.0/director")

    def register(kind: ServerKind) -> Response:
        deadline = Deadline.after(timeout_s, clock)
        request.max_content_length = max_bytes
        try:
            if (request.content_length or 0) > max_bytes:
                raise InvalidAd(f"invalid {kind.value} registration: the body is larger than {max_bytes} bytes")
            ad = admission.admit(
                kind,
                _body(kind),
                authorization=request.headers.get("Authorization"),
                user_agent=request.headers.get("User-Agent", ""),
                deadline=deadline,
            )
        except AdRejected as error:
            refused = error_response(error)
            if error.ad is not None:
                admission.answered(error.ad, refused.status_code)
            return refused
        admission.answered(ad, 200)
        engine.heard_from(ad.data_url)
        return simple(200, "Successful registration")

    @routes.post("/registerOrigin")
    def register_origin() -> Response:
        return register(ServerKind.ORIGIN)

    @routes.post("/registerCache")
    def register_cache() -> Response:
        return register(ServerKind.CACHE)

    return routes
