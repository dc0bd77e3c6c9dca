"""From a request to a redirection, without Flask, request context or thread.

Read `resolver` first: it shows the whole on one screen.

- `request`: what is asked, and what is answered.
- `policy`: what the operator decided, and what every step needs to know of a request.
- `matching`: snapshot and request to the origins and caches that may serve it. Pure.
- `ranking`: which of them first, for a client at this place. Pure.
- `nearest`: who of many is nearest to a place, remembered. Pure.
- `asking`: whom to ask for the object.
- `candidates`: what was said, and who is left. Pure.
- `adaptive`, `weights`: which of those first, by all that is known of them. Pure.
- `geo`: distances, and what the operator says of networks. Pure.
- `maxmind`: a database of places of addresses, read again when its file changes.
- `places`: where a client is, and a server that does not say.
- `headers`: Location, Link, X-Pelican-*. Pure.
- `refusals`, `monitoring`, `debug`: the other answers.
- `paths`: cleaning and encoding of object paths. Pure.
"""
