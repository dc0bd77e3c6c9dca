"""Every way in which a request may end has a status, and every status a way."""

from collections.abc import Iterator

import pytest

from director_wsgi import errors
from director_wsgi.federation.directory import DirectoryFull
from director_wsgi.web.responses import STATUS_OF, error_response

NEVER_ANSWERED = {errors.ConfigError}
"""Ends a start-up, not a request."""


def leaves(kind: type[errors.DirectorError]) -> Iterator[type[errors.DirectorError]]:
    below = kind.__subclasses__()
    if not below:
        yield kind
    for each in below:
        yield from leaves(each)


@pytest.mark.parametrize(
    "kind", sorted(set(leaves(errors.DirectorError)) - NEVER_ANSWERED, key=lambda kind: kind.__name__)
)
def test_every_error_has_a_status_of_its_own(kind: type[errors.DirectorError]) -> None:
    assert 400 <= STATUS_OF[kind] < 600


def test_every_status_belongs_to_an_error_of_the_tree() -> None:
    assert DirectoryFull in STATUS_OF
    assert all(issubclass(kind, errors.DirectorError) for kind in STATUS_OF)
    assert not NEVER_ANSWERED & STATUS_OF.keys()


@pytest.mark.parametrize("kind", [kind for kind, status in STATUS_OF.items() if status == 503])
def test_whoever_is_turned_away_is_told_when_to_come_again(kind: type[errors.DirectorError]) -> None:
    assert int(error_response(kind("not now")).headers["Retry-After"]) >= 1
