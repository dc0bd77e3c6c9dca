"""Primitives of time and of bounded use. They know nothing of directors and could be a library tomorrow.

- `deadline`: an instant on the monotonic clock; every wait takes what remains of one.
- `slots`: the right to have one thing in flight, handed over to whoever waited longest.
- `lanes`: the right to wait, shared fairly between keys.
- `breaker`: refuses calls that would fail, and finds out when they would not; `window`: how the last calls ended.
- `adaptive`: how many calls at once somebody else can bear.
- `coalesce`: those who want the same thing at the same time ask for it once.
- `ttl`: a bounded table whose entries die, safe between threads.
"""
