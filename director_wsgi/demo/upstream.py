"""How a cache asks for what it does not have: the director's origin endpoint, then the origin it names.

Source: `/api/v1.0/director/origin/…`, as XRootD's caches use it (xrdcl-pelican).
"""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import quote, urlencode, urljoin

import urllib3
from urllib3.exceptions import HTTPError

from director_wsgi.limits.deadline import Deadline

USER_AGENT = "director_wsgi-demo-cache"
REDIRECTS = 3


class UpstreamError(Exception):
    """The director or an origin gave no answer that can be used.

    Attributes:
        is_late: The deadline passed.
    """

    def __init__(self, message: str, *, is_late: bool = False) -> None:
        self.is_late = is_late
        super().__init__(message)


class Upstream:
    """The director and the origins behind it; safe to use from many threads."""

    def __init__(self, director_url: str, trust: ssl.SSLContext) -> None:
        """Prepare; nothing is connected yet.

        Args:
            director_url: Where the director is, without a slash at its end.
            trust: Believes the director's and every origin's certificate.
        """
        self._base = f"{director_url}/api/v1.0/director/origin"
        self._pool = urllib3.PoolManager(num_pools=20, maxsize=8, ssl_context=trust)

    @contextmanager
    def ask(
        self, method: str, path: str, *, token: str | None, headers: Mapping[str, str], deadline: Deadline
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """Send a request and follow the director's redirect; gives the first answer that is none, body unread.

        Args:
            method: GET, HEAD or PROPFIND.
            path: Decoded object path.
            token: The client's; handed to the director, which hands it on.
            headers: Sent with every request on the way.
            deadline: For each step of the way what is left of it; a body is the caller's to bound.

        Raises:
            UpstreamError: No answer, or redirects without end. Also for errors while the caller reads the body.
        """
        url = f"{self._base}{quote(path)}"
        if token is not None:
            url += f"?{urlencode({'authz': token})}"
        try:
            for _ in range(REDIRECTS):
                response = self._send(method, url, headers, deadline)
                location = response.headers.get("Location")
                if response.status not in (301, 302, 307, 308) or location is None:
                    break
                response.drain_conn()
                url = urljoin(url, location)
            else:
                raise UpstreamError("redirected without end")
            with response:
                yield response
        except HTTPError as error:
            raise UpstreamError(type(error).__name__, is_late=deadline.has_passed()) from error

    def _send(self, method: str, url: str, headers: Mapping[str, str], deadline: Deadline) -> urllib3.BaseHTTPResponse:
        left = deadline.remaining_s()
        if not left:
            raise UpstreamError("no time left", is_late=True)
        return self._pool.request(
            method,
            url,
            headers={"User-Agent": USER_AGENT, **headers},
            timeout=urllib3.Timeout(total=left),
            redirect=False,
            retries=False,
            preload_content=False,
            decode_content=False,
        )

    def close(self) -> None:
        """Close idle connections."""
        self._pool.clear()
