"""One thing that was looked at, and what follows from it."""

import enum
from dataclasses import dataclass
from typing import Final

STORED: Final = "stored"
"""The check whether what was stored is read."""


class Verdict(enum.IntEnum):
    """What follows from a check; the number is what the metric shows."""

    OK = 0
    WARNING = 1
    FAILED = 2

    @property
    def word(self) -> str:
        """As the page has it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        message: What is wrong, for operators; if nothing is, what else there is to say, mostly nothing.
    """

    name: str
    verdict: Verdict = Verdict.OK
    message: str = ""


def verdict_of(checks: tuple[Check, ...]) -> Verdict:
    """The worst."""
    return max((check.verdict for check in checks), default=Verdict.OK)
