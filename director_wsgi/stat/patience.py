"""How much an asker wants to know before it goes on."""

import enum


class Patience(enum.Enum):
    """When the answers that have come are enough, before the deadline ends the wait anyway."""

    FIRST = "first"
    """One server that has the object: it exists, and nothing else matters to the asker."""

    BEST = "best"
    """One server that has it, and a short grace for the others: the asker chooses between them."""
