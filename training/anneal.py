"""The sweep of a recipe: the trunk once, then every arm with every seed from the trunk's last checkpoint.

    <out>/trunk-17/         a folder per run; see training.run for what is in it
    <out>/control-1/
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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

from training import ranks, results, schedules
from training.durations import Clock
from training.exports import Export, MixtureChangedError
from training.recipe import Recipe
from udfs.errors import CuveeError, UsageError
from warehouse.cli.output import Output
from warehouse.lake import Lake

TRUNK = "trunk"
CARD = "run.json"


class RecipeChangedError(UsageError):
    """A run folder was begun with other settings."""


@dataclass(frozen=True, slots=True)
class Run:
    """One training run of a sweep. ``identity`` holds everything that decides its outcome."""

    run_id: str
    arm: str
    seed: int
    mixture: str
    steps: int
    tokens: int
    parent: str | None
    identity: Mapping[str, Any]

    @property
    def label(self) -> str:
        """The run's name within its sweep, and its folder's."""
        return f"{self.arm}-{self.seed}"


def runs(recipe: Recipe, exports: Mapping[str, Export]) -> list[Run]:
    """The runs of a sweep, the trunk first. Tokens are rounded down to whole batches."""
    settings = asdict(recipe)
    deciding = ("model", "objective", "boundaries", "optimizer", "batch_tokens", "microbatch", "precision")
    shared = {key: settings[key] for key in deciding}
    shared["evaluation"] = settings["evaluation"]
    shared["held_out_export"] = exports[recipe.evaluation.mixture].manifest.export_id

    def run(arm: str, seed: int, mixture: str, tokens: int, parent: str | None, own: Mapping[str, Any]) -> Run:
        identity = {
            **shared,
            **own,
            "arm": arm,
            "seed": seed,
            "mixture": mixture,
            "export": exports[mixture].manifest.export_id,
            "parent": parent,
        }
        text = json.dumps(identity, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        steps = tokens // recipe.batch_tokens
        run_id = f"{recipe.name}-{arm}-{seed}-{digest[:12]}"
        return Run(run_id, arm, seed, mixture, steps, steps * recipe.batch_tokens, parent, json.loads(text))

    trunk = run(TRUNK, recipe.trunk.seed, recipe.trunk.mixture, recipe.trunk.tokens, None, {"trunk": settings["trunk"]})
    return [
        trunk,
        *(
            run(arm, seed, mixture, recipe.anneal.tokens, trunk.run_id, {"anneal": settings["anneal"]})
            for seed in recipe.seeds
            for arm, mixture in recipe.arms.items()
        ),
    ]


def anneal(recipe: Recipe, lake: Lake, exports: Mapping[str, Export], folder: Path, out: Output) -> None:
    """Train what is not in the lake yet, in ``folder``, and record each run when it is done.

    Raises CuveeError if the training libraries are missing or another process trains in ``folder``;
    MixtureChangedError or RecipeChangedError if a run's folder holds another run.
    """
    sweep = runs(recipe, exports)
    done = results.finished(lake, [run.run_id for run in sweep])
    todo = [run for run in sweep if run.run_id not in done]
    if not todo:
        out.note(f"all {len(sweep)} runs of {recipe.name} are in the lake already")
        return
    _check_rates(recipe, sweep, exports)
    _require_libraries()
    if not ranks.first():
        out = replace(out, quiet=True)
    with _alone(folder) if ranks.first() else contextlib.nullcontext():
        for run in sweep:
            _check_card(run, folder, exports)
        _train_all(recipe, sweep, todo, lake, exports, folder, out)


def trunk_rate(sweep: Sequence[Run], folder: Path) -> float | None:
    """The learning rate in the trunk's last checkpoint, None if the trunk has not been trained to its end."""
    trunk = sweep[0]
    card = folder / trunk.label / CARD
    last = folder / trunk.label / "checkpoints" / f"ba{trunk.steps:012}.pt"
    if not last.exists() or not card.exists() or json.loads(card.read_text(encoding="utf-8"))["run_id"] != trunk.run_id:
        return None
    _require_libraries()
    from training.quiet import silence

    silence()
    from training.checkpoints import learning_rate

    return learning_rate(last)


