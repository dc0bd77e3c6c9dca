"""Read by the interpreter as it starts: the kernel is told the name of each thread, for `tests.process.inventory`.

Python does so by itself from 3.14 on.
"""

import ctypes
import threading

PR_SET_NAME = 15  # prctl(2); it needs no descriptor, and there may be none

_prctl = ctypes.CDLL(None).prctl
_run = threading.Thread.run


def _named(self: threading.Thread) -> None:
    _prctl(PR_SET_NAME, self.name.removeprefix("director-").encode()[:15], 0, 0, 0)  # as many fit
    _run(self)


threading.Thread.run = _named  # type: ignore[method-assign]
