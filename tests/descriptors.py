"""Counting the open files of the process that tests run in."""

import os


def open_files() -> int:
    """The descriptors open now.

    Whoever compares two counts asks for "no more than before": what an earlier test left to the garbage collector may
    be closed in between.
    """
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208, cheaper than a list of paths
