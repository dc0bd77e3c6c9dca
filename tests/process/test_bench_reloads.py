"""The benchmark of reloads runs, judges the answers and sees what is left behind; its figures are for `make bench`."""

import os
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks import federations, reloads
from benchmarks.origins import serving_origins
from benchmarks.reloads_play import held, is_right
from benchmarks.reloads_scene import WORKERS, Scene
from benchmarks.stats_scene import FEW
from director_wsgi.demo.openloop import Outcome

pytestmark = pytest.mark.process

TARGET = "/api/v1.0/director/origin/lab/file"


@pytest.mark.parametrize(
    ("outcome", "right"),
    [
        (Outcome(307, 0.01, location="https://origin.example.org:8443/lab/file?authz=x"), True),
        (Outcome(307, 0.01, location="https://origin.example.org:8443/lab/other"), False),
        (Outcome(307, 0.01), False),
        (Outcome(404, 0.01), False),
        (Outcome(0, 10.0, failure="timed out"), False),
    ],
)
def test_a_client_is_lost_unless_it_is_sent_somewhere_for_what_it_asked(outcome: Outcome, right: bool) -> None:
    assert is_right(TARGET, outcome) is right
    assert is_right("/lab/file", outcome) is right


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_figure_of_reloads_can_be_taken(tmp_path: Path) -> None:
    with ExitStack() as stack:
        origins = stack.enter_context(serving_origins(FEW, tmp_path, os.sched_getaffinity(0)))
        scene = Scene(federations.SMALL, origins, tmp_path, stack)
        p99, lost, threads, files, live, built, memory = reloads.under_load(scene, print, number=4, seconds=3.0)
        assert p99.ratio is not None
        assert 0 < p99.median < 10_000
        assert lost.median == 0
        assert threads.median == files.median == live.median == 1.0
        assert built.median == WORKERS * 2
        assert memory.median > 0

        before = held(scene)
        with socket.create_connection(("127.0.0.1", scene.server.port)) as one:
            one.sendall(b"GET /up HTTP/1.1\r\nHost: director.example.org\r\n\r\n")
            assert one.recv(16).startswith(b"HTTP/1.1 ")
            assert not held(scene).is_within(before), "a connection that is kept is seen"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_when_a_file_is_in_force_can_be_taken(tmp_path: Path) -> None:
    soon = reloads.in_force(tmp_path, 2)
    assert 0 < soon.low <= soon.high < 20
