"""How busy servers are, as an operator's Prometheus tells it (`Monitoring.PrometheusUrl`).

That Prometheus scrapes the servers of the federation (`/api/v1.0/director/discoverServers` tells it which, and calls
each `server_url`). It is asked in the background; a redirect reads a table. While it does not answer, what it said last
counts for `FORGOTTEN_S`, and then all servers weigh alike.

One worker of a host asks, and tells the others.

Source: Pelican `director/director_api.go:LaunchServerIOQuery`; https://prometheus.io/docs/prometheus/latest/querying/api/.
"""

import json
import logging
import math
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import quote

from director_wsgi.federation.store.records import Record, Renewal
from director_wsgi.health.sharing import Publish, tell_nobody
from director_wsgi.limits.deadline import Clock, Deadline, WallClock, monotonic, wall
from director_wsgi.outbound.client import Answer, OutboundError

KIND: Final = "loads"
"""Under which they are published."""

QUERY: Final = 'rate(xrootd_server_io_total{job="origin_cache_servers"}[5m])'

INTERVAL_S: Final = 15.0
TIMEOUT_S: Final = 10.0

FORGOTTEN_S: Final = 60.0
"""Older loads say nothing of now."""

MAX_ANSWER_BYTES: Final = 8 << 20
"""Of about 400 bytes for each server."""

log = logging.getLogger(__name__)


class Client(Protocol):
    """The part of `outbound.client.HttpClient` that is needed here."""

    def send(
        self,
        method: str,
        url: str,
        *,
        deadline: Deadline,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = ...,
    ) -> Answer:
        """One exchange; raises OutboundError only."""
        ...

    def close(self) -> None:
        """End what is under way."""
        ...


class _NoLoads(Exception):
    """Prometheus did not tell the loads; `str()` says why."""


class _Told(NamedTuple):
    at: float
    loads: Mapping[str, float]


class IoLoads:
    """The loads. One thread refreshes them; any thread reads them, without a lock and without waiting.

    It is a `federation.replica.Follower` of what another worker was told.

    Args:
        client: Asks, and belongs to this object.
        prometheus_url: Where; empty if there is no Prometheus: then no load is ever known.
        publish: Told what Prometheus told.
        clock: Monotonic seconds.
        wall: Unix seconds, for the age of what another worker was told.
    """

    def __init__(
        self,
        client: Client,
        prometheus_url: str,
        *,
        publish: Publish = tell_nobody,
        clock: Clock = monotonic,
        wall: WallClock = wall,
    ) -> None:
        self._client = client
        self._url = f"{prometheus_url.rstrip('/')}/api/v1/query?query={quote(QUERY, safe='')}"
        self._publish = publish
        self._clock = clock
        self._wall = wall
        self._told = _Told(-math.inf, {})
        self._complaint = ""  # touched by `refresh` only

    def of(self, data_url: str) -> float | None:
        """Storage operations per second at the server with this data URL, 0 or more; None if that is not known."""
        told = self._told
        load = told.loads.get(_key(data_url))
        return None if load is None or self._clock() - told.at > FORGOTTEN_S else load

    def refresh(self, deadline: Deadline) -> bool:
        """Ask Prometheus; keep what it said before if it does not tell, which is logged once. Whether it told."""
        try:
            loads = dict(_loads(self._ask(deadline)))
        except _NoLoads as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                log.warning("how busy servers are is unknown (Monitoring.PrometheusUrl): %s", error)
            return False
        if self._complaint:
            self._complaint = ""
            log.info("Prometheus tells again how busy servers are")
        self._told = _Told(self._clock(), loads)
        self._publish(KIND, "", lambda: json.dumps(loads).encode(), lifetime_s=FORGOTTEN_S, token=None)
        return True

    def took(self, record: Record) -> None:
        """Another worker was told them. What is older than what this one was told last is not heeded."""
        remaining_s = record.remaining_s(self._wall())
        if remaining_s <= 0:
            return
        told_at = self._clock() - (FORGOTTEN_S - remaining_s)
        try:
            loads = _shared(json.loads(record.body))
        except (ValueError, RecursionError) as error:
            log.debug("loads of another version, or broken: %s", error)
            return
        if told_at >= self._told.at:
            self._told = _Told(told_at, loads)

    def renewed(self, renewal: Renewal) -> None:
        """Nothing: each answer is told anew."""

    def dropped(self, key: str) -> None:
        """Nothing: what was told is forgotten by its age."""

    def close(self) -> None:
        """End a question under way. Does not wait."""
        self._client.close()

    def _ask(self, deadline: Deadline) -> list[Any]:
        """The elements of Prometheus' answer, whatever they are.

        Raises:
            _NoLoads: There is none, or it is no vector.
        """
        try:
            answer = self._client.send(
                "GET",
                self._url,
                deadline=deadline,
                headers={"Accept": "application/json"},
                max_bytes=MAX_ANSWER_BYTES,
            )
        except OutboundError as error:
            raise _NoLoads(f"it could not be asked ({error.failure.value})") from None
        if answer.status != HTTPStatus.OK:
            raise _NoLoads(f"it answered {answer.status}")
        try:
            data = json.loads(answer.body)["data"]
            kind, result = data["resultType"], data["result"]
        except (ValueError, RecursionError, KeyError, TypeError, IndexError):
            raise _NoLoads("it answered something else than a Prometheus does") from None
        if kind != "vector" or not isinstance(result, list):
            raise _NoLoads("it answered with something else than a vector")
        return result


def _loads(elements: list[Any]) -> Iterator[tuple[str, float]]:
    """Server and load of each element that has both. Of several for one server the busiest counts: it comes last."""
    told = [(_key(one["metric"]["server_url"]), _number(one["value"][1])) for one in elements if _is_sample(one)]
    yield from sorted(((url, load) for url, load in told if load is not None), key=lambda row: row[1])


def _shared(told: Any) -> Mapping[str, float]:
    """What another worker was told.

    Raises:
        ValueError: This is nothing that a worker tells.
    """
    if not isinstance(told, dict) or not all(type(load) is float and 0 <= load < math.inf for load in told.values()):
        raise ValueError("no table of loads")
    return told


def _is_sample(element: Any) -> bool:
    """Whether this is `{"metric": {"server_url": text, …}, "value": [time, text]}`."""
    match element:
        case {"metric": {"server_url": str()}, "value": [_, str()]}:
            return True
    return False


def _number(text: str) -> float | None:
    """A load; None for NaN, infinities, what is negative and what is no number at all."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < math.inf else None


def _key(url: str) -> str:
    return url.rstrip("/")
