"""The scene, the verdict and the command line of `demo saturation`; what it does is in `tests/process`."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import requests

from director_wsgi.demo import command, naive
from director_wsgi.demo.figure import draw
from director_wsgi.demo.openloop import CUT_OFF, TIMED_OUT, Outcome
from director_wsgi.demo.prefilled import fill
from director_wsgi.demo.scene import (
    CLIENT_TIMEOUT_S,
    LISTING,
    NAMESPACES,
    ORIGIN_ENDPOINT,
    ORIGINS,
    SICK,
    TOUCHED,
    Arrival,
    Plan,
    arrivals,
    base_urls,
    holder,
    is_touched,
    written_ports,
)
from director_wsgi.demo.verdict import AFTER, BEFORE, DURING, Answered, Run, duration, quantile, table
from director_wsgi.federation.directory import Directory
from tests.fakes import FakeClock

PLAN = Plan(warm_up_s=1, before_s=2, hang_s=3, after_s=4, rate_per_s=10, listings_per_s=2)
PORTS = [1001, 1002, 1003, 1004]
SERVED = Outcome(307, 0.01, location="http://127.0.0.1:1001/x")
GAVE_UP = Outcome(0, CLIENT_TIMEOUT_S, failure=TIMED_OUT)
WRONG = Outcome(404, 0.01)


def run(became: Callable[[Arrival], Outcome]) -> Run:
    return Run(
        name="d",
        plan=PLAN,
        ports=PORTS,
        answers=[Answered(arrival, became(arrival)) for arrival in arrivals(PLAN)],
        threads=[(0.0, 3), (1.0, 9), (2.0, 5)],
        asked_again_s=0.5,
    )


class TestScene:
    def test_the_same_plan_is_the_same_load(self) -> None:
        assert arrivals(PLAN) == arrivals(PLAN)

    def test_every_source_has_its_rate_and_all_of_it_is_in_order(self) -> None:
        made = arrivals(PLAN)
        assert [a.at_s for a in made] == sorted(a.at_s for a in made)
        assert made[0].at_s >= 0
        assert made[-1].at_s < PLAN.ends_at
        counted = Counter(a.target.removeprefix(ORIGIN_ENDPOINT).split("/")[1] for a in made if a.target != LISTING)
        assert counted == {prefix[1:]: 100 for prefix in NAMESPACES}
        assert sum(a.target == LISTING for a in made) == 20

    def test_no_object_is_asked_for_twice(self) -> None:
        objects = [a.target for a in arrivals(PLAN) if a.target != LISTING]
        assert len(set(objects)) == len(objects)

    def test_half_of_a_namespaces_objects_are_at_each_of_its_origins(self) -> None:
        held = Counter(holder(a.target) for a in arrivals(PLAN) if is_touched(a.target))
        assert held == dict.fromkeys(NAMESPACES[TOUCHED], 50)

    def test_only_one_namespace_is_touched(self) -> None:
        assert [prefix for prefix, origins in NAMESPACES.items() if SICK in origins] == [TOUCHED]

    def test_what_is_no_object_has_no_holder(self) -> None:
        with pytest.raises(ValueError, match="no object"):
            holder(LISTING)

    def test_ports_survive_the_environment(self) -> None:
        assert base_urls(written_ports([1, 2])) == ["http://127.0.0.1:1", "http://127.0.0.1:2"]


class TestVerdict:
    def test_a_quantile_is_the_latency_of_a_request(self) -> None:
        answers = [Answered(Arrival(0, "/x"), Outcome(307, n / 100)) for n in range(1, 101)]
        assert quantile(answers, 0.5) == 0.5
        assert quantile(answers, 0.99) == 0.99
        assert quantile(answers, 1) == 1
        assert quantile([], 0.5) is None

    @pytest.mark.parametrize("outcome", [GAVE_UP, Outcome(0, 0.001, failure=CUT_OFF), Outcome(503, 0.001)])
    def test_who_got_no_answer_has_waited_as_long_as_a_client_does(self, outcome: Outcome) -> None:
        assert quantile([Answered(Arrival(0, "/x"), outcome)], 0.99) == CLIENT_TIMEOUT_S

    def test_the_warm_up_is_not_judged_and_every_other_request_belongs_to_one_phase(self) -> None:
        seen = run(lambda _: SERVED)
        assert [len(seen.of_phase(phase)) for phase in (BEFORE, DURING, AFTER)] == [80, 120, 160]
        assert len(seen.objects) == 360
        assert len(seen.of_phase(DURING, touched=True)) == 30
        assert len(seen.of_phase(DURING, touched=False)) == 90
        assert len(seen.listings_during) == 6

    def test_it_is_well_again_after_the_last_request_that_was_not_served_in_time(self) -> None:
        last = 7.0
        seen = run(lambda arrival: GAVE_UP if PLAN.hangs_at < arrival.at_s <= last else SERVED)
        assert seen.recovered_s is not None
        assert last - PLAN.heals_at - 0.1 < seen.recovered_s <= last - PLAN.heals_at

    @pytest.mark.parametrize("outcome", [GAVE_UP, WRONG, Outcome(307, 1.5)])
    def test_it_is_never_well_again_if_the_last_requests_are_not(self, outcome: Outcome) -> None:
        assert run(lambda arrival: outcome if arrival.at_s > PLAN.ends_at - 0.5 else SERVED).recovered_s is None

    def test_it_has_nothing_to_recover_from_if_all_is_served(self) -> None:
        assert run(lambda arrival: GAVE_UP if arrival.at_s < PLAN.heals_at - 0.1 else SERVED).recovered_s == 0

    def test_a_redirect_leads_to_the_holder_or_it_does_not(self) -> None:
        told = run(lambda _: SERVED)
        objects = told.of_phase(DURING)
        assert told.share_led_to_holder(DURING) == sum(holder(a.arrival.target) == 0 for a in objects) / len(objects)
        assert run(lambda _: WRONG).share_led_to_holder(DURING) == 0

    @pytest.mark.parametrize(
        ("seconds", "words"), [(None, "-"), (0.0042, "4 ms"), (0.9, "900 ms"), (1.04, "1.0 s"), (10.0, ">10 s")]
    )
    def test_durations_are_written_for_people(self, seconds: float | None, words: str) -> None:
        assert duration(seconds) == words

    def test_the_table_counts_what_became_of_every_object(self) -> None:
        def became(arrival: Arrival) -> Outcome:
            if arrival.target == LISTING:
                return Outcome(200, 0.01)
            is_hanging = PLAN.hangs_at <= arrival.at_s < PLAN.heals_at
            return (WRONG if holder(arrival.target) == SICK else GAVE_UP) if is_hanging else SERVED

        written = table([run(became), run(lambda _: Outcome(500, 0.01))])
        cells = {line[:36].strip(): line[36:].split() for line in written.splitlines()[1:]}
        assert cells["objects asked for"] == ["360", "360"]
        assert cells["served"] == ["240", "0"]
        assert cells["wrong 404"] == ["15", "0"]
        assert cells["timed out"] == ["105", "0"]
        assert cells["other errors"] == ["0", "360"]
        assert cells["threads at the peak"] == ["9", "9"]
        assert "6 of 6" in written
        assert "not in 4 s" in written


def test_the_picture_has_two_panels_and_both_designs_in_each() -> None:
    seen = run(lambda arrival: GAVE_UP if is_touched(arrival.target) else SERVED)
    first, second = "#123456", "#abcdef"
    document = ET.fromstring(draw([seen, seen], [first, second]))
    lines = list(document.iter("{http://www.w3.org/2000/svg}polyline"))
    colours = [line.attrib["stroke"] for line in lines]
    assert colours == [first, first, second, second, first, second]
    assert ["stroke-dasharray" in line.attrib for line in lines] == [False, True, False, True, False, False]


def test_every_namespace_of_the_scene_is_in_the_directory() -> None:
    directory = Directory(clock=FakeClock(), capacity=10)
    urls = base_urls(written_ports(PORTS))
    fill(directory, urls)
    for prefix, origins in NAMESPACES.items():
        entry = directory.snapshot().match(f"{prefix}/x")
        assert entry is not None
        assert {
            server.base_url
            for server in directory.snapshot().servers.values()
            if prefix in {namespace.path for namespace in server.namespaces}
        } == {urls[n] for n in origins}
    assert len(directory.snapshot().servers) == ORIGINS


class TestNaive:
    """It is what it says it is: if it were mended, the comparison would show nothing."""

    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, str], float]]:
        calls: list[tuple[str, dict[str, str], float]] = []

        def head(self: requests.Session, url: str, *, headers: dict[str, str], timeout: float) -> requests.Response:
            calls.append((url, headers, timeout))
            if url.startswith("http://127.0.0.1:1001/"):
                raise requests.ReadTimeout
            answer = requests.Response()
            answer.status_code = 200 if holder(url) == 1 else 404
            return answer

        monkeypatch.setattr(requests.Session, "head", head)
        return calls

    @staticmethod
    def ask(which: int) -> "tuple[int, str | None]":
        app = naive.create_app(base_urls(written_ports(PORTS)), slots=2)
        answer = app.test_client().get(f"{ORIGIN_ENDPOINT}{TOUCHED}/held-by-{which}/1.dat")
        return answer.status_code, answer.headers.get("Location")

    def test_it_sends_to_the_server_that_has_the_object(self, asked: list[object]) -> None:
        assert self.ask(1) == (307, f"http://127.0.0.1:1002{TOUCHED}/held-by-1/1.dat")

    def test_it_asks_a_server_that_fails_once_more_without_the_digest(
        self, asked: list[tuple[str, dict[str, str], float]]
    ) -> None:
        self.ask(1)
        sick = [(headers, timeout) for url, headers, timeout in asked if ":1001/" in url]
        assert sick == [({"Want-Digest": "crc32c"}, 2.0), ({}, 2.0)]

    def test_it_takes_silence_for_absence(self, asked: list[object]) -> None:
        status, _ = self.ask(SICK)
        assert status == 404

    def test_it_remembers_what_a_server_said_and_gives_its_slot_back(self, asked: list[object]) -> None:
        app = naive.create_app(base_urls(written_ports(PORTS)), slots=1)
        client = app.test_client()
        for _ in range(3):  # with one slot lost, the second would never be answered
            assert client.get(f"{ORIGIN_ENDPOINT}/physics/held-by-2/1.dat").status_code == 404
        assert len(asked) == 2

    def test_its_listing_asks_nobody(self, asked: list[object]) -> None:
        app = naive.create_app(base_urls(written_ports(PORTS)), slots=1)
        assert app.test_client().get(LISTING).status_code == 200
        assert asked == []


class TestCommand:
    @pytest.mark.parametrize(
        "words", [("--seconds", "1"), ("--seconds", "x"), ("--slots", "0"), ("--threads", "-1"), ("extra",)]
    )
    def test_what_is_not_understood_is_refused(
        self, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert command.main(["saturation", *words]) == 2
        assert "director-wsgi demo saturation: error: " in capsys.readouterr().err

    def test_help_says_how_long_it_takes_and_where_the_picture_goes(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert command.main(["saturation", "--help"]) == 0
        told = capsys.readouterr().out
        assert "minute and a half" in told
        assert "saturation.svg" in told

    def test_a_folder_that_is_not_there_is_said_before_anything_is_started(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert command.main(["saturation", "--out", str(tmp_path / "none" / "x.svg")]) == 1
        assert str(tmp_path / "none") in capsys.readouterr().err
