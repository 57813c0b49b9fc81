"""Limits to the answers of one build. Plain data types."""

from __future__ import annotations

from dataclasses import dataclass

from warehouse.answers.budget import Cost


@dataclass(frozen=True, slots=True)
class AnswerLimits:
    """The answers that a build may ask for, and how often they are committed."""

    retry: tuple[str, ...] = ()  # ask again for answers with these statuses
    limit: int | None = None  # new answers of each function
    max_cost: Cost | None = None  # of all new answers together
    commit_every: int = 500  # answers
    lease_seconds: float = 60.0  # for which another build leaves inputs to one that sends no sign of life


NO_LIMITS = AnswerLimits()
