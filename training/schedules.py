"""Learning-rate schedules, as the ratio of the rate to the peak rate after so many tokens.

A schedule is a function of tokens, and knows nothing of Composer. ``scheduler`` binds one to an optimizer. Composer's
own schedulers are not used: they are evaluated before the clock advances, so that batch b > 0 gets the value of b - 1,
and a linear decay ends one step above its floor.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.recipe import Anneal, Trunk

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LambdaLR

#: Tokens trained so far → ratio to the peak learning rate.
Schedule = Callable[[int], float]


@dataclass(frozen=True, slots=True)
class WarmupConstant:
    """Linear from 0 to 1 over ``warmup`` tokens, then 1: warmup-stable-decay without its decay."""

    warmup: int

    def __call__(self, tokens: int) -> float:
        return tokens / self.warmup if tokens < self.warmup else 1.0


@dataclass(frozen=True, slots=True)
class Linear:
    """From ``start`` straight down to ``floor * start`` over ``total`` tokens."""

    total: int
    start: float = 1.0
    floor: float = 0.0

    def __call__(self, tokens: int) -> float:
        part = min(1.0, tokens / self.total)
        return self.start * (1.0 - part * (1.0 - self.floor))


@dataclass(frozen=True, slots=True)
class OneMinusSqrt:
    """``start * (a + (1 - a) * (1 - sqrt(p)))`` with a = ``floor``, p = share of ``total`` done.

    ModernBERT's and Ettin's decay (``one_minus_sqrt`` in AnswerDotAI/ModernBERT's scheduler). Their papers call it
    inverse square root, which is another curve.
    """

    total: int
    start: float = 1.0
    floor: float = 0.0

    def __call__(self, tokens: int) -> float:
        part = min(1.0, tokens / self.total)
        return self.start * (self.floor + (1.0 - self.floor) * (1.0 - math.sqrt(part)))


def of_trunk(trunk: Trunk) -> Schedule:
    """The trunk's schedule, relative to its learning rate."""
    return WarmupConstant(trunk.warmup)


def of_anneal(anneal: Anneal, start: float, total: int) -> Schedule:
    """An anneal's schedule over ``total`` tokens. ``start`` is the trunk's current rate over its peak rate."""
    if anneal.schedule == "linear":
        return Linear(total, start, anneal.final_fraction)
    return OneMinusSqrt(total, start, anneal.final_fraction)


def scheduler(optimizer: Optimizer, schedule: Schedule, batch_tokens: int) -> LambdaLR:
    """Bind a schedule to an optimizer: step k trains with the schedule's value at ``k * batch_tokens``.

    Its state (the number of steps) is part of a Composer checkpoint.
    """
    from torch.optim.lr_scheduler import LambdaLR

    # A local function: LambdaLR would put the fields of a callable object into the checkpoint.
    def ratio(step: int) -> float:
        return schedule(step * batch_tokens)

    return LambdaLR(optimizer, ratio)
