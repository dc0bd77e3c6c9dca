"""The director as it is, but soon tired of slow clients, and with room for few; see `test_slow_clients`."""

import os

from director_wsgi.runtime import slow_clients

if "CROWDED" in os.environ:
    from director_wsgi.wsgi import application

    slow_clients.MOST_WAITING = 16  # type: ignore[misc]
    slow_clients.MOST_HELD_BYTES = 100_000  # type: ignore[misc]
    slow_clients.SILENCE_S = 1  # type: ignore[misc]
    slow_clients.HEAD_S = 1.5  # type: ignore[misc]
    slow_clients.BODY_S = 1.5  # type: ignore[misc]

    __all__ = ["application"]
