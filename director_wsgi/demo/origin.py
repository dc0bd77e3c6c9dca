"""An origin: objects over WebDAV, as clients of a federation use it.

GET with ranges, HEAD, PUT, DELETE, MKCOL, PROPFIND with Depth 0 or 1, OPTIONS. Collections answer 409 to GET and HEAD,
as XRootD does. Everybody may read what its namespace says is public and write what it says is writable; for the rest
a token of this origin is needed, with the scope `storage.read:/`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from director_wsgi.demo.exchange import Request, Response, text_response
from director_wsgi.demo.multistatus import multistatus
from director_wsgi.demo.ranges import serve
from director_wsgi.demo.storage import ConflictError, IsCollectionError, NotThereError, Storage, TooLargeError

ALLOW = "OPTIONS,GET,HEAD,PROPFIND,PUT,DELETE,MKCOL"
"""Without blanks: XRootD's client splits at the comma and compares what it gets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """A namespace that an origin serves.

    Attributes:
        prefix: Absolute, without a slash at its end.
        public_reads: No token is needed to read.
        writes: Anybody may write.
        listings: PROPFIND of collections is advertised.
        direct_reads: Clients may read here rather than at a cache.
    """

    prefix: str
    public_reads: bool = True
    writes: bool = False
    listings: bool = True
    direct_reads: bool = True

    def covers(self, path: str) -> bool:
        """Whether a path is the prefix or lies below it."""
        return path == self.prefix or path.startswith(f"{self.prefix.rstrip('/')}/")


class Origin:
    """Serves the exports out of one storage."""

    def __init__(
        self, storage: Storage, exports: tuple[Export, ...], *, may_read: Callable[[str], bool] = lambda _: False
    ) -> None:
        """Make the service.

        Args:
            storage: Where the objects are.
            exports: Paths of no export are 404.
            may_read: Whether a token permits to read what is not public. Called from many threads.
        """
        self.storage = storage
        self.exports = exports
        self._may_read = may_read
        self._methods: dict[str, Callable[[Request, Export], Response]] = {
            "GET": self._read,
            "HEAD": self._read,
            "PROPFIND": self._list,
            "PUT": self._write,
            "DELETE": self._delete,
            "MKCOL": self._make_collection,
        }

    def answer(self, request: Request) -> Response:
        """See `exchange.Service`."""
        if request.method == "OPTIONS":
            return Response(status=200, headers=(("Allow", ALLOW), ("DAV", "1")))
        handle = self._methods.get(request.method)
        if handle is None:
            return text_response(405, "the method is not supported", ("Allow", ALLOW))
        covering = [export for export in self.exports if export.covers(request.path)]
        if not covering:
            return text_response(404, "no export holds that path")
        try:
            return handle(request, max(covering, key=lambda export: len(export.prefix)))
        except NotThereError:
            return text_response(404, "no such object")
        except IsCollectionError:
            return text_response(409, "it is a collection; PROPFIND lists it")
        except ConflictError:
            return text_response(409, "the collection is missing, or not empty")
        except TooLargeError:
            return text_response(413, "the object is too large")

    def _read(self, request: Request, export: Export) -> Response:
        return self._refusal(request, export) or serve(request, self.storage.open(request.path))

    def _list(self, request: Request, export: Export) -> Response:
        refusal = self._refusal(request, export)
        if refusal:
            return refusal
        depth = request.headers.get("Depth") or "1"
        if depth not in ("0", "1"):
            return text_response(403, "only Depth 0 and 1 are served")
        resource = self.storage.look(request.path)
        return multistatus((resource, *(self.storage.members(request.path) if depth == "1" else ())))

    def _refusal(self, request: Request, export: Export) -> Response | None:
        if export.public_reads:
            return None
        token = request.bearer
        if token is None:
            return text_response(401, "a token is needed", ("WWW-Authenticate", "Bearer"))
        return None if self._may_read(token) else text_response(403, "the token does not permit this")

    def _write(self, request: Request, export: Export) -> Response:
        if not export.writes:
            return text_response(403, "nobody may write here")
        is_new = self.storage.write(request.path, request.body)
        return Response(status=201 if is_new else 204)

    def _delete(self, request: Request, export: Export) -> Response:
        if not export.writes:
            return text_response(403, "nobody may delete here")
        self.storage.delete(request.path)
        return Response(status=204)

    def _make_collection(self, request: Request, export: Export) -> Response:
        if not export.writes:
            return text_response(403, "nobody may write here")
        made = self.storage.make_collection(request.path)
        return Response(status=201) if made else text_response(405, "there is something of that name")
