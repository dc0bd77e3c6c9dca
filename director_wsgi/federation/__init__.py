"""What the federation is right now.

- `models`: the nouns, frozen.
- `ads`: JSON advertisements to models; `wire` reads JSON as Go does.
- `lists`: namespaces that many servers repeat, and long lists of them, recognised without being read.
- `versions`: which versions of Pelican's programs this director talks to.
- `urls`: encoding of object paths.
- `status`: what servers say of their own health, and how they do in tests, smoothed.
- `downtimes`, `filters`: which servers are advertised and yet not to be used now.
- `snapshot`: the federation at one moment: an immutable value with a prefix index.
- `directory`: who is advertised now: a TTL table of advertisements, and the snapshot made from it.
- `store`: records that outlive a worker and a reboot.
- `replica`: what workers tell each other through a store; `outbox`: what waits to be told; `duties`: who does what for
  all; `alone`: a worker that has nobody to tell. `shared_ads`: what they tell of advertisements.
- `state`: the replica and, as a thread, its copy on disk (`backup`).
- `startup`: how long a worker may not know yet who is there.
- `directors`: the directors of this federation, a TTL table that the listing reads.
"""
