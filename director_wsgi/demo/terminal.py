"""How the plays talk with whoever started them."""

import argparse
import sys
from collections.abc import Callable, Sequence


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


def side_by_side(names: Sequence[str], columns: Sequence[Sequence[tuple[str, str]]]) -> str:
    """Figures of several runs as lines of text.

    Args:
        names: Of the runs.
        columns: For each run its rows, a label and a figure; all have the same labels.
    """
    labels = [label for label, _ in columns[0]]
    width = max(map(len, labels)) + 2
    wide = [max(len(name), *(len(text) for _, text in own)) + 3 for name, own in zip(names, columns, strict=True)]
    lines = ["".join([" " * width, *(name.rjust(w) for name, w in zip(names, wide, strict=True))])]
    for row, label in enumerate(labels):
        texts = [own[row][1] for own in columns]
        lines.append("".join([label.ljust(width), *(t.rjust(w) for t, w in zip(texts, wide, strict=True))]).rstrip())
    return "\n".join(lines)


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """Reads a whole number within bounds from a command line."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text}: expected a whole number from {least} to {most}")
        return int(text)

    return read
