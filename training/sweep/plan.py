"""What a recipe would train: tokens, steps, epochs per component, FLOPs, memory, time, rates. Nothing runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from training.checkpoint.init_checkpoint import at
from training.checkpoint.models import Parameters
from training.checkpoint.quiet import silence
from training.checkpoint.reading import learning_rates
from training.recipe import schedules
from training.recipe.durations import Clock
from training.recipe.exports import share
from training.recipe.recipe import Recipe
from training.recipe.run_folders import read_run_metadata, require_libraries
from training.sweep import results
from training.sweep.sweep import Run, Sweep
from warehouse.lake.lake import Lake

#: Tokens per parameter at which Hoffmann et al. 2022 (arXiv 2203.15556) find compute spent best.
CHINCHILLA = 20

#: Activations of a layer in bytes per token and hidden unit, in 16 bits, without attention scores: Korthikanti et al.
#: 2022 (arXiv 2205.05198), equation 1, for an MLP of four times the width. An estimate, until a run was measured.
ACTIVATION_BYTES = 34

#: What an optimizer keeps besides weights and gradients, in bytes per parameter: moments in fp32.
_MOMENTS = {"decoupled_adamw": 8, "stable_adamw": 8, "lionw": 4}


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One run. FLOPs are 6 N D, N with and without the embeddings. ``seconds`` is None before anything was measured."""

    run: str
    mixture: str
    tokens: int
    steps: int
    passes: float
    flops: float
    flops_without_embeddings: float
    seconds: float | None
    status: str


@dataclass(frozen=True, slots=True)
class PlannedComponent:
    """What one arm (or the trunk) reads of one component; ``epochs`` counts how often each of its samples is seen.

    ``max_epochs`` is how often its mixture allows that, None where it does not say.
    """

    arm: str
    component: str
    share: float
    tokens: int
    epochs: float
    max_epochs: float | None = None

    @property
    def too_often(self) -> bool:
        """Whether it is seen more often than its mixture allows; a last batch that is begun is not counted."""
        return self.max_epochs is not None and round(self.epochs, 2) > self.max_epochs


@dataclass(frozen=True, slots=True)
class PlannedCurve:
    """The learning rates of the trunk or of an anneal, at 101 places: ``points`` are (tokens, rate).

    ``source`` says where the first rate of an anneal is from: a checkpoint or, before there is one, the recipe's
    schedule.
    """

    run: str
    source: Literal["recipe", "checkpoint"]
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class MeasuredSpeed:
    """What an earlier run measured: the same model, batch and precision, or else scaled by FLOPs per token."""

    run: str
    same: bool
    tokens_per_second: float
    peak_bytes: float


@dataclass(frozen=True, slots=True)
class SweepCost:
    """A whole sweep next to full runs: each arm trained from the beginning. FLOPs are 6 N D with embeddings.

    ``tokens_per_parameter`` is of one arm with what came before it; Chinchilla's is 20.
    """

    tokens: int
    flops: float
    flops_without_embeddings: float
    full_runs_tokens: int
    full_runs_flops: float
    saving: float
    tokens_per_parameter: float
    chinchilla_tokens: int


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """Everything ``--plan`` prints. ``memory`` is in bytes, None where it is not known."""

    curves: tuple[PlannedCurve, ...]
    parameters: Parameters
    runs: tuple[PlannedRun, ...]
    components: tuple[PlannedComponent, ...]
    cost: SweepCost
    memory: float | None
    speed: MeasuredSpeed | None


def plan(sweep: Sweep, lake: Lake) -> TrainingPlan:
    """Work out the plan of a sweep. Raises UsageError where the schedules make no sense (training.recipe.schedules)."""
    parameters = sweep.parameters()
    speed = measured(lake, sweep.recipe, parameters)
    done = results.finished(lake, sweep.run_ids)
    planned = tuple(
        PlannedRun(
            run=run.label,
            mixture=run.mixture,
            tokens=run.tokens,
            steps=run.steps,
            passes=_passes(sweep, run),
            flops=parameters.flops(run.tokens, embeddings=True),
            flops_without_embeddings=parameters.flops(run.tokens, embeddings=False),
            seconds=run.tokens / speed.tokens_per_second if speed else None,
            status="done" if run.run_id in done else "to train",
        )
        for run in sweep.runs
    )
    return TrainingPlan(
        curves=tuple(_curves(sweep)),
        parameters=parameters,
        runs=planned,
        components=tuple(_components(sweep)),
        cost=cost(sweep, parameters),
        memory=speed.peak_bytes if speed and speed.same else _memory(sweep, parameters),
        speed=speed,
    )


def cost(sweep: Sweep, parameters: Parameters) -> SweepCost:
    """Compare a sweep with full runs. What came before its ``origin`` counts for the full runs alone."""
    tokens = sum(run.tokens for run in sweep.runs)
    arms = [run for run in sweep.runs if run.variant] or sweep.runs
    whole = [sweep.tokens_before(run) + run.tokens for run in arms]
    return SweepCost(
        tokens=tokens,
        flops=parameters.flops(tokens, embeddings=True),
        flops_without_embeddings=parameters.flops(tokens, embeddings=False),
        full_runs_tokens=sum(whole),
        full_runs_flops=parameters.flops(sum(whole), embeddings=True),
        saving=sum(whole) / tokens,
        tokens_per_parameter=max(whole) / parameters.total,
        chinchilla_tokens=CHINCHILLA * parameters.total,
    )


