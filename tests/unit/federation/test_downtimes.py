"""Laws of downtimes: how they are read, and when they are active."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.errors import InvalidAd
from director_wsgi.federation.ads import parse_ad
from director_wsgi.federation.downtimes import (
    MAX_OF_ONE_SERVER,
    MAX_OF_REGISTRY,
    OPEN_END,
    Downtime,
    downtimes_of_registry,
)
from director_wsgi.federation.models import ServerKind
from director_wsgi.federation.wire import MAX_TEXT

WIRE: dict[str, Any] = {
    "id": "5f0c8f6e-7f5c-4a8e-9a38-f7f4a2a5d0b1",
    "serverName": "ORIGIN_1",
    "serverId": "a1b2c3d",
    "createdBy": "admin",
    "updatedBy": "someone else",
    "source": "origin",
    "class": "SCHEDULED",
    "description": "a new rack\nand a new roof",
    "severity": "Outage (completely inaccessible)",
    "startTime": 1_767_225_600_000,
    "endTime": 1_767_229_200_000,
    "createdAt": 1_767_000_000_123,
    "updatedAt": 1_767_000_000_456,
    "deletedAt": None,
}


def read(*downtimes: object) -> tuple[Downtime, ...]:
    body = json.dumps({"data-url": "https://o", "downtimes": list(downtimes)}).encode()
    return parse_ad(body, ServerKind.ORIGIN).ad.downtimes


def test_what_is_listed_is_what_was_sent() -> None:
    (downtime,) = read(WIRE)
    assert downtime.wire() == WIRE
    assert list(downtime.wire()) == list(WIRE)
    (deleted,) = read(WIRE | {"deletedAt": 0})
    assert deleted.wire()["deletedAt"] == 0


@pytest.mark.parametrize("body", [b'{"data-url":"https://o"}', b'{"data-url":"https://o","downtimes":null}'])
def test_an_advertisement_need_not_speak_of_downtimes(body: bytes) -> None:
    assert parse_ad(body, ServerKind.CACHE).ad.downtimes == ()


def test_nulls_and_unknown_keys_and_keys_in_another_case_are_read_as_go_does() -> None:
    (one, other, nothing) = read(dict.fromkeys(WIRE) | {"future": [1]}, {"STARTTIME": 7}, None)
    assert one == Downtime() == nothing
    assert other == Downtime(starts_at_ms=7)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"startTime": "2026-01-01T00:00:00Z"}, "cannot unmarshal string into Go struct field"),
        ({"endTime": 1.5e12}, "Downtime.downtimes.endTime of type int64"),
        ({"endTime": 1 << 63}, "of type int64"),
        ({"description": 7}, "Downtime.downtimes.description of type string"),
        ({"serverName": "a\nb"}, "contains control characters"),
        ({"id": "x" * (MAX_TEXT + 1)}, "is longer than"),
    ],
)
def test_a_wrong_type_refuses_the_whole_advertisement(change: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidAd, match=told):
        read(WIRE | change)


@pytest.mark.parametrize("value", ["soon", {}, [7], ["x"], [[]]])
def test_what_is_no_list_of_objects_refuses_it_too(value: object) -> None:
    with pytest.raises(InvalidAd, match="cannot unmarshal"):
        parse_ad(json.dumps({"data-url": "https://o", "downtimes": value}).encode(), ServerKind.ORIGIN)


def test_what_people_wrote_is_cut_and_made_encodable_and_refuses_nothing() -> None:
    (downtime,) = read(WIRE | {"description": "a\r\n\t\ud800" + "x" * MAX_TEXT})
    assert downtime.description == "a\r\n\t\ufffd" + "x" * (MAX_TEXT - 5)


def test_one_server_has_at_most_so_many() -> None:
    found = read(*[WIRE | {"id": str(number)} for number in range(MAX_OF_ONE_SERVER + 1)])
    assert [downtime.id for downtime in found] == [str(number) for number in range(MAX_OF_ONE_SERVER)]


def test_one_bad_entry_of_the_registry_spoils_no_other() -> None:
    found, unreadable = downtimes_of_registry([None, WIRE, 7, WIRE | {"endTime": "x"}, {"id": "b"}, {"ID": 1}])
    assert [downtime.id for downtime in found] == [WIRE["id"], "b"]
    assert unreadable == 4


def test_the_registry_has_at_most_so_many() -> None:
    found, unreadable = downtimes_of_registry([{}] * (MAX_OF_REGISTRY + 7))
    assert (len(found), unreadable) == (MAX_OF_REGISTRY, 0)


@pytest.mark.parametrize(
    ("start", "end", "now_s", "is_active"),
    [
        (5_000, 8_000, 4.9999, False),
        (5_000, 8_000, 5, True),
        (5_000, 8_000, 8.0005, True),  # the last millisecond belongs to it
        (5_000, 8_000, 8.0015, False),
        (5_000, OPEN_END, 4, False),  # open at its end, not at its beginning
        (5_000, OPEN_END, 1e11, True),
        (8_000, 5_000, 6, False),
        (0, 0, 6, False),
    ],
)
def test_it_is_active_from_its_first_to_its_last_millisecond(
    start: int, end: int, now_s: float, is_active: bool
) -> None:
    assert Downtime(starts_at_ms=start, ends_at_ms=end).is_active(now_s) is is_active


instants = st.integers(-5, 20)


@given(instants, instants | st.just(OPEN_END), st.integers(-6, 22))
def test_nothing_changes_between_two_edges(start: int, end: int, now_ms: int) -> None:
    downtime = Downtime(starts_at_ms=start, ends_at_ms=end)
    if now_ms + 1 not in downtime.edges_ms():
        assert downtime.is_active(now_ms / 1000) == downtime.is_active((now_ms + 1) / 1000)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=10))
def test_nothing_a_registry_sends_raises(value: object) -> None:
    downtimes_of_registry([value, {"startTime": value, "description": value}])
