"""What other people's exceptions mean."""

import errno
import http.client
import ssl

import pytest
import requests

from director_wsgi.outbound.failures import Failure, OutboundError, failure_of
from director_wsgi.outbound.sockets import _connect_failure


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (OutboundError(Failure.NAME), Failure.NAME),
        (TimeoutError("timed out"), Failure.TIMED_OUT),
        (requests.ReadTimeout(), Failure.TIMED_OUT),
        (ConnectionResetError(errno.ECONNRESET, "reset"), Failure.CUT_OFF),
        (BrokenPipeError(errno.EPIPE, "pipe"), Failure.CUT_OFF),
        (ssl.SSLError("bad record mac"), Failure.CUT_OFF),
        (http.client.RemoteDisconnected("gone"), Failure.CUT_OFF),
        (http.client.LineTooLong("header line"), Failure.TOO_LARGE),
        (http.client.HTTPException("got more than 100 headers"), Failure.TOO_LARGE),
        (http.client.BadStatusLine("x"), Failure.MALFORMED),
        (http.client.IncompleteRead(b""), Failure.MALFORMED),
        (http.client.InvalidURL(), Failure.MALFORMED),
        (UnicodeEncodeError("latin-1", "…", 0, 1, "ordinal"), Failure.MALFORMED),
        (OSError(errno.EMFILE, "Too many open files"), Failure.OTHER),
        (RuntimeError("bug"), Failure.OTHER),
    ],
    ids=repr,
)
def test_an_exception_of_a_library_is_one_of_ours(error: Exception, failure: Failure) -> None:
    assert failure_of(error) is failure


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (TimeoutError("timed out"), Failure.TIMED_OUT),
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), Failure.TIMED_OUT),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), Failure.REFUSED),
        (OSError(errno.EHOSTUNREACH, "No route to host"), Failure.REFUSED),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), Failure.REFUSED),
        (OSError(errno.EMFILE, "Too many open files"), Failure.OTHER),
    ],
    ids=repr,
)
def test_a_connect_fails_for_a_reason(error: OSError, failure: Failure) -> None:
    assert _connect_failure(error) is failure


def test_an_error_without_a_message_says_its_failure() -> None:
    assert str(OutboundError(Failure.REFUSED)) == "refused"
