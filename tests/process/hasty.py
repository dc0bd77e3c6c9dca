"""The director, but it looks at its configuration ten times as often, and its workers tell the names of their threads."""

from director_wsgi import reloading

vars(reloading)["LOOK_S"] = 0.1  # final, for all but this

from tests.process.counted import application  # noqa: E402

__all__ = ["application"]
