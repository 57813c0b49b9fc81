"""The sweep of a recipe: the trunk once, then every arm in every window with every seed from the trunk's checkpoints.

    <out>/trunk-17/             a folder per run; see training.run.run for what is in it
    <out>/control-1/            or control-w05-1 where there are windows: an anneal of 5% of the budget
    <out>/upsampled-1/ …

A run is identified by everything that decides its outcome: the recipe's settings for it, its arm and seed, the exports
it reads, and its parent. The same command continues where it was stopped, and does nothing when all runs are in the
lake. A folder belongs to one run: if the recipe or a mixture has changed since, that is an error, never a run that
began on one mixture and ended on another.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from time import perf_counter
from typing import Any

from training.checkpoint import init_checkpoint
from training.checkpoint.init_checkpoint import Origin
from training.recipe import schedules
from training.recipe.durations import Clock, split
from training.recipe.exports import Export, MixtureChangedError, Reading, stages_of
from training.recipe.recipe import Recipe, Variant
from training.recipe.run_folders import RecipeChangedError, alone, others, read_card, require_libraries, write_card
from training.recipe.settings import Anneal, Stage, stages
from training.run import distributed
from training.sweep import results
from udfs.errors import UsageError
from warehouse.cli.output import Output
from warehouse.lake.lake import Lake

TRUNK = "trunk"


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


def runs(recipe: Recipe, exports: Mapping[str, Export], origin: Origin | None = None) -> list[Run]:
    """The runs of a sweep, the trunk first. Tokens are rounded down to whole batches.

    ``origin`` is the checkpoint that a recipe without a trunk starts from. Raises UsageError if a component that is to
    be left out is in no mixture, or stages are not as long as their run.
    """
    settings = asdict(recipe)
    deciding = ("model", "objective", "boundaries", "optimizer", "batch_tokens", "microbatch", "precision")
    shared = {key: settings[key] for key in deciding}
    shared["evaluation"] = settings["evaluation"]
    shared["held_out_export"] = exports[recipe.evaluation.mixture].manifest.export_id

    def run(
        arm: str, seed: int, read: tuple[Stage, ...], steps: int, parent: str | None, own: Mapping[str, Any]
    ) -> Run:
        parts = _stages(read, steps, recipe.batch_tokens, exports)
        places = [exports[mixture].manifest.export_id for mixture, _ in parts]
        identity = {**shared, **own, "arm": arm, "seed": seed, "parent": parent}
        identity |= {"mixture": ", ".join(mixture for mixture, _ in parts), "export": places[-1]}
        if len(parts) > 1:
            begins = accumulate((steps for _, steps in parts), initial=0)
            identity["stages"] = [
                {"mixture": mixture, "export": place, "from_batch": begin}
                for (mixture, _), place, begin in zip(parts, places, begins, strict=False)
            ]
        text = json.dumps(identity, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        run_id = f"{recipe.name}-{arm}-{seed}-{digest[:12]}"
        return Run(run_id, arm, seed, parts, steps, steps * recipe.batch_tokens, parent, json.loads(text))

    sweep: list[Run] = []
    parent, started = None, {}
    if recipe.trunk:
        own = {"trunk": settings["trunk"]}
        trunk = run(TRUNK, recipe.trunk.seed, stages(recipe.trunk.mixture), recipe.trunk_steps(), None, own)
        sweep, parent = [trunk], trunk.run_id
    elif recipe.start:
        parent = origin.run_id if origin else None
        started = {"start": {**(origin.identity if origin else {}), "optimizer": recipe.start.optimizer}}
    for seed in recipe.seeds if recipe.arms else ():
        for variant in recipe.variants:
            own = {"anneal": asdict(anneal_of(recipe, variant)), **started}
            if variant.window is not None:
                own["window"] = variant.window
            if variant.left_out is not None:
                own["left_out"] = variant.left_out
            steps = recipe.window_steps(variant.window)
            one = run(variant.arm, seed, variant.stages, steps, parent, own)
            sweep.append(replace(one, variant=variant, start=recipe.trunk_steps(variant.window)))
            readings(sweep[-1], exports)
    return sweep


def _stages(
    read: tuple[Stage, ...], steps: int, batch_tokens: int, exports: Mapping[str, Export]
) -> tuple[tuple[str, int], ...]:
    clock = Clock(steps * batch_tokens, batch_tokens, exports[read[0].mixture].sequence_length)
    try:
        parts = split([stage.over for stage in read], clock)
    except ValueError as error:
        names = ", ".join(stage.mixture for stage in read)
        raise UsageError(f"the stages {names} {error}", hint="one without 'over' takes the rest") from error
    return tuple((stage.mixture, part) for stage, part in zip(read, parts, strict=True))


def anneal_of(recipe: Recipe, variant: Variant) -> Anneal:
    """How an arm decays: the recipe's settings with the variant's tokens and learning rate."""
    return replace(
        recipe.anneal,
        tokens=recipe.window_steps(variant.window) * recipe.batch_tokens,
        learning_rate=variant.learning_rate or recipe.anneal.learning_rate,
    )


def readings(run: Run, exports: Mapping[str, Export]) -> tuple[Reading, ...]:
    """What a run reads: its mixtures' exports, without the component that it leaves out where they have it.

    Raises UsageError if none has it.
    """
    found = [Reading(exports[mixture], steps) for mixture, steps in run.stages]
    left_out = run.variant.left_out if run.variant else None
    if left_out is None:
        return tuple(found)
    if not any(left_out in one.export.components for one in found):
        found[0].export.without(left_out)
    return tuple(
        replace(one, export=one.export.without(left_out)) if left_out in one.export.components else one for one in found
    )


def anneal(
    recipe: Recipe, lake: Lake, exports: Mapping[str, Export], origin: Origin | None, folder: Path, out: Output
) -> None:
    """Train what is not in the lake yet, in ``folder``, and record each run when it is done.

    Raises CuveeError if the training libraries are missing or another process trains in ``folder``;
    MixtureChangedError or RecipeChangedError if a run's folder holds another run; UsageError if there is no checkpoint
    to start from, or a schedule makes no sense.
    """
    sweep = runs(recipe, exports, origin)
    done = results.finished(lake, [run.run_id for run in sweep])
    todo = [run for run in sweep if run.run_id not in done]
    if not todo:
        out.note(f"all {len(sweep)} runs of {recipe.name} are in the lake already")
        return
    if recipe.start:
        origin = init_checkpoint.check(origin, recipe)
    require_libraries()
    for run in sweep:
        if run.variant:
            curve(recipe, run, exports, origin_rate(origin))
    if not distributed.first():
        out = replace(out, quiet=True)
    with alone(folder) if distributed.first() else contextlib.nullcontext():
        for run in sweep:
            _check_card(run, folder, exports)
        _train_all(recipe, sweep, todo, lake, exports, origin, folder, out)


def curve(recipe: Recipe, run: Run, exports: Mapping[str, Export], current: float | None) -> Callable[[int], float]:
    """A run's learning rate as a function of its tokens.

    ``current`` is the rate in the checkpoint it starts from; None if there is none yet: then what the trunk's schedule
    will leave there. Raises UsageError where the schedules make no sense: before hours have gone into the trunk.
    """
    clock = Clock(run.tokens, recipe.batch_tokens, exports[recipe.evaluation.mixture].sequence_length)
    if recipe.trunk:
        tokens = recipe.trunk_steps() * recipe.batch_tokens
        trunk_clock = Clock(tokens, recipe.batch_tokens, clock.sequence_length)
        if run.variant is None:
            schedule, peak = schedules.of_trunk(recipe.trunk, trunk_clock), recipe.trunk.learning_rate
            return lambda tokens: peak * schedule(tokens)
        if current is None:
            current = schedules.trunk_rate(recipe.trunk, trunk_clock, run.start * recipe.batch_tokens)
    assert run.variant is not None and current is not None
    settings = anneal_of(recipe, run.variant)
    return schedules.of_anneal(settings, schedules.entry_rate(settings, current), clock)


def origin_rate(origin: Origin | None) -> float | None:
    """The learning rate in the checkpoint that a recipe starts from."""
    return _rate(origin.path) if origin else None


def trunk_rate(run: Run, sweep: Sequence[Run], folder: Path) -> float | None:
    """The learning rate in the trunk's checkpoint that a run starts from, None if it is not there yet."""
    trunk = sweep[0]
    here = folder / trunk.label
    file = here / "checkpoints" / f"ba{run.start:012}.pt"
    if not file.exists() or read_card(here).get("run_id") != trunk.run_id:
        return None
    return _rate(file)


