"""How many heaps the C library keeps for the threads of a process.

glibc gives each thread a heap of its own, up to eight for each processor, and what is freed in one is of no use to the
others. Python's threads take turns anyway. With forty of them, each of which now and then reads a long advertisement,
two heaps save 8 MB of each worker's memory in a large federation and cost no time at all.
"""

import contextlib
import ctypes
import os
from typing import Final

HEAPS: Final = 2

_M_ARENA_MAX: Final = -8  # glibc, malloc.h
_SET_BY_OPERATOR: Final = ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")


def keep_few_heaps() -> None:
    """Have few heaps in this process and its children; call it before there are threads.

    Nothing happens if the environment says how many there may be, or if the C library is another one.
    """
    if any(name in os.environ for name in _SET_BY_OPERATOR):
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, HEAPS)
