"""From a request to a redirection, without Flask, request context or thread.

Read `resolver` first: it shows the whole on one screen.

- `request`: what is asked, and what is answered.
- `matching`: snapshot and request to the origins and caches that may serve it. Pure.
- `ranking`: which of them first, for a client at this place. Pure.
- `geo`: distances, and where a client is. Pure.
- `headers`: Location, Link, X-Pelican-*. Pure.
- `paths`: cleaning and encoding of object paths. Pure.
"""
