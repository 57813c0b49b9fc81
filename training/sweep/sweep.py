"""The runs of a recipe: the trunk once, then every arm in every window with every seed. Plain values, nothing runs.

A run is identified by everything that decides its outcome: the recipe's settings for it, its arm and seed, the exports
it reads, and its parent.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from training.checkpoint.init_checkpoint import InitCheckpoint
from training.checkpoint.models import Parameters, count, model_vocabulary
from training.recipe.durations import Clock, split
from training.recipe.exports import Export, Reading
from training.recipe.recipe import Recipe, Variant
from training.recipe.settings import MixtureStage, stages
from udfs.errors import UsageError

TRUNK = "trunk"

#: The settings of a recipe that decide the outcome of each of its runs.
_DECIDING = ("model", "objective", "boundaries", "optimizer", "batch_tokens", "microbatch", "precision", "evaluation")


@dataclass(frozen=True, slots=True)
class Run:
    """One training run of a sweep. ``identity`` holds everything that decides its outcome.

    ``stages`` are the mixtures that it reads in a row, most often one, with their batches. ``variant`` is the arm, None
    for the trunk; ``start`` is how many of the trunk's batches come before.
    """

    run_id: str
    arm: str
    seed: int
    stages: tuple[tuple[str, int], ...]
    steps: int
    tokens: int
    parent: str | None
    identity: Mapping[str, Any]
    variant: Variant | None = None
    start: int = 0

    @property
    def label(self) -> str:
        """The run's name within its sweep, and its folder's."""
        return f"{self.variant.label if self.variant else self.arm}-{self.seed}"

    @property
    def mixture(self) -> str:
        """What it reads, as a text."""
        return ", ".join(mixture for mixture, _ in self.stages)


@dataclass(frozen=True, slots=True)
class Sweep:
    """A recipe with the exports it reads, the folder it trains in, and its runs, the trunk first.

    ``origin`` is the checkpoint that a recipe without a trunk starts from, None if it is not there yet. ``trust``: see
    training.checkpoint.reading.
    """

    recipe: Recipe
    exports: Mapping[str, Export]
    folder: Path
    origin: InitCheckpoint | None = None
    trust: bool = False
    runs: tuple[Run, ...] = ()

    @property
    def held_out(self) -> Export:
        """The export that every run is measured on."""
        return self.exports[self.recipe.evaluation.mixture]

    @property
    def run_ids(self) -> list[str]:
        """The runs' ids."""
        return [run.run_id for run in self.runs]

    def parameters(self) -> Parameters:
        """Count the parameters of the model. One from a folder needs transformers."""
        return count(self.recipe.model, model_vocabulary(self.recipe, self.held_out.vocabulary))

    def tokens_before(self, run: Run) -> int:
        """Count the tokens that were trained before a run: by its trunk, or before the checkpoint it starts from."""
        return run.start * self.recipe.batch_tokens + (self.origin.tokens if self.origin else 0)

    def readings(self, run: Run) -> tuple[Reading, ...]:
        """Return what a run reads: its mixtures' exports, without the component that it leaves out where they have it.

        Raises UsageError if none has it.
        """
        found = [Reading(self.exports[mixture], steps) for mixture, steps in run.stages]
        left_out = run.variant.left_out if run.variant else None
        if left_out is None:
            return tuple(found)
        if not any(left_out in one.export.components for one in found):
            found[0].export.without(left_out)
        return tuple(
            replace(one, export=one.export.without(left_out)) if left_out in one.export.components else one
            for one in found
        )


def make_sweep(
    recipe: Recipe,
    exports: Mapping[str, Export],
    folder: Path,
    origin: InitCheckpoint | None = None,
    *,
    trust: bool = False,
) -> Sweep:
    """Work out the runs of a recipe. Tokens are rounded down to whole batches.

    Raises UsageError if a component that is to be left out is in no mixture, or stages are not as long as their run.
    """
    sweep = Sweep(recipe, exports, folder, origin, trust)
    runs: list[Run] = []
    shared: dict[str, Any] = {"parent": None}
    if recipe.trunk:
        own = {**shared, "trunk": asdict(recipe.trunk)}
        runs = [_run(sweep, (TRUNK, recipe.trunk.seed), stages(recipe.trunk.mixture), recipe.trunk_steps(), own)]
        shared["parent"] = runs[0].run_id
    elif recipe.start:
        shared["parent"] = origin.run_id if origin else None
        place = {"run": origin.run_id, "checkpoint": origin.path.name} if origin else {}
        shared["start"] = {**place, "optimizer": recipe.start.optimizer}
    for seed in recipe.seeds if recipe.arms else ():
        for variant in recipe.variants:
            own = {**shared, "anneal": asdict(recipe.anneal_of(variant))}
            if variant.window is not None:
                own["window"] = variant.window
            if variant.left_out is not None:
                own["left_out"] = variant.left_out
            one = _run(sweep, (variant.arm, seed), variant.stages, recipe.window_steps(variant.window), own)
            runs.append(replace(one, variant=variant, start=recipe.trunk_steps(variant.window)))
            sweep.readings(runs[-1])
    return replace(sweep, runs=tuple(runs))


def _run(
    sweep: Sweep, name: tuple[str, int], read: tuple[MixtureStage, ...], steps: int, own: Mapping[str, Any]
) -> Run:
    """Make a run of an arm and a seed (``name``); ``own`` is the part of its identity that other runs do not share."""
    recipe, exports, (arm, seed) = sweep.recipe, sweep.exports, name
    parts = _stages(sweep, read, steps)
    places = [exports[mixture].manifest.export_id for mixture, _ in parts]
    settings = asdict(recipe)
    identity: dict[str, Any] = {
        **{key: settings[key] for key in _DECIDING},
        **own,
        "held_out_export": sweep.held_out.manifest.export_id,
        "arm": arm,
        "seed": seed,
        "mixture": ", ".join(mixture for mixture, _ in parts),
        "export": places[-1],
    }
    if len(parts) > 1:
        begins = accumulate((steps for _, steps in parts), initial=0)
        identity["stages"] = [
            {"mixture": mixture, "export": place, "from_batch": begin}
            for (mixture, _), place, begin in zip(parts, places, begins, strict=False)
        ]
    text = json.dumps(identity, sort_keys=True)
    return Run(
        run_id=f"{recipe.name}-{arm}-{seed}-{hashlib.sha256(text.encode()).hexdigest()[:12]}",
        arm=arm,
        seed=seed,
        stages=parts,
        steps=steps,
        tokens=steps * recipe.batch_tokens,
        parent=own["parent"],
        identity=json.loads(text),
    )


def _stages(sweep: Sweep, read: tuple[MixtureStage, ...], steps: int) -> tuple[tuple[str, int], ...]:
    batch_tokens = sweep.recipe.batch_tokens
    clock = Clock(steps * batch_tokens, batch_tokens, sweep.exports[read[0].mixture].sequence_length)
    try:
        parts = split([stage.over for stage in read], clock)
    except ValueError as error:
        names = ", ".join(stage.mixture for stage in read)
        raise UsageError(f"the stages {names} {error}", hint="one without 'over' takes the rest") from error
    return tuple((stage.mixture, part) for stage, part in zip(read, parts, strict=True))
