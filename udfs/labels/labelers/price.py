"""What answers cost: the tokens that were paid for, and their price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


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
        """What some tokens cost.

        >>> Price(0.5, 1.5).of(Usage(2_000_000, 1_000_000))
        2.5
        """
        return (usage.input * self.input + usage.output * self.output) / 1e6


@runtime_checkable
class Priced(Protocol):
    """What a bound function may have besides (``udfs.expensive.BoundFunction``): ``usage`` only ever grows."""

    @property
    def price(self) -> Price | None:
        """The price of its tokens, if somebody stated one."""

    @property
    def usage(self) -> Usage | None:
        """What it has used since it was bound; None if it does not tell what it reads from what it writes."""