def measured(lake: Lake, recipe: Recipe, parameters: Parameters) -> MeasuredSpeed | None:
    """Return the latest measured run of the same model, batch and precision; else of the precision alone, scaled."""
    rows = lake.reader().execute(
        "select r.run_id, r.config, max(m.value) filter (m.name = 'speed/tokens_per_second'),"
        " max(m.value) filter (m.name = 'speed/peak_bytes')"
        " from runs.runs as r join runs.metrics as m using (run_id) where m.name like 'speed/%'"
        " group by r.run_id, r.config, r.finished_at order by r.finished_at desc"
    )
    other: MeasuredSpeed | None = None
    for run_id, text, rate, peak in rows.fetchall():
        config = json.loads(text)
        if config["precision"] != recipe.precision or not config.get("parameters"):
            continue
        same = (parameters.total, recipe.batch_tokens, recipe.microbatch)
        if (config["parameters"], config["batch_tokens"], config["microbatch"]) == same:
            return MeasuredSpeed(run_id, True, rate, peak)
        other = other or MeasuredSpeed(run_id, False, rate * config["parameters"] / parameters.total, peak)
    return other


def _memory(sweep: Sweep, parameters: Parameters) -> float | None:
    """Estimate weights, gradients, moments and one microbatch's activations. None for a model from a folder."""
    recipe = sweep.recipe
    if recipe.model.folder is not None:
        return None
    sizes = recipe.model.sizes()
    length = sweep.held_out.sequence_length
    tokens = (recipe.microbatch or recipe.batch_tokens // length) * length
    width = ACTIVATION_BYTES * (2 if recipe.precision == "fp32" else 1)
    return float(
        parameters.total * (8 + _MOMENTS[recipe.optimizer.name]) + width * tokens * sizes.hidden * sizes.layers
    )


def curve(sweep: Sweep, run: Run, current: float | None) -> Callable[[int], float]:
    """Return a run's learning rate as a function of its tokens.

    ``current`` is the rate in the checkpoint it starts from. None means there is no checkpoint yet: then it is the rate
    that the trunk's schedule will leave there. Raises UsageError where the schedules make no sense: before hours have
    gone into the trunk.
    """
    recipe = sweep.recipe
    clock = Clock(run.tokens, recipe.batch_tokens, sweep.held_out.sequence_length)
    if recipe.trunk:
        trunk_clock = replace(clock, total=recipe.trunk_steps() * recipe.batch_tokens)
        schedule, peak = schedules.of_trunk(recipe.trunk, trunk_clock), recipe.trunk.learning_rate
        if run.variant is None:
            return lambda tokens: peak * schedule(tokens)
        if current is None:
            current = peak * schedule(run.start * recipe.batch_tokens)
    assert run.variant is not None and current is not None
    settings = recipe.anneal_of(run.variant)
    return schedules.of_anneal(settings, schedules.entry_rate(settings, current), clock)


def origin_rate(sweep: Sweep) -> float | None:
    """Return the learning rate in the checkpoint that a recipe starts from."""
    return _rate(sweep.origin.path, sweep.trust) if sweep.origin else None


def trunk_rate(sweep: Sweep, run: Run) -> float | None:
    """Return the learning rate in the trunk's checkpoint that a run starts from, None if it is not there yet."""
    trunk = sweep.runs[0]
    folder = sweep.folder / trunk.label
    file = at(folder, run.start)
    if not file.exists() or read_run_metadata(folder).get("run_id") != trunk.run_id:
        return None
    return _rate(file, sweep.trust)


def _rate(checkpoint: Path, trust: bool) -> float:
    require_libraries()
    silence()
    return learning_rates(checkpoint, trust=trust)[0]


def _curves(sweep: Sweep) -> Iterator[PlannedCurve]:
    """Yield the trunk's, and one per window and learning rate: arms of the same have the same. None without a rate."""
    first: dict[object, Run] = {}
    for run in sweep.runs:
        first.setdefault(run.variant.group if run.variant else None, run)
    for run in first.values():
        current = None
        if run.variant:
            current = trunk_rate(sweep, run) if sweep.recipe.trunk else origin_rate(sweep)
            if current is None and sweep.recipe.trunk is None:
                continue
        rate = curve(sweep, run, current)
        places = [run.tokens * part // 100 for part in range(101)]
        name = "anneal" + run.variant.label.removeprefix(run.variant.arm) if run.variant else "trunk"
        yield PlannedCurve(
            name, "recipe" if current is None else "checkpoint", tuple((place, rate(place)) for place in places)
        )


def _components(sweep: Sweep) -> Iterator[PlannedComponent]:
    first: dict[str, Run] = {}
    for run in sweep.runs:
        first.setdefault(run.variant.label if run.variant else run.arm, run)
    for label, run in first.items():
        read = sweep.readings(run)
        for component in dict.fromkeys(name for one in read for name in one.export.components):
            part = share(read, component)
            tokens = run.tokens * part
            # Stages may hold the same samples, or others: as if each had the component's of the one that has most.
            distinct = max(one.export.distinct_samples(component) * one.export.sequence_length for one in read)
            limits = [one.export.max_epochs(component) for one in read]
            yield PlannedComponent(
                arm=label,
                component=component,
                share=part,
                tokens=round(tokens),
                epochs=tokens / distinct,
                max_epochs=min((limit for limit in limits if limit is not None), default=None),
            )


def _passes(sweep: Sweep, run: Run) -> float:
    """Return how often a run goes through an export; of its stages the one that is gone through most."""
    return max(
        one.steps * sweep.recipe.batch_tokens / (one.export.samples() * one.export.sequence_length)
        for one in sweep.readings(run)
    )
