"""The learning rate of each run of a sweep, from the recipe's schedules and the checkpoint that a run starts from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from training.checkpoint.init_checkpoint import InitCheckpoint
from training.checkpoint.quiet import silence
from training.recipe import schedules
from training.recipe.durations import Clock
from training.recipe.run_folders import read_run_metadata, require_libraries
from training.sweep.sweep import Run, Sweep


def curve(sweep: Sweep, run: Run, current: float | None) -> Callable[[int], float]:
    """Return a run's learning rate as a function of its tokens.

    ``current`` is the rate in the checkpoint it starts from. None means there is no checkpoint yet: then it is the rate
    that the trunk's schedule will leave there. Raises UsageError where the schedules make no sense: before hours have
    gone into the trunk.
    """
    recipe = sweep.recipe
    clock = Clock(run.tokens, recipe.batch_tokens, sweep.held_out.sequence_length)
    if recipe.trunk:
        tokens = recipe.trunk_steps() * recipe.batch_tokens
        trunk_clock = Clock(tokens, recipe.batch_tokens, clock.sequence_length)
        if run.variant is None:
            schedule, peak = schedules.of_trunk(recipe.trunk, trunk_clock), recipe.trunk.learning_rate
            return lambda tokens: peak * schedule(tokens)
        if current is None:
            current = schedules.trunk_rate(recipe.trunk, trunk_clock, run.start * recipe.batch_tokens)
    assert run.variant is not None and current is not None
    settings = recipe.anneal_of(run.variant)
    return schedules.of_anneal(settings, schedules.entry_rate(settings, current), clock)


def origin_rate(origin: InitCheckpoint | None) -> float | None:
    """Return the learning rate in the checkpoint that a recipe starts from."""
    return _rate(origin.path) if origin else None


def trunk_rate(sweep: Sweep, run: Run) -> float | None:
    """Return the learning rate in the trunk's checkpoint that a run starts from, None if it is not there yet."""
    trunk = sweep.runs[0]
    folder = sweep.folder / trunk.label
    file = folder / "checkpoints" / f"ba{run.start:012}.pt"
    if not file.exists() or read_run_metadata(folder).get("run_id") != trunk.run_id:
        return None
    return _rate(file)


def _rate(checkpoint: Path) -> float:
    require_libraries()
    silence()
    from training.checkpoint.checkpoints import learning_rates

    return learning_rates(checkpoint)[0]
