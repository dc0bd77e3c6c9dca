"""HTTP in, HTTP out; the only room that knows Flask.

- `entrance`: in front of every route: the path is decoded and cleaned once.
- `redirects`: requests for objects.
- `requests`: from a WSGI environment to an `ObjectRequest`; `addresses` and `tokens` help it.
- `responses`: from a `Redirection` or a `DirectorError` to status, headers and body.
- `advertisements`: `registerOrigin`, `registerCache`.
- `listings`: directors, namespaces, prefixes, health.
- `discovery`: the documents below `/.well-known/`.
- `health_test`: the objects that director tests of caches read.
- `metrics`: `/metrics`; `families`: what it says of the rooms.
"""
