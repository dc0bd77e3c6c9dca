"""Fixtures for every kind of test; the folder a test lies in is its marker."""

import logging
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.fakes import FakeClock

# How long an example takes is the machine's matter. Where CI is set, Hypothesis sees to it, and repeats the same ones.
hypothesis.settings.register_profile(
    "unhurried", parent=hypothesis.settings(), deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unhurried")

KINDS = ("unit", "servers", "process", "e2e")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        parts = item.path.relative_to(here).parts
        if parts and parts[0] in KINDS:
            item.add_marker(getattr(pytest.mark, parts[0]))


@pytest.fixture(autouse=True)
def levels_of_loggers() -> Iterator[None]:
    """A reload sets them for the whole process, which here is that of the tests."""
    loggers = [logging.getLogger(), logging.getLogger("gunicorn.error")]
    before = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        if logger.level != level:  # to set it empties the caches of all loggers
            logger.setLevel(level)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def wall() -> FakeClock:
    return FakeClock(1_767_225_600.0)  # 2026-01-01T00:00:00Z
