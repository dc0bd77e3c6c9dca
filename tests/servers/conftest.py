"""Fixtures for tests against real servers on loopback."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Answer, HttpClient, NameResolver, Terms, TlsTrust
from tests.servers.authority import Authority, Certificate
from tests.servers.faults import FaultServer


class MakeServer(Protocol):
    """Makes a fault server: plain, or under TLS with the given or the usual certificate."""

    def __call__(self, *, tls: bool = False, certificate: Certificate | None = None) -> FaultServer: ...


@dataclass(frozen=True)
class Allowing:
    """Rules for addresses, made of a function."""

    allowed: Callable[[str], bool]


class MakeClient(Protocol):
    """Makes a client that trusts the throw-away authority, unless told otherwise: by parts of terms, or all of them."""

    def __call__(self, **options: Any) -> HttpClient: ...


@pytest.fixture(scope="session")
def test_ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A throw-away authority, with a certificate for 127.0.0.1 and localhost."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def fault_server(test_ca: Authority) -> Iterator[MakeServer]:
    """Makes fault servers, and ends them after the test."""
    with ExitStack() as stack:

        def make(*, tls: bool = False, certificate: Certificate | None = None) -> FaultServer:
            shown = certificate or (test_ca.server if tls else None)
            return stack.enter_context(FaultServer(certificate=shown))

        yield make


@pytest.fixture
def names() -> Iterator[NameResolver]:
    """A resolver of the system's names."""
    resolver = NameResolver()
    yield resolver
    resolver.close()


@pytest.fixture
def make_client(names: NameResolver, test_ca: Authority) -> Iterator[MakeClient]:
    """Makes clients, and closes them after the test."""
    with ExitStack() as stack:

        def make(**options: Any) -> HttpClient:
            about: dict[str, Any] = {"trust": TlsTrust(test_ca.ca_file)}
            about |= {name: options.pop(name) for name in ("trust", "rules", "connect_timeout_s") if name in options}
            terms = Terms(**about)
            usual: dict[str, Any] = {"names": names, "terms": lambda: terms, "user_agent": "test"}
            client = HttpClient(**(usual | options))
            stack.callback(client.close)
            return client

        yield make


def head(client: HttpClient, server: FaultServer, path: str = "/object", *, seconds: float = 10.0) -> Answer:
    """HEAD `path` at `server`."""
    return client.send("HEAD", server.url + path, deadline=Deadline.after(seconds))
