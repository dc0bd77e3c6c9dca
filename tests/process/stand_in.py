"""An application in the director's place: it shows what the process around it does."""

import logging
import os
import signal
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flask import Flask, Response, request

from director_wsgi.runtime import start

logger = logging.getLogger("stand_in")


class Director:
    """Says when it is started and closed; `/stuck` makes it refuse to close, and leaves a thread that the interpreter would wait for."""

    def __init__(self) -> None:
        self.started = False
        self.stuck = False

    def start(self) -> None:
        self.started = True
        logger.info("director started")

    def close(self) -> None:
        logger.info("director closing")
        if self.stuck:
            threading.Event().wait()
        logger.info("director closed")


config = start.worker_config(os.environ, Path.cwd())
director = Director()
application = Flask("stand_in")
application.extensions["director"] = director


@application.get("/")
def show() -> dict[str, Any]:
    return {
        "started": director.started,
        "pid": os.getpid(),
        "cores": sorted(os.sched_getaffinity(0)),
        "thread": threading.current_thread().name,
        "threads": config.threads,
        "contact": config.support_contact_email,
        "first_start": start.first_start_at(os.environ),
        "scheme": request.scheme,
        "peer": request.remote_addr,
        "path": request.path,
        "query_length": len(request.query_string),
        "authorization_length": len(request.headers.get("Authorization", "")),
        "hup_ignored": signal.getsignal(signal.SIGHUP) is signal.SIG_IGN,
    }


@application.get("/log")
def log() -> str:
    try:
        int(f"asked with {request.headers.get('Authorization')}")
    except ValueError:
        logger.exception("Handled %s", request.url)
    return "logged"


@application.get("/wait")
def wait() -> str:
    logger.info("request waits")
    threading.Event().wait(float(request.args["s"]))
    return "waited"


@application.get("/stuck")
def stuck() -> str:
    director.stuck = True
    threading.Thread(target=threading.Event().wait, name="hung").start()
    return "stuck"


@application.post("/body")
def body() -> str:
    return str(len(request.get_data()))


class DefectError(Exception):
    """Raised beside Flask, where only gunicorn catches it."""


class Broken:
    """What the application is wrapped in: `/boom` fails outside Flask's own handling of errors."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/boom":
            raise DefectError("canary-of-the-defect")
        if environ["PATH_INFO"] == "/bad-header":
            start_response("200 OK", [("X-Bad", "line\nbreak")])
            return [b""]
        if environ["PATH_INFO"] == "/drained":
            try:
                return Response(str(len(environ["wsgi.input"].read())))(environ, start_response)
            except OSError as error:
                return Response(type(error).__name__, 400)(environ, start_response)
        answer: Iterable[bytes] = self._inner(environ, start_response)
        return answer


application.wsgi_app = Broken(application.wsgi_app)  # type: ignore[method-assign]
