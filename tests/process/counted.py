"""The director as it is; it also tells the names of its threads when asked by a signal. See `census`."""

import os
import signal
import threading
from pathlib import Path
from types import FrameType

from tests.process.census import ASK, FOLDER_VARIABLE, write_names


def _tell(_signal: int, _frame: FrameType | None) -> None:
    write_names(Path(os.environ[FOLDER_VARIABLE]), lambda: [thread.name for thread in threading.enumerate()])


if FOLDER_VARIABLE in os.environ:
    from director_wsgi.wsgi import application

    __all__ = ["application"]
    signal.signal(ASK, _tell)
