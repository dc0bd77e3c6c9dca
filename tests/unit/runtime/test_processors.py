"""What is read of the kernel's files."""

import math
from pathlib import Path

import pytest

from director_wsgi.runtime.processors import cores_of, quota

pytestmark = pytest.mark.unit


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def siblings(system: Path, told: dict[int, str]) -> None:
    for processor, text in told.items():
        write(system / f"devices/system/cpu/cpu{processor}/topology/thread_siblings_list", text)


def test_hyperthreads_of_one_core_are_one(tmp_path: Path) -> None:
    siblings(tmp_path, {0: "0,4\n", 4: "0,4\n", 2: "2-3\n", 3: "2-3\n"})
    assert cores_of({0, 4, 2, 3}, tmp_path) == {0: 0, 4: 0, 2: 2, 3: 2}


@pytest.mark.parametrize("text", ["", "\n", "nonsense", "\xff"])
def test_where_nothing_is_told_each_is_a_core(tmp_path: Path, text: str) -> None:
    siblings(tmp_path, {0: text})
    assert cores_of({0, 1}, tmp_path) == {0: 0, 1: 1}


def test_this_machine_tells() -> None:
    assert cores_of({0})[0] == 0
    assert quota() > 0


class Groups:
    """The control groups of a process."""

    def __init__(self, folder: Path, lines: str) -> None:
        self.process, self.system = folder / "proc", folder / "sys"
        write(self.process / "cgroup", lines)

    def write(self, file: str, text: str) -> None:
        write(self.system / "fs/cgroup" / file, text)

    def quota(self) -> float:
        return quota(self.process, self.system)


def test_version_2(tmp_path: Path) -> None:
    groups = Groups(tmp_path, "0::/system.slice/director.service\n")
    assert groups.quota() == math.inf
    groups.write("system.slice/director.service/cpu.max", "max 100000\n")
    assert groups.quota() == math.inf
    groups.write("system.slice/director.service/cpu.max", "150000 100000\n")
    assert groups.quota() == 1.5
    groups.write("system.slice/cpu.max", "50000 100000\n")
    assert groups.quota() == 0.5, "a group above is stricter"


def test_a_container_sees_its_own_group_at_the_root(tmp_path: Path) -> None:
    groups = Groups(tmp_path, "0::/\n")
    groups.write("cpu.max", "200000 100000\n")
    assert groups.quota() == 2


def test_version_1(tmp_path: Path) -> None:
    groups = Groups(tmp_path, "9:memory:/\n4:cpu,cpuacct:/docker/abc\n0::/\n")
    groups.write("cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "-1\n")
    groups.write("cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000\n")
    assert groups.quota() == math.inf
    groups.write("cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "25000\n")
    assert groups.quota() == 0.25


@pytest.mark.parametrize("text", ["", "1", "a b", "100000 0", "1 2 3", "0 100000"])
def test_what_cannot_be_read_is_no_limit(tmp_path: Path, text: str) -> None:
    groups = Groups(tmp_path, "0::/\n")
    groups.write("cpu.max", text)
    assert groups.quota() == math.inf


@pytest.mark.parametrize("lines", ["", "::", "nonsense", "1:cpu", "0::../../..\n"])
def test_no_line_is_an_error(tmp_path: Path, lines: str) -> None:
    assert Groups(tmp_path, lines).quota() == math.inf
