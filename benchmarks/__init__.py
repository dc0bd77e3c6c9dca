"""First figures of the director, each a ratio against something run beside it in the same call.

    python -m benchmarks --help

A rate by itself says what the machine was doing that minute. So every figure here is taken in short rounds, A B A B,
and given as the median of the ratios between neighbours. `docs/benchmarks.md` says how to read them.
"""
