"""The benchmark of snapshots takes its figures; how large they are is not for a test."""

import gc

from benchmarks import federations, snapshots


def test_every_figure_is_taken_and_the_garbage_collector_is_left_as_it_was() -> None:
    frozen, callbacks = gc.get_freeze_count(), list(gc.callbacks)

    figures = snapshots.measure(lambda _what: None, rounds=2, size=federations.SMALL)

    assert [figure.name for figure in figures] == [
        "longest stop of the garbage collector, 10 entries",
        "snapshot, one origin has changed",
        "snapshot, one cache has changed",
        "snapshot, all servers have expired at once",
        "restart, reading all advertisements from the store",
    ]
    assert all(figure.rounds == 2 for figure in figures)
    assert all(figure.median > 0 for figure in figures[1:])
    assert gc.get_freeze_count() <= frozen
    assert gc.callbacks == callbacks
