"""The copy of the last good configuration."""

import json
import os
from pathlib import Path

import pytest

from director_wsgi.runtime import last_good
from director_wsgi.runtime.discovery import Document
from director_wsgi.runtime.last_good import HANDED_ON, NAME, Copy
from director_wsgi.runtime.yaml_file import Setting

pytestmark = pytest.mark.unit

TOLD = "https://f.example", Document(registry_url="https://r.example", director_url="", jwk_url="", broker_url="")
COPY = Copy(
    settings={
        "director.threads": Setting("Director.Threads", "9", "pelican.yaml:3"),
        "geoipoverrides": Setting("GeoIPOverrides", [{"ip": "10.0.0.0/8", "coordinate": {"lat": "1"}}], "VARIABLE"),
    },
    told=TOLD,
)


@pytest.mark.parametrize("copy", [COPY, Copy(settings={}, told=None)], ids=["full", "empty"])
def test_what_is_written_is_read(tmp_path: Path, copy: Copy) -> None:
    assert last_good.read(last_good.write(tmp_path / "state", copy)) == copy


def test_nobody_else_can_read_it_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path = last_good.write(tmp_path / "state", COPY)
    finally:
        os.umask(before)

    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_later_one_replaces_it_and_leaves_nothing_beside(tmp_path: Path) -> None:
    last_good.write(tmp_path, COPY)
    later = Copy(settings={}, told=None)

    assert last_good.read(last_good.write(tmp_path, later)) == later
    assert [file.name for file in tmp_path.iterdir()] == [NAME]


def test_one_that_cannot_be_finished_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = last_good.write(tmp_path, COPY)

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(last_good.os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        last_good.write(tmp_path, Copy(settings={}, told=None))

    assert last_good.read(path) == COPY
    assert [file.name for file in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o602])
def test_what_others_may_touch_is_not_believed(tmp_path: Path, mode: int) -> None:
    path = last_good.write(tmp_path, COPY)
    path.chmod(mode)

    assert last_good.read(path) is None


def test_what_belongs_to_another_user_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = last_good.write(tmp_path, COPY)
    monkeypatch.setattr(last_good.os, "geteuid", lambda: 12_345)

    assert last_good.read(path) is None


def test_a_link_is_not_followed_and_a_pipe_not_waited_for(tmp_path: Path) -> None:
    link, pipe = tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(last_good.write(tmp_path, COPY))
    os.mkfifo(pipe, 0o600)

    assert last_good.read(link) is None
    assert last_good.read(pipe) is None
    assert last_good.read(tmp_path / "nothing") is None


WHOLE = last_good._to_json(COPY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        "[" * 100_000,
        json.dumps(WHOLE | {"version": 2}),
        json.dumps(WHOLE | {"settings": None}),
        json.dumps(WHOLE | {"settings": [{"name": 5, "value": "", "source": ""}]}),
        json.dumps(WHOLE | {"told": {"url": "https://f.example", "document": {"registry_url": "https://r.example"}}}),
        json.dumps(WHOLE | {"told": {"url": "https://f.example", "document": [1]}}),
        json.dumps(WHOLE) + " " * last_good._MAX_BYTES,
    ],
)
def test_what_is_no_copy_of_ours_is_none(tmp_path: Path, text: str) -> None:
    path = last_good.write(tmp_path, COPY)
    path.write_text(text)

    assert last_good.read(path) is None


def test_it_is_handed_on_to_this_process_and_once(tmp_path: Path) -> None:
    path = last_good.write(tmp_path, COPY)
    environ: dict[str, str] = {}
    last_good.hand_on(path, environ)

    assert last_good.handed_on(environ) == COPY
    assert environ == {}
    assert last_good.handed_on(environ) is None


@pytest.mark.parametrize("process", ["1", "", "x"])
def test_what_was_meant_for_another_process_is_dropped(tmp_path: Path, process: str) -> None:
    environ = {HANDED_ON: f"{process}:{last_good.write(tmp_path, COPY)}"}

    assert last_good.handed_on(environ) is None
    assert environ == {}


def test_who_has_none_hands_none_on() -> None:
    environ = {HANDED_ON: "1:/elsewhere"}
    last_good.hand_on(None, environ)

    assert environ == {}
