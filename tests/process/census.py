"""What a director's processes hold, as the kernel counts it: threads, descriptors, children, sockets.

A process test that ends a director ends with `end`; one that keeps it running compares a `Census` from before with one
from after what it did.
"""

import json
import os
import re
import signal
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.process.child import Child, wait_until

FOLDER_VARIABLE = "CENSUS_FOLDER"
ASK = signal.SIGRTMIN
"""To a worker of `counted`: write down the names of your threads."""

_NUMBERS = re.compile(r"[-_]?\d+")


@dataclass(frozen=True)
class Census:
    """One process at one moment.

    Attributes:
        threads: How many the kernel knows.
        files: Open descriptors by what they lead to: `socket`, `pipe`, `anon_inode`, or a path without its numbers.
        children: Living child processes.
    """

    threads: int
    files: Counter[str]
    children: int

    def beyond(self, before: "Census", *, threads: int = 0) -> dict[str, int]:
        """What there is more of than before; `threads` more of these are no matter."""
        more: dict[str, int] = dict(self.files - before.files)
        if self.threads > before.threads + threads:
            more["threads"] = self.threads - before.threads
        if self.children > before.children:
            more["children"] = self.children - before.children
        return more


def census(pid: int) -> Census:
    """Count what a process holds.

    Raises:
        OSError: It has ended.
    """
    process = Path(f"/proc/{pid}")
    files: Counter[str] = Counter()
    for descriptor in (process / "fd").iterdir():
        try:
            files[_kind(str(descriptor.readlink()))] += 1
        except FileNotFoundError:
            continue  # closed meanwhile
    children = (process / "task" / str(pid) / "children").read_text().split()
    return Census(len(list((process / "task").iterdir())), files, len(children))


def _kind(target: str) -> str:
    if target.startswith("/"):
        return _NUMBERS.sub("", target.removesuffix(" (deleted)"))
    return target.partition(":")[0]


def thread_names(pid: int, folder: Path) -> Counter[str]:
    """The names of a worker's threads, without numbers; the worker is one of `counted`, told of this folder."""
    written = folder / f"{pid}.json"
    written.unlink(missing_ok=True)
    os.kill(pid, ASK)
    wait_until(written.exists, f"the names of the threads of {pid}")
    return Counter(_NUMBERS.sub("", name) for name in json.loads(written.read_text()))


def write_names(folder: Path, names: Callable[[], list[str]]) -> None:
    """In the worker: leave the names where `thread_names` looks for them, whole or not at all."""
    descriptor, temporary = tempfile.mkstemp(dir=folder)
    with os.fdopen(descriptor, "w") as file:
        json.dump(names(), file)
    Path(temporary).rename(folder / f"{os.getpid()}.json")


def end(child: Child, *, within_s: float = 20.0) -> None:
    """Tell a director to end: it does so by itself, in order and in time, and nothing of it is left."""
    port, said_before = child.port, len(child.output)
    child.signal(signal.SIGTERM)
    assert child.wait_for_end(within_s) == 0, child.output
    wait_until(lambda: child.members() == [], "the end of every process of the group")
    assert not listens(port)
    assert "Traceback" not in child.output, child.output
    for sign in ("SIGKILL", "not everything was given back"):
        assert sign not in child.output[said_before:], child.output


def listens(port: int) -> bool:
    """Whether some process listens at a TCP port."""
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(row.split()[3] == "0A" and int(row.split()[1].rpartition(":")[2], 16) == port for row in rows)
