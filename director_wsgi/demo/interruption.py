"""Signals that ask for the end: remembered at any time, and an exception only where nothing is half done."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StoppedError(Exception):
    """A signal asked for the end."""


class Signals:
    """SIGINT, SIGTERM and SIGHUP, while the block lasts. For the main thread of a process."""

    def __init__(self) -> None:
        self._has_come = False
        self._is_armed = False

    def __enter__(self) -> Self:
        self._former = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, former in self._former.items():
            signal.signal(number, former)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Let a signal, also one that has come before, raise `StoppedError` in here."""
        self._is_armed = True
        try:
            if self._has_come:
                raise StoppedError
            yield
        finally:
            self._is_armed = False

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002, signal's parameters
        self._has_come = True
        if self._is_armed:
            self._is_armed = False
            raise StoppedError