def _rate(checkpoint: Path) -> float:
    require_libraries()
    from training.checkpoint.quiet import silence

    silence()
    from training.checkpoint.checkpoints import learning_rates

    return learning_rates(checkpoint)[0]


def _train_all(
    recipe: Recipe,
    sweep: Sequence[Run],
    todo: list[Run],
    lake: Lake,
    exports: Mapping[str, Export],
    origin: Origin | None,
    folder: Path,
    out: Output,
) -> None:
    from training.checkpoint.quiet import silence

    out.note(f"{recipe.name}: {len(todo)} runs, {sum(run.tokens for run in todo):,} tokens, in {folder}")
    silence()
    from training.checkpoint import checkpoints
    from training.checkpoint.models import count, model_vocabulary
    from training.run import data
    from training.run.run import Job, train

    parameters = count(recipe.model, model_vocabulary(recipe, exports[recipe.evaluation.mixture].vocabulary))
    trunk = folder / sweep[0].label if recipe.trunk else None
    marks = tuple(sorted({run.start for run in sweep if run.variant}))
    if trunk:
        found = {batch for batch, _ in checkpoints.saved(trunk / "checkpoints")}
        missing = [run.start for run in todo if run.variant and run.start not in found]
        if missing and max(found, default=0) > min(missing):
            raise UsageError(
                f"{trunk} has no checkpoint at batch {min(missing):,}, where a window begins, and is beyond it",
                hint=f"train in another folder: --out {folder}-2",
            )
        if missing and sweep[0] not in todo:
            out.note(f"the trunk's checkpoints are gone from {trunk}: it is trained again")
            todo = [sweep[0], *todo]
    distributed.join()
    with data.shared_memory():
        for number, run in enumerate(todo, 1):
            before = run.start * recipe.batch_tokens + (origin.tokens if origin else 0)
            facts = {
                "tokens_before": before,
                "parameters": parameters.total,
                "parameters_without_embeddings": parameters.without_embeddings,
                **({"control": recipe.control, "complete": run.variant.complete} if run.variant else {}),
            }
            started = (
                write_card(folder / run.label, run.run_id, run.identity, before)
                if distributed.first()
                else datetime.now(UTC)
            )
            clock = perf_counter()
            read = readings(run, exports)
            job = Job(
                folder=folder / run.label,
                readings=read,
                held_out=exports[recipe.evaluation.mixture],
                steps=run.steps,
                seed=run.seed,
                start=origin.path if origin else checkpoints.at(trunk, run.start) if trunk and run.variant else None,
                optimizer=recipe.start is None or recipe.start.optimizer,
                marks=() if run.variant else marks,
            )
            own = replace(recipe, anneal=anneal_of(recipe, run.variant)) if run.variant else recipe
            with out.progress(
                f"{recipe.name}: {run.label} ({number} of {len(todo)})", run.tokens, "tokens"
            ) as progress:
                try:
                    train(job, own, progress)
                except KeyboardInterrupt:
                    out.note(f"{run.label} is saved; the same command goes on from there")
                    raise
            distributed.wait()  # everyone's rows are on disk
            if not distributed.first():
                continue
            results.record(lake, run, recipe, [one.export for one in read], job.folder, started, facts)
            losses = results.losses(lake, [run.run_id])[run.run_id]
            shown = ", ".join(f"{component} {loss:.3f}" for component, loss in losses.items())
            out.note(f"{run.label}: {run.tokens:,} tokens in {perf_counter() - clock:.0f} s; held-out loss {shown}")


def _check_card(run: Run, folder: Path, exports: Mapping[str, Export]) -> None:
    """Refuse a folder that holds another run."""
    here = folder / run.label
    theirs = others(here, run.run_id)
    if not theirs:
        return
    hint = f"finish or remove it, or train in another folder: --out {folder}-2"
    for was, now in zip(stages_of(theirs), stages_of(run.identity), strict=False):
        if was["mixture"] == now["mixture"] and was["export"] != now["export"]:
            raise MixtureChangedError(
                f"{here} was begun on the mixture {was['mixture']} as export {was['export']}; the mixture has"
                f" changed: its latest export is {now['export']} in {exports[now['mixture']].folder}",
                hint=hint,
            )
    if theirs.get("held_out_export") != run.identity["held_out_export"]:
        raise MixtureChangedError(
            f"{here} was begun with other held-out documents: their export is now {run.identity['held_out_export']}",
            hint=hint,
        )
    changed = [key for key in sorted({*theirs, *run.identity}) if theirs.get(key) != run.identity.get(key)]
    raise RecipeChangedError(
        f"{here} was begun with other settings of {', '.join(changed) or 'the recipe: its name'}", hint=hint
    )
