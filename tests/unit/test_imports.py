"""What a start does not load: each would cost every worker time and memory, and serve few or nobody."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.unit

PARTS = ("director_wsgi.app", "director_wsgi.reloading", "director_wsgi.runtime.worker")
"""What a worker's application is made of; `director_wsgi.wsgi` itself would make one."""

UNWANTED = (
    "asyncio",
    "benchmarks",
    "concurrent.futures.process",
    "director_wsgi.cli",
    "director_wsgi.demo",
    "doctest",
    "flask.testing",
    "google.protobuf",
    "multiprocessing.pool",
    "opentelemetry",
    "pdb",
    "pydoc",
    "redis",
    "unittest",
    "werkzeug.debug",
    "xml.etree",
)


def loaded(program: str) -> set[str]:
    ended = subprocess.run(
        [sys.executable, "-c", f"{program}; import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(ended.stdout.split())


def test_a_worker_loads_nothing_that_few_or_nobody_need() -> None:
    modules = loaded(f"import {', '.join(PARTS)}")
    assert set(PARTS) <= modules
    assert sorted(modules.intersection(UNWANTED)) == []


def test_what_is_looked_for_would_be_seen() -> None:
    assert "concurrent.futures.process" in loaded("from concurrent.futures import ProcessPoolExecutor")
