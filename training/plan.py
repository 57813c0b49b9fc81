"""What a recipe would train: tokens, steps, epochs per component, FLOPs, learning rates. Nothing runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from training import schedules
from training.anneal import Run
from training.durations import Clock
from training.exports import Export
from training.models import Parameters, count, model_vocabulary
from training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One run. FLOPs are 6 N D, N with and without the embeddings."""

    run: str
    mixture: str
    tokens: int
    steps: int
    passes: float
    flops: float
    flops_without_embeddings: float
    status: str


@dataclass(frozen=True, slots=True)
class PlannedComponent:
    """What one arm (or the trunk) reads of one component; ``epochs`` counts how often each of its samples is seen."""

    arm: str
    component: str
    share: float
    tokens: int
    epochs: float


@dataclass(frozen=True, slots=True)
class PlannedCurve:
    """The learning rates of the trunk or of an anneal, at 101 places: ``points`` are (tokens, rate).

    ``source`` says where the first rate of an anneal is from: the trunk's checkpoint or, before there is one, the
    recipe's schedule.
    """

    run: str
    source: str
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything ``--plan`` prints."""

    curves: tuple[PlannedCurve, ...]
    parameters: Parameters
    runs: tuple[PlannedRun, ...]
    components: tuple[PlannedComponent, ...]


def plan(
    recipe: Recipe, sweep: Sequence[Run], exports: Mapping[str, Export], done: set[str], current: float | None = None
) -> Plan:
    """Work out the plan of a sweep, of which the runs ``done`` are in the lake.

    ``current`` is the learning rate in the trunk's last checkpoint, None before there is one. Raises UsageError where
    the schedules make no sense (see training.schedules).
    """
    parameters = count(recipe.model, model_vocabulary(recipe, exports[recipe.trunk.mixture].vocabulary))
    planned = tuple(
        PlannedRun(
            run=run.label,
            mixture=run.mixture,
            tokens=run.tokens,
            steps=run.steps,
            passes=run.tokens / (exports[run.mixture].samples() * exports[run.mixture].sequence_length),
            flops=parameters.flops(run.tokens, embeddings=True),
            flops_without_embeddings=parameters.flops(run.tokens, embeddings=False),
            status="done" if run.run_id in done else "to train",
        )
        for run in sweep
    )
    return Plan(
        tuple(_curves(recipe, sweep, exports, current)), parameters, planned, tuple(_components(sweep, exports))
    )


def _curves(
    recipe: Recipe, sweep: Sequence[Run], exports: Mapping[str, Export], current: float | None
) -> Iterator[PlannedCurve]:
    peak = recipe.trunk.learning_rate
    for run in sweep[:2]:  # the trunk, and the first of the anneals: their schedules are all the same
        clock = Clock(run.tokens, recipe.batch_tokens, exports[run.mixture].sequence_length)
        if run.parent is None:
            schedule, source = schedules.of_trunk(recipe.trunk, clock), "recipe"
        else:
            source = "recipe" if current is None else "checkpoint"
            start = schedules.entry_rate(
                recipe.anneal, schedules.final_rate(recipe, sweep[0].tokens, clock) if current is None else current
            )
            schedule = schedules.of_anneal(recipe.anneal, start / peak, clock)
        places = [run.tokens * part // 100 for part in range(101)]
        name = "trunk" if run.parent is None else "anneal"
        yield PlannedCurve(name, source, tuple((place, peak * schedule(place)) for place in places))


def _components(sweep: Sequence[Run], exports: Mapping[str, Export]) -> Iterator[PlannedComponent]:
    for run in {run.arm: run for run in reversed(sweep)}.values():
        export = exports[run.mixture]
        for component in export.components:
            share = export.share(component)
            distinct = export.distinct_samples(component) * export.sequence_length
            yield PlannedComponent(run.arm, component, share, round(run.tokens * share), run.tokens * share / distinct)
