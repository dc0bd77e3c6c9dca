"""The stand-in, which takes its time to load: as long as a file `wait` lies in the working directory."""

import time
from pathlib import Path

while Path("wait").exists():
    time.sleep(0.02)

from tests.process.stand_in import application  # noqa: E402

__all__ = ["application"]
