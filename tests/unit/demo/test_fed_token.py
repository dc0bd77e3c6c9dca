import pytest

from director_wsgi.demo.fed_token import LEAST_S, NoTokenError, refresh_in_s
from director_wsgi.demo.tokens import SigningKey


@pytest.mark.parametrize(("lifetime_s", "wait_s"), [(900, 300), (1800, 600), (180, LEAST_S), (60, LEAST_S)])
def test_a_token_is_fetched_anew_at_a_third_of_its_life_but_not_within_a_minute(
    lifetime_s: float, wait_s: float
) -> None:
    token = SigningKey().sign(issuer="i", subject="s", audience=["a"], scope="x", lifetime_s=lifetime_s)
    assert refresh_in_s(token) == wait_s


@pytest.mark.parametrize("token", ["", "x", "a.b.c"])
def test_what_is_no_token_says_so(token: str) -> None:
    with pytest.raises(NoTokenError):
        refresh_in_s(token)
