"""Laws of whom to ask, and that memory is asked the same as servers."""

from __future__ import annotations

from typing import Any

import pytest

from director_wsgi.federation.models import Capabilities, ServerAd
from director_wsgi.redirect import asking
from director_wsgi.redirect.policy import Case
from director_wsgi.redirect.request import Endpoint, Redirection, Token
from director_wsgi.stat.evidence import Evidence
from director_wsgi.stat.patience import Patience
from tests.make import READS, asks, cache, origin
from tests.unit.redirect.federation import ABSENT, PRESENT, Federation, at_origin

TWO = (origin("O1", "/x"), origin("O2", "/x"))
CACHES = (cache("C1", "/x"), cache("C2", "/x"))
TOKEN = Token(value="t", authority="a")
ORIGINS, BOTH, ONLY_CACHES, NOBODY = ["O1", "O2"], ["O1", "O2", "C1", "C2"], ["C1", "C2"], []


def case_of(federation: Federation, **request: Any) -> Case:
    begun = federation.resolver.begin(asks("/x/f", **request))
    assert not isinstance(begun, Redirection)
    return begun


def asked(*ads: ServerAd, request: dict[str, Any] | None = None, **policy: Any) -> list[str]:
    federation = Federation(*ads, **policy)
    found = asking.asked_of(federation.resolver._policy, case_of(federation, **(request or {})))
    return [server.name for server in found]


DEMANDING = origin("O1", "/x", required_features=frozenset({"CacheAuthz"}))
ADAPTIVE = {"cache_sort_method": "adaptive"}


@pytest.mark.parametrize(
    ("expected", "policy", "request_"),
    [
        (ORIGINS, {}, {}),
        (ORIGINS, {}, {"method": "HEAD"}),
        (ORIGINS, {}, {"direct_read": True}),
        (ORIGINS, {}, {"endpoint": Endpoint.ORIGIN}),
        (NOBODY, {}, {"skip_stat": True}),
        (NOBODY, {}, {"method": "PUT", "endpoint": Endpoint.ORIGIN}),
        (NOBODY, {}, {"method": "PROPFIND", "endpoint": Endpoint.ORIGIN}),
        (NOBODY, {"check_origin_presence": False}, {}),
        (BOTH, ADAPTIVE, {}),
        (ORIGINS, ADAPTIVE, {"endpoint": Endpoint.ORIGIN}),
        (ORIGINS, ADAPTIVE, {"direct_read": True}),
        (ORIGINS, ADAPTIVE | {"check_cache_presence": False}, {}),
        (ONLY_CACHES, ADAPTIVE | {"check_origin_presence": False}, {}),
        (NOBODY, ADAPTIVE | {"check_origin_presence": False}, {"direct_read": True}),
        (NOBODY, ADAPTIVE, {"skip_stat": True}),
    ],
)
def test_who_is_asked(expected: list[str], policy: dict[str, Any], request_: dict[str, Any]) -> None:
    assert asked(*TWO, *CACHES, request=request_, **policy) == expected


def test_a_single_origin_is_asked_only_if_it_may_lack_the_object() -> None:
    assert asked(TWO[0], *CACHES) == []
    assert asked(TWO[0], *CACHES, assume_presence_at_single_origin=False) == ["O1"]
    assert asked(TWO[0], *CACHES, **ADAPTIVE) == ["C1", "C2"]


def test_a_cache_without_a_rival_is_not_asked() -> None:
    assert asked(*TWO, CACHES[0], **ADAPTIVE) == ORIGINS


def test_nobody_is_asked_for_what_is_protected_without_a_token() -> None:
    protected = [origin(name, "/x", capabilities=READS) for name in ORIGINS]
    assert asked(*protected) == []
    assert asked(*protected, request={"token": TOKEN}) == ORIGINS
    public = Capabilities(public_reads=True, reads=True)
    assert asked(*[origin(name, "/x", capabilities=public) for name in ORIGINS]) == ORIGINS


class Listens:
    """In place of an engine: remembers what it was asked."""

    def __init__(self, *says: Evidence) -> None:
        self.says = says or None
        self.heard: dict[str, Any] = {}

    def __call__(self, servers: tuple[ServerAd, ...], path: str, **more: Any) -> Any:
        self.heard = {"servers": servers, "path": path, **more}
        return self.says


@pytest.mark.parametrize("token", [None, TOKEN])
@pytest.mark.parametrize("policy", [{}, ADAPTIVE])
def test_memory_is_asked_the_same_as_servers(token: Token | None, policy: dict[str, Any]) -> None:
    federation = Federation(*TWO, *CACHES, **policy)
    case = case_of(federation, token=token)
    servers = asking.asked_of(federation.resolver._policy, case)
    says = (PRESENT, ABSENT, PRESENT, ABSENT)[: len(servers)]
    memory, engine = Listens(*says), Listens(*says)
    told = asking.recall(memory, case, servers)
    assert told == asking.learn(engine, case, servers)
    assert told == dict(zip((server.data_url for server in servers), says, strict=True))
    waits = {name: engine.heard.pop(name) for name in ("deadline", "namespace", "client")}
    assert memory.heard == engine.heard
    assert waits == {"deadline": case.request.deadline, "namespace": "/x", "client": None}
    assert (memory.heard["bearer"], memory.heard["authority"]) == (("t", "a") if token else (None, "public"))
    assert asking.recall(Listens(), case, servers) is None


@pytest.mark.parametrize(
    ("patience", "ads", "policy", "to_origins"),
    [
        (Patience.FIRST, (*TWO, *CACHES), {}, False),
        (Patience.BEST, (*TWO, *CACHES), {}, True),
        (Patience.BEST, (*TWO, *CACHES), ADAPTIVE, False),  # which cache has it is the question
        (Patience.FIRST, (*TWO, CACHES[0]), ADAPTIVE, False),
        (Patience.BEST, TWO, {}, False),  # without a cache it goes to an origin after all
        (Patience.FIRST, (DEMANDING, TWO[1], cache("C", "/x", version="unknown")), {}, False),
    ],
)
def test_one_origin_that_has_it_is_enough_for_whoever_is_sent_to_a_cache(
    patience: Patience, ads: tuple[ServerAd, ...], policy: dict[str, Any], to_origins: bool
) -> None:
    federation = Federation(*ads, **policy)
    begun = federation.resolver.begin(at_origin("/x/f") if to_origins else asks("/x/f"))
    assert not isinstance(begun, Redirection)
    servers = asking.asked_of(federation.resolver._policy, begun)
    memory = Listens(*[PRESENT] * len(servers))
    asking.recall(memory, begun, servers)
    assert memory.heard["patience"] is patience


def test_nothing_is_known_where_nobody_has_to_be_asked_and_that_is_enough() -> None:
    federation = Federation(*TWO, *CACHES)
    assert federation.resolver.recall(case_of(federation, skip_stat=True)) == {}
    assert federation.resolver.learn(case_of(federation, skip_stat=True)) == {}
    assert federation.resolver.recall(case_of(federation)) is None
    assert not federation.ask.asked
