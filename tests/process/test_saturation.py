"""`director-wsgi demo saturation`: the issue is there in the one design, and is not in the other."""

from pathlib import Path

import pytest

from director_wsgi.demo.contender import Contender
from director_wsgi.demo.director import DirectorFailedError
from director_wsgi.demo.interruption import Signals
from director_wsgi.demo.saturation import compare
from director_wsgi.demo.scene import SICK, Plan, holder
from director_wsgi.demo.verdict import AFTER, BEFORE, DURING, NORMAL_S, quantile
from director_wsgi.limits.deadline import Deadline
from tests.process.plays import LIMIT_S, ended_by_ctrl_c


@pytest.mark.slow
def test_a_hung_origin_stops_the_failing_design_for_everybody_and_the_director_for_nobody(tmp_path: Path) -> None:
    plan = Plan(warm_up_s=1, before_s=1, hang_s=6, after_s=5, threads=16, slots=8, rate_per_s=10)
    with Signals() as signals:
        failing, director = compare(plan, tmp_path, signals)

    for design in (failing, director):
        assert all(answer.is_served for answer in design.of_phase(BEFORE))

    # The issue: those that need nothing of the sick origin wait with those that do, longer than any redirect should.
    untouched = failing.of_phase(DURING, touched=False)
    slow = [answer for answer in untouched if not answer.is_served or answer.outcome.latency_s > NORMAL_S]
    assert len(slow) > len(untouched) / 2
    wrong = [answer for answer in failing.of_phase(DURING) if answer.is_wrong_404]
    assert wrong
    assert {holder(answer.arrival.target) for answer in wrong} == {SICK}
    assert all(answer.is_touched for answer in wrong)

    # The promise.
    assert all(answer.is_served for answer in director.objects)
    assert all(answer.is_served for answer in director.listings_during)
    assert director.share_led_to_holder(DURING) == 1
    assert director.share_led_to_holder(AFTER) == 1
    for touched in (False, True):
        worst = quantile(director.of_phase(DURING, touched=touched), 0.99)
        assert worst is not None
        assert worst < (quantile(failing.of_phase(DURING, touched=touched), 0.99) or 0)
    assert director.asked_again_s is not None
    assert director.asked_again_s >= 0


def test_ctrl_c_ends_everything_and_leaves_nothing(tmp_path: Path) -> None:
    processes = ended_by_ctrl_c(
        tmp_path,
        "saturation",
        "--out",
        "picture.svg",
        until="all is well",
        environ={"PELICAN_DIRECTOR_STATTIMEOUT": "nonsense"},
    )
    assert processes >= 4  # itself, gunicorn's two, the load


def test_a_gunicorn_that_does_not_come_up_is_told_with_its_last_words(tmp_path: Path) -> None:
    environment = {"PELICAN_SERVER_EXTERNALWEBURL": "https://director.example.org"}
    with (
        Contender("director_wsgi.demo.prefilled:application", tmp_path, environment) as contender,
        pytest.raises(DirectorFailedError, match=r"(?s)does not come up.*Federation.RegistryUrl"),
    ):
        contender.wait_until_ready(Deadline.after(LIMIT_S))
