"""The director of `reloads`: as it is, but it looks at its configuration ten times as often.

It knows a federation and a few real origins from its first request on, gives threads back that have asked nothing for
two seconds, and tells the names of its threads when asked by a signal.
"""

import os

from director_wsgi.stat import server
from tests.process.census import FOLDER_VARIABLE

if FOLDER_VARIABLE in os.environ:
    server.IDLE_S = 2.0

    from benchmarks import prefilled, stats_prefilled  # noqa: F401, they fill the directory
    from tests.process.hasty import application

    __all__ = ["application"]