def _train_all(
    recipe: Recipe,
    sweep: Sequence[Run],
    todo: list[Run],
    lake: Lake,
    exports: Mapping[str, Export],
    folder: Path,
    out: Output,
) -> None:
    from training.quiet import silence

    out.note(f"{recipe.name}: {len(todo)} runs, {sum(run.tokens for run in todo):,} tokens, in {folder}")
    silence()
    from training import data
    from training.checkpoints import saved
    from training.run import Job, train

    trunk = folder / sweep[0].label
    if sweep[0] not in todo and not saved(trunk / "checkpoints"):
        out.note(f"the trunk's checkpoints are gone from {trunk}: it is trained again")
        todo = [sweep[0], *todo]
    ranks.join()
    with data.shared_memory():
        for number, run in enumerate(todo, 1):
            started = _write_card(run, folder) if ranks.first() else datetime.now(UTC)
            clock = perf_counter()
            job = Job(
                folder=folder / run.label,
                export=exports[run.mixture],
                held_out=exports[recipe.evaluation.mixture],
                steps=run.steps,
                seed=run.seed,
                parent=trunk if run.parent else None,
            )
            with out.progress(
                f"{recipe.name}: {run.label} ({number} of {len(todo)})", run.tokens, "tokens"
            ) as progress:
                try:
                    train(job, recipe, progress)
                except KeyboardInterrupt:
                    out.note(f"{run.label} is saved; the same command goes on from there")
                    raise
            ranks.wait()  # everyone's rows are on disk
            if not ranks.first():
                continue
            results.record(lake, run, recipe, exports[run.mixture], job.folder, started)
            losses = results.losses(lake, [run.run_id])[run.run_id]
            shown = ", ".join(f"{component} {loss:.3f}" for component, loss in losses.items())
            out.note(f"{run.label}: {run.tokens:,} tokens in {perf_counter() - clock:.0f} s; held-out loss {shown}")


def _check_rates(recipe: Recipe, sweep: Sequence[Run], exports: Mapping[str, Export]) -> None:
    """Refuse schedules that make no sense before hours of training have gone into the trunk."""
    trunk, first = sweep[:2]
    clock = Clock(first.tokens, recipe.batch_tokens, exports[trunk.mixture].sequence_length)
    start = schedules.entry_rate(recipe.anneal, schedules.final_rate(recipe, trunk.tokens, clock))
    schedules.of_anneal(recipe.anneal, start / recipe.trunk.learning_rate, clock)


def _require_libraries() -> None:
    missing = [name for name in ("torch", "transformers", "composer", "streaming") if find_spec(name) is None]
    if missing:
        raise CuveeError(f"training needs {', '.join(missing)}", hint="pip install 'cuvee[train]'")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder / ".lock").acquire(timeout=0)
    except Timeout:
        raise CuveeError(f"another process is training in {folder}", hint="wait for it, or use --out") from None
    with lock:
        yield


def _check_card(run: Run, folder: Path, exports: Mapping[str, Export]) -> None:
    """Refuse a folder that holds another run."""
    card = folder / run.label / CARD
    if not card.exists():
        return
    before = json.loads(card.read_text(encoding="utf-8"))
    if before["run_id"] == run.run_id:
        return
    hint = f"finish or remove it, or train in another folder: --out {folder}-2"
    theirs = before["identity"]
    if theirs.get("mixture") == run.mixture and theirs.get("export") != run.identity["export"]:
        raise MixtureChangedError(
            f"{card.parent} was begun on the mixture {run.mixture} as export {theirs.get('export')}; the mixture has"
            f" changed: its latest export is {run.identity['export']} in {exports[run.mixture].folder}",
            hint=hint,
        )
    if theirs.get("held_out_export") != run.identity["held_out_export"]:
        raise MixtureChangedError(
            f"{card.parent} was begun with other held-out documents: their export is now"
            f" {run.identity['held_out_export']}",
            hint=hint,
        )
    changed = [key for key in sorted({*theirs, *run.identity}) if theirs.get(key) != run.identity.get(key)]
    raise RecipeChangedError(
        f"{card.parent} was begun with other settings of {', '.join(changed) or 'the recipe: its name'}", hint=hint
    )


def _write_card(run: Run, folder: Path) -> datetime:
    """Mark a folder as a run's, and say when the run was first started."""
    card = folder / run.label / CARD
    if card.exists():
        return datetime.fromisoformat(json.loads(card.read_text(encoding="utf-8"))["started_at"])
    card.parent.mkdir(parents=True, exist_ok=True)
    started = datetime.now(UTC)
    content = {"run_id": run.run_id, "started_at": started.isoformat(), "identity": run.identity}
    aside = card.with_suffix(".part")
    aside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    aside.rename(card)
    return started
