"""What answers cost: the tokens that were paid for, and their price."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Usage:
    """Tokens paid for so far: read and written."""

    input: int = 0
    output: int = 0


@dataclass(frozen=True, slots=True)
class Price:
    """Money per million tokens, as a labeler's file states it: no part of any fingerprint."""

    input: float
    output: float
    currency: str = "USD"

    def of(self, usage: Usage) -> float:
        """Return the cost of some tokens.

        >>> Price(0.5, 1.5).of(Usage(2_000_000, 1_000_000))
        2.5
        """
        return (usage.input * self.input + usage.output * self.output) / 1e6
