"""Learning-rate schedules, as the ratio of the rate to the peak rate after a number of tokens.

A schedule is a function of tokens, and knows nothing of Composer. ``scheduler`` binds one to an optimizer. Composer's
own schedulers are not used: they are evaluated before the clock advances, so that batch b > 0 gets the value of b - 1,
and a linear decay ends one step above its floor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.recipe.durations import Clock
from training.recipe.settings import Anneal, Piece, Trunk
from udfs.errors import UsageError

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LambdaLR

#: Tokens trained so far → ratio to the peak learning rate.
Schedule = Callable[[int], float]

#: Where the warmup of warmup-stable-decay starts: ModernBERT's scheduler avoids a rate of exactly 0.
WSD_START = 1e-10


@dataclass(frozen=True, slots=True)
class WarmupConstant:
    """Linear from 0 to 1 over ``warmup`` tokens, then 1: warmup-stable-decay without its decay."""

    warmup: float

    def __call__(self, tokens: int) -> float:
        return tokens / self.warmup if tokens < self.warmup else 1.0


@dataclass(frozen=True, slots=True)
class Linear:
    """From 1 straight down to ``floor`` over ``total`` tokens."""

    total: int
    floor: float = 0.0

    def __call__(self, tokens: int) -> float:
        part = min(1.0, tokens / self.total)
        return 1.0 - part * (1.0 - self.floor)


@dataclass(frozen=True, slots=True)
class OneMinusSqrt:
    """``a + (1 - a) * (1 - sqrt(p))`` with a = ``floor``, p = share of ``total`` done.

    ModernBERT's and Ettin's decay (``one_minus_sqrt`` in AnswerDotAI/ModernBERT's scheduler). Their papers call it
    inverse square root, which is another curve.
    """

    total: int
    floor: float = 0.0

    def __call__(self, tokens: int) -> float:
        part = min(1.0, tokens / self.total)
        return self.floor + (1.0 - self.floor) * (1.0 - math.sqrt(part))


@dataclass(frozen=True, slots=True)
class WarmupStableDecay:
    """Linear from 1e-10 to 1 over ``warmup``, then 1, then, in the last ``decay`` of ``total``, linear to ``floor``.

    ``warmup_stable_decay`` in AnswerDotAI/ModernBERT's scheduler; with ``decay`` 0 its trapezoid without a fall.
    """

    total: float
    warmup: float
    decay: float
    floor: float = 0.0

    def __call__(self, tokens: int) -> float:
        if tokens < self.warmup:
            return WSD_START + (1.0 - WSD_START) * (tokens / self.warmup)
        begin = self.total - self.decay
        if tokens < begin or not self.decay:
            return 1.0
        return 1.0 - min(1.0, (tokens - begin) / self.decay) * (1.0 - self.floor)


@dataclass(frozen=True, slots=True)
class InverseSqrt:
    """``t / w`` in the warmup w, then ``a + (1 - a) / sqrt((t - w + s) / s)``, and a linear cooldown at the end.

    a is ``decay_floor``, s is ``scale``; in the last ``cooldown`` of ``total`` the ratio falls from the value reached
    to ``floor``. ``inv_sqrt_with_warmup`` of llm-foundry, after Zhai et al. 2022 (arXiv 2106.04560).
    """

    total: float
    warmup: float
    scale: float
    cooldown: float = 0.0
    decay_floor: float = 0.0
    floor: float = 0.0

    def __call__(self, tokens: int) -> float:
        if tokens < self.warmup:
            return tokens / self.warmup
        begin = max(self.warmup, self.total - self.cooldown)
        if tokens < begin or not self.cooldown:
            return self._decayed(tokens)
        reached = self._decayed(begin)
        return reached + (self.floor - reached) * min(1.0, (tokens - begin) / self.cooldown)

    def _decayed(self, tokens: float) -> float:
        return self.decay_floor + (1.0 - self.decay_floor) / math.sqrt((tokens - self.warmup + self.scale) / self.scale)


@dataclass(frozen=True, slots=True)
class Segment:
    """From ``begin`` to ``end`` tokens the ratio goes from ``first`` to ``last``, straight or as half a cosine."""

    begin: float
    end: float
    first: float
    last: float
    cosine: bool = False

    def __call__(self, tokens: int) -> float:
        part = min(1.0, (tokens - self.begin) / (self.end - self.begin))
        if self.cosine:
            part = (1.0 - math.cos(math.pi * part)) / 2.0
        return self.first + (self.last - self.first) * part


@dataclass(frozen=True, slots=True)
class Piecewise:
    """Segments that follow one another; after the last, its end."""

    segments: tuple[Segment, ...]

    def __call__(self, tokens: int) -> float:
        return next((one for one in self.segments if tokens < one.end), self.segments[-1])(tokens)


def of_trunk(trunk: Trunk, clock: Clock) -> Schedule:
    """Return the trunk's schedule, relative to its learning rate. Raises UsageError if its parts do not fit."""
    return _curve(trunk, clock, "trunk", first=0.0)


def of_anneal(anneal: Anneal, start: float, clock: Clock) -> Schedule:
    """Return an anneal's schedule. ``start`` is its first rate (``entry_rate``) over the trunk's peak rate.

    Raises UsageError if its parts do not fit into it.
    """
    whole = _curve(anneal, clock, "anneal", first=1.0)
    return lambda tokens: start * whole(tokens)


def entry_rate(anneal: Anneal, current: float) -> float:
    """Return the rate that an anneal starts from: the trunk's ``current`` one, unless the recipe gives another.

    Raises UsageError for a rate above the trunk's without ``above_trunk``, and where the trunk has ended at zero.
    """
    if anneal.learning_rate is None:
        if current <= 0:
            raise UsageError(
                "the trunk ends at learning rate 0: nothing to decay from",
                hint="end it higher, or give anneal.learning_rate and above_trunk: true",
            )
        return current
    if anneal.learning_rate > current * (1 + 1e-9) and not anneal.above_trunk:
        raise UsageError(
            f"anneal.learning_rate {anneal.learning_rate:g} is above the trunk's current rate, {current:g}:"
            " the loss would rise first",
            hint="if that is meant: --set anneal.above_trunk=true",
        )
    return anneal.learning_rate


def _curve(settings: Trunk | Anneal, clock: Clock, name: str, first: float) -> Schedule:
    """Return a schedule with peak 1; ``first`` is where the first piece of a piecewise one starts."""
    total, floor = clock.total, settings.final_fraction
    warmup, decay = settings.warmup.tokens(clock), settings.decay.tokens(clock)
    if warmup + decay > total:
        raise UsageError(f"{name}: warmup and decay take {warmup + decay:,.0f} tokens, the run has {total:,}")
    match settings.schedule:
        case "linear":
            return Linear(total, floor)
        case "one_minus_sqrt":
            return OneMinusSqrt(total, floor)
        case "warmup_stable_decay":
            return WarmupStableDecay(total, warmup, decay, floor)
        case "inverse_sqrt":
            scale = settings.scale.tokens(clock) if settings.scale else warmup
            return InverseSqrt(total, warmup, scale, cooldown=decay, decay_floor=settings.decay_floor, floor=floor)
        case "piecewise":
            return piecewise(settings.pieces, clock, name, first)
        case "constant":
            return WarmupConstant(warmup)


def piecewise(pieces: Sequence[Piece], clock: Clock, name: str, first: float) -> Piecewise:
    """Join pieces to a schedule that starts from ``first``. Raises UsageError if they are longer than the run."""
    given = sum(piece.over.tokens(clock) for piece in pieces if piece.over)
    rest = clock.total - given
    if rest < 0:
        raise UsageError(f"{name}.pieces take {given:,.0f} tokens, the run has {clock.total:,}")
    begin, segments = 0.0, []
    for piece in pieces:
        end = begin + (piece.over.tokens(clock) if piece.over else rest)
        if end > begin:
            segments.append(Segment(begin, end, first, piece.to, cosine=piece.shape == "cosine"))
        begin, first = end, piece.to
    if not segments:
        raise UsageError(f"{name}.pieces have no length")
    return Piecewise(tuple(segments))


def scheduler(optimizer: Optimizer, schedule: Schedule, batch_tokens: int) -> LambdaLR:
    """Bind a schedule to an optimizer: step k trains with the schedule's value at ``k * batch_tokens``.

    Its state (the number of steps) is part of a Composer checkpoint.
    """
    from torch.optim.lr_scheduler import LambdaLR

    # A local function: LambdaLR would put the fields of a callable object into the checkpoint.
    def ratio(step: int) -> float:
        return schedule(step * batch_tokens)

    return LambdaLR(optimizer, ratio)
