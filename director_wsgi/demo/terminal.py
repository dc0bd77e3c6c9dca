"""How the plays talk with whoever started them."""

import argparse
import sys
from collections.abc import Callable


class Progress:
    """One line that is written anew on a terminal; elsewhere a line for each thing that happens.

    Args:
        name: Of what is being played; begins the line.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._words = ""
        self._on_terminal = sys.stdout.isatty()

    def say(self, words: str) -> None:
        """Something else happens from now on; `done` is the last."""
        self._words = words
        self._show("", end="\n" if words == "done" or not self._on_terminal else "")

    def tick(self, figures: str) -> None:
        """Time goes by, and this is how it stands."""
        if self._on_terminal:
            self._show(f" ({figures})", end="")

    def _show(self, more: str, end: str) -> None:
        line = f"{self._name}: {self._words}{more}"
        print(f"\r{line:<78}" if self._on_terminal else line, end=end, flush=True)


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """Reads a whole number within bounds from a command line."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text}: expected a whole number from {least} to {most}")
        return int(text)

    return read
