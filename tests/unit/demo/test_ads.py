from dataclasses import replace

import jwt
import pytest

from director_wsgi.demo.ads import AdBuilder, Advertised, Kind, timestamp, url_object
from director_wsgi.demo.samples import PROTECTED, PUBLIC, SCRATCH
from director_wsgi.demo.tokens import SigningKey
from tests.fakes import FakeClock

URL = "https://localhost:4711"


@pytest.fixture
def origin(wall: FakeClock) -> AdBuilder:
    said = Advertised(
        kind=Kind.ORIGIN,
        name="O1",
        url=URL,
        registry_prefix="/origins/localhost:4711",
        key=SigningKey(),
        exports=(PUBLIC, SCRATCH, PROTECTED),
        place=(43.07, -89.4),
    )
    return AdBuilder(said, now=wall)


@pytest.fixture
def cache(wall: FakeClock) -> AdBuilder:
    said = Advertised(kind=Kind.CACHE, name="C1", url=URL, registry_prefix="/caches/C1", key=SigningKey())
    return AdBuilder(said, now=wall)


def test_times_have_nine_digits_and_a_zone(origin: AdBuilder) -> None:
    assert timestamp(1_767_225_600.25) == "2026-01-01T00:00:00.250000000Z"
    ad = origin.ad()
    assert (ad["now"], ad["expiry"]) == ("2026-01-01T00:00:00.000000000Z", "2026-01-01T00:10:00.000000000Z")


def test_issuers_are_objects_as_go_writes_urls(origin: AdBuilder) -> None:
    issuer = url_object(URL)
    assert (issuer["Scheme"], issuer["Host"], issuer["User"], len(issuer)) == ("https", "localhost:4711", None, 11)
    for namespace in origin.ad()["namespaces"]:
        assert namespace["token-issuer"][0]["issuer"] == issuer
        assert namespace["token-generation"][0]["issuer"] == issuer


def test_an_origin_says_what_its_namespaces_allow_and_never_that_it_is_public_itself(origin: AdBuilder) -> None:
    ad = origin.ad()
    assert {one["path"]: (one["Caps"]["PublicRead"], one["Caps"]["Write"]) for one in ad["namespaces"]} == {
        "/public": (True, False),
        "/scratch": (True, True),
        "/protected": (False, False),
    }
    assert ad["capabilities"] == {
        "PublicRead": False,
        "Read": True,
        "Write": True,
        "Listing": True,
        "FallBackRead": True,
        "Copies": False,
    }
    assert ad["coordinate"]["Source"] == "declared"


def test_a_cache_repeats_what_was_listed_and_allows_nothing_itself(cache: AdBuilder) -> None:
    listed = [{"path": "/ns", "Caps": {}, "anything": [1, None]}]
    ad = cache.ad(listed)
    assert ad["namespaces"] == listed
    assert not any(ad["capabilities"].values())
    assert (ad["token-issuer"], ad["requiredFeatures"], ad["storageType"]) == (None, None, "")
    assert "coordinate" not in ad


def test_only_who_does_not_understand_tests_asks_for_none(origin: AdBuilder) -> None:
    assert origin.ad()["directorTest"] is False
    assert AdBuilder(replace(origin.server, takes_tests=False)).ad()["directorTest"] is True


def test_every_advertisement_is_the_next_generation_of_one_instance(origin: AdBuilder, wall: FakeClock) -> None:
    first = origin.ad()
    wall.advance(20.0)
    second = origin.ad(status="shutting down")
    assert (first["generationID"], second["generationID"]) == (2, 3)
    assert (first["instanceID"], first["startTime"]) == (second["instanceID"], second["startTime"])
    assert (first["status"], second["status"]) == ("ok", "shutting down")


def test_the_token_is_for_one_director_and_one_minute(origin: AdBuilder, wall: FakeClock) -> None:
    claims = jwt.decode(origin.token("https://director:8444"), options={"verify_signature": False})
    assert claims["aud"] == ["https://director:8444"]
    assert (claims["scope"], claims["iss"], claims["sub"]) == ("pelican.advertise", URL, URL)
    assert (claims["nbf"] - wall.now, claims["exp"] - wall.now) == (0, 60)
