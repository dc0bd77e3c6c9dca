"""The test of an origin: write a small file, read it back, delete it.

The wording of what goes wrong is upstream's, since operators of origins know it.

Source: Pelican `server_utils/test_file_transfer.go:RunTests`.
"""

import contextlib
from typing import Final

from director_wsgi.federation.models import ServerAd
from director_wsgi.federation.urls import quote_path
from director_wsgi.health.calls import Calls, ServerFailed, bearer, status_line
from director_wsgi.health.files import CONTENT
from director_wsgi.health.tokens import Tokens
from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Answer, OutboundError

CLEANUP_S: Final = 2.0
"""How long the deletion of a file that could not be read may take."""


class OriginTest:
    """One test of one origin. For one thread.

    Args:
        origin: Whom to test.
        path: Of the file.
        calls: By which it is done.
        tokens: What it is authorised by.
        deadline: End of the test.
        end: What a deletion after a failed test may use: as a rule a later one.
        may_be_left: Whether an earlier test may have left a file of this path.

    Attributes:
        path: Of the file.
        may_be_left: Whether the file may be there after `run`: it may have been written, and nobody has confirmed that
            it was deleted.
    """

    def __init__(
        self,
        origin: ServerAd,
        path: str,
        *,
        calls: Calls,
        tokens: Tokens,
        deadline: Deadline,
        end: Deadline,
        may_be_left: bool = False,
    ) -> None:
        self._origin = origin
        self._url = origin.base_url + quote_path(path)
        self._calls = calls
        self._tokens = tokens
        self._deadline = deadline
        self._end = end
        self._issuers = tokens.issuers
        self.path = path
        self.may_be_left = may_be_left

    def run(self) -> None:
        """Write, read, delete; what was written is deleted even if it cannot be read.

        Raises:
            ServerFailed: At the first step that went wrong.
            NoSigningKey: This director has no key.
        """
        self._upload()
        try:
            self._download()
        except ServerFailed:
            with contextlib.suppress(ServerFailed):
                self._delete(self._end.at_most(CLEANUP_S))
            raise
        self._delete(self._deadline)

    def _upload(self) -> None:
        step = "test file transfer failed during upload"
        try:
            answer = self._ask("PUT", self._deadline, body=CONTENT)
        except OutboundError as error:
            self.may_be_left = True
            raise ServerFailed(f"{step}: failed to upload test file: {error}", error.failure) from None
        if answer.status > 299:
            if self.may_be_left:  # it may stand in the way: the next test shall not use its name again
                with contextlib.suppress(ServerFailed):
                    self._delete(self._end.at_most(CLEANUP_S))
                self.may_be_left = False
            why = f"error response {answer.status} from test file upload: {status_line(answer.status)}"
            raise ServerFailed(f"{step}: {why}")
        self.may_be_left = True

    def _download(self) -> None:
        step = "test file transfer failed during download"
        try:
            answer = self._ask("GET", self._deadline)
        except OutboundError as error:
            raise ServerFailed(f"{step}: failed to download test file: {error}", error.failure) from None
        if answer.status > 299:
            why = f"error response {answer.status} from test file transfer download: {status_line(answer.status)}"
            raise ServerFailed(f"{step}: {why}")
        if answer.body != CONTENT:
            why = "contents of test file transfer body do not match upload"
            raise ServerFailed(f"{step}: {why}: {len(answer.body)} bytes instead of {len(CONTENT)}, or others")

    def _delete(self, deadline: Deadline) -> None:
        step = "test file transfer failed during delete"
        try:
            answer = self._ask("DELETE", deadline)
        except OutboundError as error:
            raise ServerFailed(f"{step}: failed to delete test file: {error}", error.failure) from None
        self.may_be_left = answer.status > 299 and answer.status != 404
        if answer.status > 299:
            why = f"error response {answer.status} from test file transfer deletion: {status_line(answer.status)}"
            raise ServerFailed(f"{step}: {why}")

    def _ask(self, method: str, deadline: Deadline, body: bytes | None = None) -> Answer:
        """One step, in the name of each issuer until one is obeyed; the next step begins with that one."""
        for issuer in self._issuers:
            token = self._tokens.for_transfer(self._origin.data_url, issuer)
            answer = self._calls.send(method, self._url, deadline=deadline, headers=bearer(token), body=body)
            if answer.status <= 299:
                self._issuers = tuple(dict.fromkeys((issuer, *self._issuers)))
                break
        return answer
