"""The ways in which a call fails, and the one place where other people's exceptions are told apart."""

import enum
import http.client
import ssl

import requests


class Failure(enum.Enum):
    """Why there is no answer."""

    TIMED_OUT = "timed out"
    NAME = "name not resolved"
    REFUSED = "refused"
    TLS = "TLS failed"
    CUT_OFF = "cut off"
    MALFORMED = "malformed"
    TOO_LARGE = "too large"
    FORBIDDEN_ADDRESS = "forbidden address"
    CANCELLED = "cancelled"
    CLOSED = "closed"
    OTHER = "failed"


class OutboundError(Exception):
    """There is no answer.

    The message names the host and port and what happened; never a path, a query, a header or a token. For the same
    reason it is raised without a cause: the exceptions of libraries quote the URL or the header they dislike.

    Attributes:
        failure: Why.
    """

    def __init__(self, failure: Failure, message: str = "") -> None:
        self.failure = failure
        super().__init__(message or failure.value)


def failure_of(error: Exception) -> Failure:
    """Tell what an exception of the socket, TLS or HTTP libraries means once a connection stands.

    What happens while connecting is told apart in `sockets`, where the stage is known.
    """
    match error:
        case OutboundError():
            return error.failure
        case TimeoutError() | requests.Timeout():
            return Failure.TIMED_OUT
        case ssl.SSLError() | ConnectionError():
            # Past the handshake a TLS error is a connection damaged on its way (a record cut short, a bad MAC).
            return Failure.CUT_OFF
        case http.client.LineTooLong():
            return Failure.TOO_LARGE
        case http.client.HTTPException() | ValueError():
            # http.client has no type of its own for "more than 100 header lines"; ValueError is how it, requests and
            # the codecs refuse a URL, a method or a header.
            return Failure.TOO_LARGE if type(error) is http.client.HTTPException else Failure.MALFORMED
        case _:
            return Failure.OTHER
