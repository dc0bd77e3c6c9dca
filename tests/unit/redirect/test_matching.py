"""Who may serve what."""

import pytest

from director_wsgi.federation.directory import Directory
from director_wsgi.federation.models import Capabilities, ServerAd
from director_wsgi.redirect.matching import Match, Need, match, needs, supports
from tests.fakes import FakeClock
from tests.make import ALL, READS, asks, cache, namespace, origin


def matched(*ads: ServerAd, need: Need = Need.READS, filter_errors: bool = True) -> Match:
    directory = Directory(clock=FakeClock())
    for ad in ads:
        directory.record(ad, 60)
    entry = directory.snapshot().match("/x")
    assert entry is not None
    return match(entry, need, filter_errors=filter_errors)


def capable(found: Match) -> list[str]:
    return [server.name for server in found.caches.capable]


@pytest.mark.parametrize(
    ("method", "more", "need"),
    [
        ("GET", {}, Need.READS),
        ("HEAD", {}, Need.READS),
        ("PUT", {}, Need.WRITES),
        ("DELETE", {}, Need.WRITES),
        ("COPY", {}, Need.COPIES),
        ("PROPFIND", {}, Need.READS),
        ("PROPFIND", {"depth": ""}, Need.READS),
        ("PROPFIND", {"depth": "0"}, Need.READS),
        ("PROPFIND", {"depth": "1"}, Need.LISTINGS),
        ("PROPFIND", {"depth": "00"}, Need.LISTINGS),
        ("PROPFIND", {"depth": "infinity"}, Need.LISTINGS),
        ("GET", {"direct_read": True}, Need.READS | Need.DIRECT_READS),
        ("GET", {"recursive": True}, Need.READS | Need.LISTINGS),
        ("POST", {}, Need.IMPOSSIBLE),
    ],
)
def test_what_a_request_needs(method: str, more: dict[str, object], need: Need) -> None:
    assert needs(asks("/x", method, **more)) == need


@pytest.mark.parametrize(
    ("need", "flag"),
    [
        (Need.READS, "reads"),
        (Need.READS, "public_reads"),
        (Need.WRITES, "writes"),
        (Need.COPIES, "copies"),
        (Need.LISTINGS, "listings"),
        (Need.DIRECT_READS, "direct_reads"),
    ],
)
def test_a_capability_holds_only_where_server_and_namespace_both_have_it(need: Need, flag: str) -> None:
    only = Capabilities(**{flag: True})
    both = origin("A", namespace("/x", only), capabilities=only)
    server_only = origin("B", namespace("/x", Capabilities()), capabilities=only)
    namespace_only = origin("C", namespace("/x", only), capabilities=Capabilities())

    found = matched(both, server_only, namespace_only, need=need)

    assert [source.server.name for source in found.origins] == ["A"]


def test_reads_on_one_side_and_public_reads_on_the_other_do_not_add_up() -> None:
    found = matched(origin("A", namespace("/x", READS), capabilities=Capabilities(public_reads=True)))
    assert not found.origins.members


def test_nobody_can_do_the_impossible() -> None:
    assert not matched(origin("A", "/x", capabilities=ALL), need=Need.IMPOSSIBLE).origins.members


@pytest.mark.parametrize("status", ["critical", "shutting down"])
def test_a_cache_in_an_error_state_is_left_out_unless_the_operator_says_otherwise(status: str) -> None:
    ads = (origin("O", "/x"), cache("C", "/x", status=status), cache("D", "/x", status="degraded"))
    assert capable(matched(*ads)) == ["D"]
    assert capable(matched(*ads, filter_errors=False)) == ["C", "D"]


def test_required_features_are_those_of_all_origins_and_a_doubtful_cache_comes_last() -> None:
    found = matched(
        origin("O", "/x"),
        origin("P", "/x", required_features=("CacheAuthz", "Unheard-of")),
        cache("NEW", "/x", version="7.16.0"),
        cache("OLD", "/x", version="7.15.9"),
        cache("ODD", "/x", version="unknown"),
    )
    assert capable(found) == ["NEW"]
    assert [server.name for server in found.caches.doubtful] == ["ODD"]


@pytest.mark.parametrize(
    ("version", "answer"),
    [("7.16.0", True), ("v7.16.0-rc.1", True), ("8.0", True), ("7.15.99", False), ("dev", None), ("", None)],
)
def test_a_version_tells_what_a_server_can_do(version: str, answer: bool | None) -> None:
    assert supports(version, "CacheAuthz") is answer


def test_a_feature_nobody_knows_leaves_no_cache_out() -> None:
    assert supports("1.0.0", "Telepathy") is True
