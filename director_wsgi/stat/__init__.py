"""Asking servers whether they have an object. The director's threads live here, and only here.

- `evidence`: what is known of an object at a server, and the table that remembers it.
- `head`: one HEAD and what its answer means.
- `server`: slots, executor and session of one server.
- `asking`: one asker's wait for several servers.
- `engine`: `ask`, the gates in their order.
"""
