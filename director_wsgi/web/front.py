"""The front: redirects for which nothing has to be waited for, answered ahead of Flask.

Here nobody waits; behind, at the routes, one may. A request comes here first. If nobody has to be asked for the object,
or what was learned of it is fresh, it is answered at once, by the same code and in the same words as at the route. All
else falls through: a question that has to be asked, another route's path, anything odd.
"""

import logging
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from werkzeug.routing import Map

from director_wsgi.web.entrance import Target
from director_wsgi.web.long_answers import SHORT_BYTES
from director_wsgi.web.redirects import METHODS, OBJECT_PATHS, Redirects
from director_wsgi.web.responses import Written

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

_log = logging.getLogger(__name__)

_METHODS = frozenset(METHODS) - {"OPTIONS"}

_USUAL_HOST = re.compile(r"(?:[\w-]{1,63}\.)*[\w-]{1,57}(?::\d{1,5})?|\[[\da-fA-F:.]{2,45}](?::\d{1,5})?|", re.ASCII)
"""Before it looks for a route, werkzeug refuses hosts that could be no name. It finds nothing wrong with these."""


def taken_by_others(rules: Map, besides: str) -> frozenset[str]:
    """The first components of all paths that other routes answer.

    Args:
        rules: Of the application.
        besides: The endpoint whose rules do not count.
    """
    return frozenset(_first(rule.rule) for rule in rules.iter_rules() if rule.endpoint != besides)


class Front:
    """Any number of threads at once; never waits.

    Args:
        redirects: Answers.
        taken: First components of paths that may be another route's. Such a path is none of the front's, unless it is
            clearly an object's.
        guarded: Makes of a long answer one that does not hold a thread for long.
    """

    def __init__(
        self, redirects: Redirects, taken: Iterable[str], guarded: "Callable[[WSGIApplication], WSGIApplication]"
    ) -> None:
        self._redirects = redirects
        self._taken = frozenset(taken)
        self._guarded = guarded

    def answer(self, environ: "WSGIEnvironment", target: Target) -> "WSGIApplication | None":
        """What says the answer; None if it is to be had from the routes."""
        path = target.path
        if environ["REQUEST_METHOD"] not in _METHODS or (
            _first(path) in self._taken and not path.startswith(OBJECT_PATHS)
        ):
            return None
        if environ.get("HTTP_UPGRADE", "").lower() == "websocket" or not _USUAL_HOST.fullmatch(
            environ.get("HTTP_HOST", "")
        ):
            return None
        try:
            answer = self._redirects.answer_at_once(environ, target)
        except Exception:  # noqa: BLE001, Flask makes an answer of whatever goes wrong: the route meets the same, or does not
            _log.exception("the front failed, and leaves a request to the routes")
            return None
        if answer is None or (isinstance(answer, Written) and len(answer.body) <= SHORT_BYTES):
            return answer
        return self._guarded(answer)


def _first(path: str) -> str:
    end = path.find("/", 1)
    return path[1:] if end < 0 else path[1:end]
