"""What the federation is right now.

- `models`: the nouns, frozen.
- `ads`: JSON advertisements to models; `wire` reads JSON as Go does.
- `versions`: which versions of Pelican's programs this director talks to.
- `urls`: encoding of object paths.
- `status`: what servers say of their own health, smoothed.
- `directory`: who is advertised now: a TTL table of advertisements and an immutable snapshot with a prefix index.
- `directors`: the directors of this federation, a TTL table that the listing reads.
"""
