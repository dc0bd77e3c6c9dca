"""pelicanfs: each call of it a process in the environment of the Python clients."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.e2e.programs import clients_python, run

CHILD = Path(__file__).with_name("pelicanfs_child.py")


class PelicanFS:
    """One pelicanfs file system per call of `ask`: nothing is remembered between them."""

    def __init__(self, director_url: str, ca: Path, home: Path) -> None:
        self._python = clients_python()
        self._director_url = director_url
        self._ca = ca
        self._home = home

    def ask(self, *calls: tuple[str, ...], direct_reads: bool = False) -> list[Any]:
        """Make the calls in one file system and return their results, an error in place of a result."""
        host = urlsplit(self._director_url).netloc
        task = {"federation": f"pelican://{host}", "direct_reads": direct_reads, "calls": calls}
        done = run(
            [self._python, "-P", "-W", "ignore", str(CHILD)],
            home=self._home,
            environment={"SSL_CERT_FILE": str(self._ca)},
            stdin=json.dumps(task).encode(),
        )
        return [answer["result"] if "result" in answer else answer["error"] for answer in json.loads(done.stdout)]
