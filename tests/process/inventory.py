"""What the processes of a director may hold at all; `run` looks at them at the end of every test."""

import contextlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from director_wsgi.federation.state import BACKUP_NAME
from director_wsgi.federation.store.files import bus_path

NAMES = Path(__file__).with_name("named")
"""To stand in `PYTHONPATH`, so that the kernel knows the names of threads."""

SINGLE = {
    "admin",
    "admin-desk",
    "backup",
    "clients",
    "configuration",
    "downtimes",
    "expiry",
    "federation",
    "keys",
    "load",
    "metrics",
    "places",
    "prefixes",
    "shares",
    "spans",
    "store",
    "tests",
    "trial",
    "upkeep",
    "vitals",
}
"""Threads of which there is one, without `director-`."""

POOLS = {"handler": 64, "stat": 256, "test": 64, "resolve": 8, "registry": 2, "reaper": 4}
"""Threads of which there are more, without what follows the first hyphen or underscore, and how many at the most."""

DESCRIPTORS = {
    "/dev/null": 3,
    "/memfd:heartbeat (deleted)": 8,
    "anon_inode:[eventfd]": 4,
    "anon_inode:[eventpoll]": 4,
    "pipe": 16,
    "socket": 256,
}
"""How many of a kind may be open; of what else is known, `FILES`."""

FILES = 8

UNREAD = "unread"
"""A named pipe beside the output, where a test has it write there."""

FAKETIME = "/dev/shm/faketime_shm_"
"""What libfaketime shares among processes whose clock it sets."""

_STORE = ("", "-wal", "-shm", "-journal")


def unexplained(pid: int, output: Path, state: Path) -> list[str]:
    """What a process holds that no part of a director needs, or more of it than it may; empty if it has ended.

    Args:
        pid: A master or a worker, with `NAMES` in its `PYTHONPATH`.
        output: Where it writes.
        state: Where the director keeps its state.
    """
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return [*_threads(pid), *_descriptors(pid, output, state)]
    return []


def _threads(pid: int) -> Iterator[str]:
    found: Counter[str] = Counter()
    for task in Path(f"/proc/{pid}/task").iterdir():
        if task.name != str(pid):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                name = (task / "comm").read_text().rstrip("\n")
                pool = re.split("[-_]", name)[0]
                found[name if name in SINGLE or pool not in POOLS else pool] += 1
    for name, number in found.items():
        most = 1 if name in SINGLE else POOLS.get(name, 0)
        if number > most:
            yield f"{number} threads {name!r}, at most {most}"


def _descriptors(pid: int, output: Path, state: Path) -> Iterator[str]:
    bus = bus_path(state)
    # The bus lies with the state where there is no shared memory.
    folders = (bus.parent, state)
    stores = (*(folder / bus.name for folder in folders), state / BACKUP_NAME)
    files = {str(output), str(output.with_name(UNREAD)), *(str(folder / "metrics") for folder in folders)}
    files |= {f"{store}{suffix}" for store in stores for suffix in _STORE}
    found: Counter[str] = Counter()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            target = str(descriptor.readlink())
            found[target.partition(":[")[0] if target.startswith(("pipe:", "socket:")) else target] += 1
    for target, number in found.items():
        most = DESCRIPTORS.get(target, FILES if target in files or target.startswith(FAKETIME) else 0)
        if number > most:
            yield f"{number} descriptors of {target}, at most {most}"
