"""The director as it is, but quick to see that the files of its keys have changed."""

from flask import Flask

from director_wsgi.trust import keyring


def _application() -> Flask:
    keyring.REFRESH_S = 0.1  # type: ignore[misc]
    from director_wsgi.wsgi import application  # noqa: PLC0415, it is built when it is imported

    return application


application = _application()
