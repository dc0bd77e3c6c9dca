"""A director for Pelican data federations.

Origins and caches advertise themselves; a client asks for an object; the director asks the right servers whether they
have it and answers 307 with Location and Link. It never waits longer than its deadline, and a sick server harms only
itself.

The way of a request, from top to bottom; every arrow between the rooms points down, and import-linter holds it so::

    web        HTTP in, HTTP out; the only Flask
    health     director tests of origins and caches; how busy they are
    redirect   resolver: match, ask, rank, choose, tell          trust   admission: may this server say this?
    stat       one HEAD per server, within one deadline; the director's threads
    federation who is advertised now                             runtime configuration, process, leases
    outbound   every HTTP call the director makes, bounded by the clock on the wall
    limits     deadline, slots, lanes, breaker, flights, TTL table: they know nothing of directors
    errors     what may end a request

`director` is the parts, `assembly` puts them together; `provisioning` and `routes` make what belongs to one
configuration, `reloading` brings the next one. `app` is the door to all of it, `wsgi` is what gunicorn loads, `cli` is
the command `director-wsgi`, `demo` is a small federation on loopback.

Read in this order: `redirect.resolver` (the whole on one screen), `redirect.request` (what travels),
`federation.snapshot`, `stat.engine`, `outbound.client`, `trust.admission`, `health.tests`,
`assembly`.
"""

__version__ = "0.1.0"
