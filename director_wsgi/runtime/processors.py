"""What the kernel tells of the processors: which are halves of one core, and how much of their time we may use."""

import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

SYSTEM: Final = Path("/sys")
PROCESS: Final = Path("/proc/self")


def cores_of(processors: Collection[int], system: Path = SYSTEM) -> Mapping[int, int]:
    """The physical core of each processor: the first of its hyperthreads. Where nothing is told, each is a core.

    Args:
        processors: Numbers of logical processors.
        system: Where sysfs is mounted.
    """
    return {processor: _core_of(processor, system) for processor in processors}


def _core_of(processor: int, system: Path) -> int:
    told = system / f"devices/system/cpu/cpu{processor}/topology/thread_siblings_list"
    try:
        # "0,4" or "0-1", ascending: sysfs-devices-system-cpu in the kernel's ABI documentation.
        first = told.read_text().replace("-", ",").partition(",")[0]
        return int(first)
    except (OSError, ValueError):
        return processor


def quota(process: Path = PROCESS, system: Path = SYSTEM) -> float:
    """How many processors' time the control groups of this process leave it; infinite without a limit.

    Version 2 says so in `cpu.max`, version 1 in two files of the controller `cpu`; a limit of any group above counts.

    Args:
        process: This process in procfs.
        system: Where sysfs is mounted.
    """
    return min(_quotas(process, system), default=math.inf)


def _quotas(process: Path, system: Path) -> Iterator[float]:
    try:
        lines = (process / "cgroup").read_text().splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if not controllers:
            mount = system / "fs/cgroup"
        elif "cpu" in controllers.split(","):
            mount = system / "fs/cgroup" / controllers
        else:
            continue
        group_path = PurePosixPath(group.lstrip("/"))
        for above in (group_path, *group_path.parents):
            yield _quota_of(mount / above)


def _quota_of(group: Path) -> float:
    try:
        if (group / "cpu.max").exists():
            allowed, period = (group / "cpu.max").read_text().split()
        else:
            allowed = (group / "cpu.cfs_quota_us").read_text()
            period = (group / "cpu.cfs_period_us").read_text()
        share = int(allowed) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # "max" is no number
        return math.inf
    return share if share > 0 else math.inf  # version 1 says -1
