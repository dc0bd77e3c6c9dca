"""The soak, short: what grows, grows in a minute as well, if only a little; `make soak` is the long one."""

from pathlib import Path

import pytest

from tests.process.soak import CYCLE_S, soak

SHORT_S = CYCLE_S
LONG_S = 60.0


def test_with_a_third_of_the_servers_misbehaving_no_answer_is_wrong(tmp_path: Path) -> None:
    result = soak(SHORT_S, tmp_path)
    assert result.complaints_at_any_length() == [], result.table()
    assert result.decided > 100
    assert result.answers["origin /calm: 404"] > 10


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_with_a_third_of_the_servers_misbehaving_nothing_grows_and_no_answer_is_wrong(tmp_path: Path) -> None:
    assert LONG_S >= 5 * CYCLE_S, "each fifth has to see every fault"
    result = soak(LONG_S, tmp_path)
    assert result.complaints() == [], result.table()
    assert len(result.samples) > 50
    assert result.decided > 500
    assert result.answers["origin /calm: 404"] > 50
