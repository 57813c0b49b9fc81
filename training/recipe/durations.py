"""Lengths of training: in tokens, samples, batches, or as a share of a run, written with Composer's suffixes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from udfs.amounts import parse_count, parse_share

Unit = Literal["tok", "sp", "ba", "dur"]


@dataclass(frozen=True, slots=True)
class Clock:
    """What a duration is measured by: a run's tokens, and how many of them a batch and a sample have."""

    total: int
    batch_tokens: int
    sequence_length: int


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of training. ``dur`` is a share of the run, from 0 to 1."""

    amount: float
    unit: Unit = "tok"

    def tokens(self, clock: Clock) -> float:
        """Return the duration in tokens; a share of a run need not be a whole number of them."""
        factor = {"tok": 1, "sp": clock.sequence_length, "ba": clock.batch_tokens, "dur": clock.total}[self.unit]
        return self.amount * factor


def split(lengths: Sequence[Duration | None], clock: Clock) -> tuple[int, ...]:
    """Divide a run's batches into parts that follow one another; None takes what is left.

    Raises ValueError if they are not as long as the run or one is shorter than a batch.
    """
    if sum(length is None for length in lengths) > 1:
        raise ValueError("have more than one that lacks 'over', and takes the rest")
    total = clock.total // clock.batch_tokens
    rest = total * clock.batch_tokens - sum(length.tokens(clock) for length in lengths if length)
    ends = [0.0]
    for length in lengths:
        ends.append(ends[-1] + (rest if length is None else length.tokens(clock)))
    bounds = [round(end / clock.batch_tokens) for end in ends]
    if bounds[-1] != total:
        raise ValueError(f"are {bounds[-1]:,} batches, and the run has {total:,}")
    parts = tuple(after - before for before, after in pairwise(bounds))
    if min(parts) < 1:
        raise ValueError(f"do not fit into the run's {total:,} batches: each needs one at least")
    return parts


def parse_duration(text: str) -> Duration:
    """Read ``3B`` (tokens), ``3Btok``, ``500sp`` (samples), ``100ba`` (batches), ``0.1dur`` or ``10%``.

    Raises ValueError for anything else, a negative duration or more than the whole run.
    """
    text = text.strip()
    if text.endswith("%") or text.endswith("dur"):
        share = parse_share(text) if text.endswith("%") else float(text[:-3])
        if not 0 <= share <= 1:
            raise ValueError(text)
        return Duration(share, "dur")
    units: tuple[Unit, ...] = ("tok", "sp", "ba")
    unit = next((one for one in units if text.endswith(one)), None)
    amount = parse_count(text.removesuffix(unit) if unit else text)
    if amount < 0:
        raise ValueError(text)
    return Duration(amount, unit or "tok")
