"""Laws of the poll of downtimes: a registry that lies, is silent or speaks nonsense ends no downtime and begins none."""

import pytest

from director_wsgi.federation.filters import FilterReason, Filters
from director_wsgi.limits.deadline import Deadline
from director_wsgi.trust.downtimes import RegistryDowntimes
from director_wsgi.trust.registry import Registry
from tests.fakes import FakeClock
from tests.unit.trust.forge import NOW
from tests.unit.trust.registries import URL, FakeRegistry, answer

PATH = "/api/v1.0/downtime"


def entry(name: str, **more: object) -> dict[str, object]:
    return {"id": f"d-{name}", "serverName": name, "startTime": int(NOW - 60) * 1000, "endTime": -1, **more}


class House:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.registry = FakeRegistry()
        self.filters = Filters(wall=FakeClock(NOW))
        self.downtimes = RegistryDowntimes(Registry(self.registry, URL), self.filters, clock=self.clock)

    def refresh(self) -> bool:
        return self.downtimes.refresh(Deadline.after(5, self.clock))


@pytest.fixture
def house() -> House:
    return House()


def test_what_the_registry_announces_acts_until_it_announces_it_no_more(house: House) -> None:
    house.registry.downtimes = [entry("O"), entry("P", endTime=int(NOW - 30) * 1000)]
    assert house.refresh()
    assert [(method, path) for method, path, _ in house.registry.asked] == [("GET", PATH)]
    assert house.filters.names() == {"O"}
    assert house.filters.reason("O") is FilterReason.REGISTRY
    house.registry.downtimes = []
    assert house.refresh()
    assert house.filters.names() == frozenset()


@pytest.mark.parametrize(
    "told",
    [
        answer(500),
        answer(404),
        answer(200, {"downtimes": []}),
        answer(200, None),
        answer(body=b"<html>a proxy's own page</html>"),
        answer(body=b"[" * 100_000),
        answer(200, [{}] * 20_001),
    ],
    ids=["500", "404", "object", "null", "HTML", "nested", "endless"],
)
def test_what_is_no_list_changes_nothing(house: House, told: object) -> None:
    house.registry.downtimes = [entry("O")]
    house.refresh()
    house.registry.overrides[PATH] = told  # type: ignore[assignment]
    assert not house.refresh()
    assert house.filters.names() == {"O"}


def test_an_hour_of_silence_changes_nothing_and_is_logged_once(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.registry.downtimes = [entry("O")]
    house.refresh()
    house.registry.is_away = True
    for _ in range(60):
        house.clock.advance(60)
        assert not house.refresh()
    assert house.filters.names() == {"O"}
    assert caplog.text.count("cannot refresh downtimes") == 1


def test_entries_that_cannot_be_read_are_left_out_and_logged_when_they_become_more(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.registry.downtimes = [entry("P", startTime="soon"), entry("O"), 7]
    house.refresh()
    house.refresh()
    assert house.filters.names() == {"O"}
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "2 of the registry's downtimes cannot be read and are not heeded"
    ]
    house.registry.downtimes = []
    house.refresh()
    house.registry.downtimes = [7]
    house.refresh()
    assert "1 of the registry's downtimes" in caplog.text


def test_it_is_asked_again_soon_while_it_has_never_answered(house: House) -> None:
    house.registry.is_away = True
    house.refresh()
    assert house.downtimes.next_refresh_in_s(60) == 1
    house.registry.is_away = False
    house.refresh()
    assert house.downtimes.next_refresh_in_s(60) == 60
