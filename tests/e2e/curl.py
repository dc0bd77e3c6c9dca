"""curl, and what it says about a transfer."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.programs import program, run


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What curl ended with.

    Attributes:
        status: Status of the last answer.
        url: Where the last answer came from.
        redirects: How many redirects were followed.
        headers: Of the last answer; names in lower case, each with all its lines.
        body: Of the last answer.
    """

    status: int
    url: str
    redirects: int
    headers: dict[str, list[str]]
    body: bytes

    def header(self, name: str) -> str:
        """Return the value of a header that must be there once."""
        (value,) = self.headers[name.lower()]
        return value

    @property
    def message(self) -> str:
        """The `msg` of an error; fails unless the body is an error as Pelican's clients read it."""
        assert self.header("Content-Type").startswith("application/json")
        answer = json.loads(self.body)
        assert answer["status"] == "error"
        assert isinstance(answer["msg"], str)
        return answer["msg"]


class Curl:
    """Runs curl, trusting the test authority and nobody else."""

    def __init__(self, ca: Path, home: Path) -> None:
        self._program = program("curl", package="curl")
        self._ca = ca
        self._home = home

    def __call__(self, url: str, *options: str, follow: bool = True) -> Fetched:
        """Ask for a URL.

        Args:
            url: What to ask for.
            options: Further options of curl.
            follow: Whether redirects are followed.
        """
        body = self._home / "body"
        body.unlink(missing_ok=True)
        # The report goes to the error output, where nothing of the body can get into it.
        report = "%{stderr}%{json}\n%{header_json}"
        fixed: Sequence[str] = [
            *("--silent", "--show-error", "--disable", "--noproxy", "*", "--cacert", str(self._ca), "--max-time", "30"),
            *("--output", str(body), "--write-out", report),
            *(("--location",) if follow else ()),
        ]
        done = run([self._program, *fixed, *options, url], home=self._home)
        first, _, rest = done.stderr.decode().partition("\n")
        summary = json.loads(first)
        return Fetched(
            status=summary["http_code"],
            url=summary["url_effective"],
            redirects=summary["num_redirects"],
            headers=json.loads(rest),
            body=body.read_bytes() if body.exists() else b"",
        )
