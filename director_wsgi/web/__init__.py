"""HTTP in, HTTP out; the only room that knows Flask.

- `entrance`: in front of every route: the path is decoded and cleaned once.
- `redirects`: requests for objects.
- `requests`: from a WSGI environment to an `ObjectRequest`; `addresses` and `tokens` help it.
- `responses`: from a `Redirection` or a `DirectorError` to status, headers and body.
- `advertisements`: `registerOrigin`, `registerCache`.
- `listings`: directors, namespaces, prefixes, health.
- `director_ui`: the same and more for Pelican's web interface and command line; `ui_pages`: its text.
- `discover_servers`: whom Prometheus shall scrape.
- `discovery`: the documents below `/.well-known/`.
- `health_test`: the objects that director tests of caches read.
- `metrics`: `/metrics`; `families` and `server_families`: what it says of the rooms, and of single servers.
- `component_health`: how the director's own parts are.
- `guarded`: doors that open to a bearer token.
"""
