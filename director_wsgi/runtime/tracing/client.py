"""How a tracer reaches its collector."""

from collections.abc import Callable, Mapping
from typing import Protocol

from director_wsgi.limits.deadline import Deadline
from director_wsgi.outbound.client import Answer, TlsTrust


class Client(Protocol):
    """The part of `outbound.client.HttpClient` that is needed here."""

    def send(
        self,
        method: str,
        url: str,
        *,
        deadline: Deadline,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        max_bytes: int = ...,
    ) -> Answer:
        """One exchange; raises OutboundError only."""
        ...

    def close(self) -> None:
        """End what is under way, and whatever comes later. Does not wait."""
        ...


Connect = Callable[[TlsTrust | None], Client]
"""Makes a client for one connection. It trusts whom it is told, or whom all calls trust; whoever asked closes it."""
