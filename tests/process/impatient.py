"""The director as in `held`, but soon tired of clients that do not read."""

from director_wsgi.runtime import at_once
from tests.process.held import application

__all__ = ["application"]

at_once.UNREAD_S = 3.0  # type: ignore[misc]
