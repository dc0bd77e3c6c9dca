"""One federation for all end-to-end tests: two XRootD origins, a loopback origin, a cache, and the director."""

import random
from collections.abc import Iterator

import pytest

from tests.e2e.federation import Federation, run_federation


@pytest.fixture(scope="session")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """The federation, with everything in it that the tests read; at its end the director must have seen no failure."""
    with run_federation(tmp_path_factory.mktemp("federation")) as running:
        yield running
    failures = [line for line in running.director_log.read_text().splitlines() if " ERROR " in line]
    assert failures == []


@pytest.fixture
def rng_bytes() -> bytes:
    """Bytes to upload: more than fit into one buffer anywhere, and no multiple of anything."""
    return random.Random(7).randbytes((3 << 20) + 17)
