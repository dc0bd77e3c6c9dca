from director_wsgi.federation.directors import Directors
from tests.fakes import FakeClock


def directors(clock: FakeClock, wall: FakeClock, started_at: float | None = None) -> Directors:
    return Directors(
        name="d1",
        advertise_url="https://director.example.org",
        version="7.20.0",
        lifetime_s=600.0,
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
        clock.advance(250)
    assert generations == [2, 3, 4, 5, 6]
