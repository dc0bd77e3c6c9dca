"""The director as it is, but without threads to start with for as long as a file is there; see `test_shortage`."""

import os
import threading
from pathlib import Path
from typing import Final

FILE_VARIABLE: Final = "BREATHLESS"


def _refuse() -> None:
    if Path(os.environ[FILE_VARIABLE]).exists():
        raise RuntimeError("can't start new thread")


if FILE_VARIABLE in os.environ:
    from director_wsgi.wsgi import application  # noqa: F401, for gunicorn

    _start = threading.Thread.start

    def _start_if_there_is_one(thread: threading.Thread) -> None:
        _refuse()
        _start(thread)

    threading.Thread.start = _start_if_there_is_one  # type: ignore[method-assign]
