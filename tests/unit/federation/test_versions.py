"""Laws of the version gate."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director_wsgi.federation.versions import parse_user_agent, refusal, settled_version


@pytest.mark.parametrize(
    ("user_agent", "expected"),
    [
        ("pelican-client/7.20.0", ("client", (7, 20, 0))),
        ("pelican-origin/07.9.0  ", ("origin", (7, 9, 0))),
        ("pelican-localcache/1.2.3", ("localcache", (1, 2, 3))),
        ("pelican-client/7.20.0 project/x", None),
        ("pelican-client/7.20.0-rc.1", None),
        ("pelican-client/7.20", None),
        ("pelican-client/7.20.0.1", None),
        ("pelican-client/7.20.٣", None),
        ("pelican-cl2ent/7.20.0", None),
        ("Pelican-client/7.20.0", None),
        ("pelican-/7.20.0", None),
        ("xrdcl-pelican/1.5.0", None),
        ("curl/8.5.0", None),
        ("", None),
        ("pelican-client/7.20." + "1" * 30, ("client", (7, 20, int("1" * 30)))),
        ("pelican-client/7.20." + "1" * 31, None),
    ],
)
def test_only_what_fits_as_a_whole_is_recognised(user_agent: str, expected: object) -> None:
    assert parse_user_agent(user_agent) == expected


@pytest.mark.parametrize(
    "user_agent", ["pelican-client/7.0.0", "pelican-origin/7.9.0", "pelican-cache/7.8.2", "curl/8"]
)
def test_the_minimum_and_whatever_is_not_pelican_pass(user_agent: str) -> None:
    assert refusal(user_agent) is None


@pytest.mark.parametrize(
    ("user_agent", "sentence"),
    [
        (
            "pelican-client/6.9.9",
            "The director does not support your client version (6.9.9). Please update to 7.0.0 or newer.",
        ),
        (
            "pelican-origin/7.8.9",
            "The director does not support your origin version (7.8.9). Please update to 7.9.0 or newer.",
        ),
        (
            "pelican-cache/7.8.1",
            "The director does not support your cache version (7.8.1). Please update to 7.8.2 or newer.",
        ),
        (
            "pelican-director/7.20.0",
            "Invalid version format. The director does not support your director version (7.20.0).",
        ),
        (
            "pelican-Client/7.20.0",
            "Invalid version format. The director does not support your Client version (7.20.0).",
        ),
    ],
)
def test_what_is_too_old_or_no_known_service_is_refused_with_pelicans_sentence(user_agent: str, sentence: str) -> None:
    assert refusal(user_agent) == sentence


@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=60))
def test_no_header_raises(user_agent: str) -> None:
    assert (refusal(user_agent) is None) or parse_user_agent(user_agent)


@pytest.mark.parametrize(
    ("advertised", "user_agent", "expected"),
    [
        ("7.20.0", "pelican-origin/7.20.0", "7.20.0"),
        ("", "pelican-origin/7.20.0", "7.20.0"),
        ("", "curl/8", "unknown"),
        ("garbage", "curl/8", "garbage"),
        ("garbage", "pelican-origin/7.20.0", "7.20.0"),
        ("v7.24", "pelican-origin/7.20.0", "7.24.0"),
        ("v7.24", "curl/8", "v7.24"),
        ("7.25.0-rc.1", "pelican-origin/7.25.0", "7.25.0-rc.1"),
        ("7.25.0+abc", "pelican-origin/7.20.0", "7.25.0+abc"),
        ("7.25.1.4", "pelican-origin/7.20.0", "7.25.1.4"),
        ("x" * 5000, "pelican-origin/7.20.0", "7.20.0"),
    ],
)
def test_the_advertised_version_wins_if_it_can_be_read(advertised: str, user_agent: str, expected: str) -> None:
    assert settled_version(advertised, user_agent) == expected
