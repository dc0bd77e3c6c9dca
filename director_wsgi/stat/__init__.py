"""Asking servers whether they have an object. The director's threads live here, and only here.

- `engine`: `ask`, the gates in their order; `patience`: how much an asker wants to know.
- `asking`: one asker's wait for several servers.
- `flight`: one HEAD, shared by all who ask the same; `head`: what is sent, and what its answer means.
- `roster`: every server that has been asked; `server`: its slots, threads and connections; `health`: its breaker.
- `evidence`: what is known of an object at a server, and the table that remembers it.
- `policy`: what the operator decides; `report`: what can be seen.
"""
