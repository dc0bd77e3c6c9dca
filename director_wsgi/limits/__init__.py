"""Primitives of time and of bounded use. They know nothing of directors and could be a library tomorrow.

- `deadline`: an instant on the monotonic clock; every wait takes what remains of one.
- `slots`: the right to have one thing in flight, handed over to whoever waited longest.
- `ttl`: a bounded table whose entries die, safe between threads.
"""
