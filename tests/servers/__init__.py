"""Tests against real servers on loopback, most of which misbehave. `faults` is the server; `authority` its certificates."""
