"""What a recipe would train: tokens, steps, epochs per component, FLOPs. Nothing runs and no model is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from training.anneal import Run
from training.exports import Export
from training.models import Parameters, count_parameters
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
class Plan:
    """Everything ``--plan`` prints."""

    parameters: Parameters
    runs: tuple[PlannedRun, ...]
    components: tuple[PlannedComponent, ...]


def plan(recipe: Recipe, sweep: Sequence[Run], exports: Mapping[str, Export], done: set[str]) -> Plan:
    """Work out the plan of a sweep, of which the runs ``done`` are in the lake."""
    parameters = count_parameters(recipe.model.sizes(), exports[recipe.trunk.mixture].vocabulary)
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
    return Plan(parameters, planned, tuple(_components(sweep, exports)))


def _components(sweep: Sequence[Run], exports: Mapping[str, Export]) -> Iterator[PlannedComponent]:
    for run in {run.arm: run for run in reversed(sweep)}.values():
        export = exports[run.mixture]
        for component in export.components:
            share = export.share(component)
            distinct = export.distinct_samples(component) * export.sequence_length
            yield PlannedComponent(run.arm, component, share, round(run.tokens * share), run.tokens * share / distinct)
