import datetime as dt

from director_wsgi.federation.directors import Directors
from tests.fakes import FakeClock


def directors(
    clock: FakeClock,
    wall: FakeClock,
    started_at: float | None = None,
    *,
    advertise_url: str = "https://director.example.org",
    lifetime_s: float = 600.0,
) -> Directors:
    return Directors(
        name="d1",
        advertise_url=advertise_url,
        version="7.20.0",
        lifetime_s=lifetime_s,
        started_at=started_at,
        clock=clock,
        wall_clock=wall,
    )


def test_a_director_is_as_old_as_its_first_start(clock: FakeClock, wall: FakeClock) -> None:
    (entry,) = directors(clock, wall, started_at=clock.now - 90).listing()
    assert entry["startTime"] == int(wall.now - 90)


def test_a_director_whose_start_nobody_tells_starts_now(clock: FakeClock, wall: FakeClock) -> None:
    (entry,) = directors(clock, wall).listing()
    assert entry["startTime"] == int(wall.now)


def test_an_entry_is_renewed_before_it_expires_and_each_is_the_next_generation(
    clock: FakeClock, wall: FakeClock
) -> None:
    listed = directors(clock, wall)
    generations = []
    for _ in range(5):
        (entry,) = listed.listing()
        generations.append(entry["generationID"])
        assert dt.datetime.fromisoformat(str(entry["expiry"])).timestamp() >= wall.now + 400
        clock.advance(200)
        wall.advance(200)
    assert generations == [2, 3, 4, 5, 6]


def test_every_worker_makes_the_same_entry_at_any_time(clock: FakeClock, wall: FakeClock) -> None:
    first_start = clock.now - 0.25
    first = directors(clock, wall, started_at=first_start)
    for age_s in (1, 333, 200, 0, 1500):
        clock.advance(age_s)
        wall.advance(age_s)
        assert directors(clock, wall, started_at=first_start).listing() == first.listing()


def test_another_start_is_another_instance(clock: FakeClock, wall: FakeClock) -> None:
    starts = (None, None, clock.now - 1, clock.now - 2)
    entries = [directors(clock, wall, started_at=started_at).listing()[0] for started_at in starts]
    assert len({str(entry["instanceID"]) for entry in entries}) == len(starts)


def test_how_a_director_is_stands_in_its_entry_until_nobody_tells_it_any_more(
    clock: FakeClock, wall: FakeClock
) -> None:
    listed = directors(clock, wall)
    health = {"status": "ok"}
    assert "health" not in listed.listing()[0]
    listed.tell_health(health, 30.0)
    clock.advance(29.9)
    (entry,) = listed.listing()
    assert entry["health"] is health
    clock.advance(0.2)
    assert "health" not in listed.listing()[0]


def test_how_it_is_makes_no_new_generation(clock: FakeClock, wall: FakeClock) -> None:
    listed = directors(clock, wall)
    (before,) = listed.listing()
    listed.tell_health({"status": "critical"}, 30.0)
    (after,) = listed.listing()
    assert {**before, "health": {"status": "critical"}} == after


def test_another_url_and_another_lifetime_stand_in_the_next_listing(clock: FakeClock, wall: FakeClock) -> None:
    listed = directors(clock, wall, started_at=clock.now)
    (before,) = listed.listing()
    listed.adopt(advertise_url="https://other.example.org", lifetime_s=60.0)
    (after,) = listed.listing()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"advertise_url", "expiry"}
    assert after["advertise_url"] == "https://other.example.org"
    assert dt.datetime.fromisoformat(str(after["expiry"])).timestamp() == round(wall.now + 60)
    for _ in range(10):
        clock.advance(20)
        wall.advance(20)
        (entry,) = listed.listing()
        assert dt.datetime.fromisoformat(str(entry["expiry"])).timestamp() >= wall.now + 40 - 1


def test_a_worker_that_is_made_later_tells_the_same(clock: FakeClock, wall: FakeClock) -> None:
    first_start = clock.now - 100
    changed = directors(clock, wall, started_at=first_start)
    changed.listing()
    changed.adopt(advertise_url="https://other.example.org", lifetime_s=90.0)
    made = directors(clock, wall, started_at=first_start, advertise_url="https://other.example.org", lifetime_s=90.0)
    assert changed.listing() == made.listing()


def test_with_a_longer_lifetime_the_listing_is_never_empty(clock: FakeClock, wall: FakeClock) -> None:
    listed = directors(clock, wall)
    listed.listing()
    listed.adopt(advertise_url="https://director.example.org", lifetime_s=6000.0)
    for _ in range(20):
        assert len(listed.listing()) == 1
        clock.advance(500.0)
        wall.advance(500.0)


def test_the_same_again_renews_nothing(clock: FakeClock, wall: FakeClock) -> None:
    listed = directors(clock, wall)
    (before,) = listed._table.values() if listed.listing() else ()
    listed.adopt(advertise_url="https://director.example.org", lifetime_s=600.0)
    listed.listing()
    assert list(listed._table.values()) == [before]
    assert listed._table["d1"] is before


def test_how_it_is_outlives_another_url(clock: FakeClock, wall: FakeClock) -> None:
    listed = directors(clock, wall)
    listed.tell_health({"status": "ok"}, 30.0)
    listed.adopt(advertise_url="https://other.example.org", lifetime_s=60.0)
    assert listed.listing()[0]["health"] == {"status": "ok"}
