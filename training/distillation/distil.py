"""Distillation from beginning to end: a teacher's labels → examples → a student → a labeler of the project.

    <out>/<kind>-<seed>/
        run.json        what this run is
        tokenizer/      the student's
        examples/       see training.distillation.examples
        checkpoints/, metrics/, batches/
        labeler/        NAME.yml and NAME/: what is copied to the project's labelers

The same command goes on where it was stopped. A folder belongs to one run. It is an error if the labels or the recipe
have changed since.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from training.checkpoint.quiet import silence
from training.distillation import encoding, examples, labeler, models
from training.distillation.encoding import ExampleEncoder, Packer
from training.distillation.labelled import Labelled, choose
from training.distillation.recipe import Distillation
from training.recipe import schedules
from training.recipe.configuration import RecipeError
from training.recipe.durations import Clock
from training.recipe.exports import MixtureChangedError
from training.recipe.run_folders import alone, others, require_libraries, write_run_metadata
from training.sweep import results
from training.sweep.sweep import Run
from udfs.errors import UsageError
from udfs.labels.taxonomies.taxonomies import Taxonomies
from udfs.labels.taxonomies.taxonomy import Taxonomy
from udfs.tokens.tokenizer import FILE
from warehouse.cli.output import Output
from warehouse.lake.lake import Lake
from warehouse.project.package import project_folders

if TYPE_CHECKING:
    from udfs.labels.students.heads_form import HeadsForm

#: A plan estimates all documents from this many.
_PROBE = 1024


@dataclass(frozen=True)
class Distilling:
    """A recipe over a lake and a project, with the labels chosen. ``trust``: see training.checkpoint.reading."""

    recipe: Distillation
    lake: Lake
    project: Path
    trust: bool = False

    @cached_property
    def taxonomies(self) -> Taxonomies:
        """The project's."""
        return Taxonomies(project_folders(self.project))

    @cached_property
    def taxonomy(self) -> Taxonomy:
        """The one that is labelled by. Raises UsageError."""
        return self.taxonomies.get(self.recipe.taxonomy)

    @cached_property
    def labelled(self) -> Labelled:
        """What the student learns from. Raises UsageError."""
        return choose(self.lake, self.recipe, self.taxonomy)

    @cached_property
    def form(self) -> HeadsForm | None:
        """The heads, None for a student that writes."""
        recipe = self.recipe
        if recipe.generative:
            return None
        from udfs.labels.students.heads_form import HeadsForm

        categories = {category.name: encoding.codes(category) for category in self.taxonomy.categories}
        pooling, tokens = recipe.student.pooling, recipe.sequence_length
        return HeadsForm(self.taxonomy.name, categories, pooling=pooling, tokens=tokens, characters=recipe.characters)

    @cached_property
    def schedule(self) -> schedules.Schedule:
        """The learning rate over the peak rate. Raises UsageError if its pieces are longer than the run."""
        recipe = self.recipe
        clock = Clock(recipe.steps * recipe.batch_tokens, recipe.batch_tokens, recipe.sequence_length)
        return schedules.piecewise(recipe.pieces, clock, "the recipe", 0.0)

    def run(self, tokenizer: Path) -> Run:
        """Make the run. ``tokenizer`` is the student's tokenizer.json."""
        recipe = self.recipe
        settings = asdict(recipe)
        del settings["checkpoints"]
        export = examples.export_id(recipe, self.labelled, tokenizer)
        identity = json.dumps({"recipe": settings, "export": export}, sort_keys=True)
        kind = recipe.student.kind
        return Run(
            run_id=f"{recipe.name}-{kind}-{recipe.seed}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}",
            arm=kind,
            seed=recipe.seed,
            stages=((f"distil:{recipe.name}", recipe.steps),),
            steps=recipe.steps,
            tokens=recipe.steps * recipe.batch_tokens,
            parent=None,
            identity=json.loads(identity),
        )

    def encoder(self, run: Run, folder: Path) -> ExampleEncoder:
        """Make the encoder, and write the labeler's file to ``folder``/labeler. The tokenizer is in ``folder``."""
        path = folder / "labeler" / f"{self.recipe.name}.yml"
        labeler.write_file(self.recipe, run, path)
        tokenizer = folder / "tokenizer"
        if self.form is not None:
            return encoding.HeadsExamples(tokenizer / FILE, self.form)
        from udfs.labels.labelers.labeler_registry import read

        return encoding.GenerativeExamples(read(path, self.taxonomies), tokenizer)


def distil(job: Distilling, out_folder: Path, out: Output) -> tuple[Run, Path]:
    """Train what is not in the lake yet, record the run, and put the labeler into the project.

    Returns the run and the labeler's file. Raises CuveeError if the training libraries are missing or another process
    trains in the folder; UsageError where the labels are too few or the labeler's name is taken.
    """
    recipe = job.recipe
    labeler.check_place(recipe, job.project)
    _ = job.labelled, job.schedule
    require_libraries()
    silence()
    folder = out_folder / f"{recipe.student.kind}-{recipe.seed}"
    with alone(out_folder):
        tokenizer = folder / "tokenizer" / FILE
        if not tokenizer.exists():
            models.write_tokenizer(recipe, job.lake, tokenizer.parent)
        run = job.run(tokenizer)
        _check_folder(run, folder)
        finished = folder / "labeler" / recipe.name
        if run.run_id in results.finished(job.lake, [run.run_id]) and finished.is_dir():
            out.note(f"{run.run_id} is in the lake already")
        else:
            _train(job, run, folder, tokenizer, out)
        return run, labeler.install(folder / "labeler", recipe, job.project)


def _train(job: Distilling, run: Run, folder: Path, tokenizer: Path, out: Output) -> None:
    recipe = job.recipe
    started = write_run_metadata(folder, run.run_id, run.identity)
    with out.progress(f"{recipe.name}: examples", job.labelled.documents, "documents") as progress:
        export = examples.write(
            folder=folder / "examples",
            recipe=recipe,
            labelled=job.labelled,
            encoder=job.encoder(run, folder),
            identity=run.identity["export"],
            advance=progress.advance,
        )
    if export.samples() < recipe.sequences:
        raise UsageError(
            f"the labels make {export.samples():,} sequences, and a batch has {recipe.sequences:,}",
            hint="label more documents, or take a smaller batch: --set batch_tokens=…",
        )
    examples.register(job.lake, export)
    from training.checkpoint import checkpoints, reading
    from training.distillation.run import train
    from training.sweep.record import FinishedRun, record

    for _, checkpoint in checkpoints.saved(folder / "checkpoints")[-1:]:
        reading.check(checkpoint, trust=job.trust)
    clock = perf_counter()
    with out.progress(f"{recipe.name}: {run.label}", run.tokens, "tokens") as progress:
        try:
            student = train(recipe, folder, export, tokenizer, job.form, progress)
        except KeyboardInterrupt:
            out.note(f"{run.label} is saved; the same command goes on from there")
            raise
    out.note(f"{run.label}: {run.tokens:,} tokens in {perf_counter() - clock:.0f} s")
    labeler.write_model(recipe, run, export, student, tokenizer, folder / "labeler" / recipe.name)
    record(job.lake, FinishedRun(run, recipe.name, exports=[export], folder=folder, started=started, facts={}))


def _check_folder(run: Run, folder: Path) -> None:
    """Refuse a folder that holds another run."""
    before = others(folder, run.run_id)
    if not before:
        return
    hint = f"finish or remove it, or train in another folder: --out {folder.parent}-2"
    theirs, ours = before["recipe"], run.identity["recipe"]
    changed = [key for key in sorted({*theirs, *ours}) if theirs.get(key) != ours.get(key)]
    if not changed:
        raise MixtureChangedError(f"{folder} was begun with other documents or labels", hint=hint)
    raise RecipeError(f"{folder} was begun with other settings of {', '.join(changed)}", hint=hint)


@dataclass(frozen=True, slots=True)
class DistillationPlan:
    """What a recipe would train. ``example_tokens``, ``filled`` (the share of a sequence's places) and ``passes`` are
    worked out from the first documents. FLOPs are 6 N D, N with and without embeddings. ``curve`` is (tokens, rate).
    """

    run_id: str
    documents: int
    copies: int
    characters: int
    example_tokens: float
    filled: float
    passes: float
    tokens: int
    steps: int
    parameters: int
    without_embeddings: int
    flops: float
    flops_without_embeddings: float
    status: str
    curve: tuple[tuple[int, float], ...]


def plan(job: Distilling) -> DistillationPlan:
    """Work out a plan. Nothing is trained, and nothing written but in a temporary folder."""
    recipe = job.recipe
    labeler.check_place(recipe, job.project)
    require_libraries()
    silence()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        tokenizer = folder / "tokenizer" / FILE
        models.write_tokenizer(recipe, job.lake, tokenizer.parent)
        run = job.run(tokenizer)
        sizes, sequences = _probe(job, job.encoder(run, folder))
        parameters = models.parameters(recipe, tokenizer, job.form)
    mean = sum(sizes) / len(sizes)
    filled = sum(sizes) / (sequences * recipe.sequence_length)
    points = tuple(run.tokens * part // 100 for part in range(101))
    done = run.run_id in results.finished(job.lake, [run.run_id])
    return DistillationPlan(
        run_id=run.run_id,
        documents=job.labelled.documents,
        copies=job.labelled.copies,
        characters=job.labelled.characters,
        example_tokens=mean,
        filled=filled,
        passes=run.tokens * filled / (mean * job.labelled.copies),
        tokens=run.tokens,
        steps=run.steps,
        parameters=parameters.total,
        without_embeddings=parameters.without_embeddings,
        flops=parameters.flops(run.tokens, embeddings=True),
        flops_without_embeddings=parameters.flops(run.tokens, embeddings=False),
        status="done" if done else "to train",
        curve=tuple((place, recipe.learning_rate * job.schedule(place)) for place in points),
    )


def _probe(job: Distilling, encoder: ExampleEncoder) -> tuple[list[int], int]:
    """Count the tokens of the first examples, and the sequences that they fill."""
    packer = Packer(job.recipe.sequence_length)
    sizes: list[int] = []
    closed = 0
    for keys, _, texts, verdicts in job.labelled.batches():
        for key, example in zip(keys, encoder.encode(keys, texts, verdicts), strict=True):
            if example is not None:
                sizes.append(len(example.tokens))
                closed += packer.add(key, example) is not None
        if len(sizes) >= _PROBE:
            break
    if not sizes:
        raise UsageError("the labelled documents have nothing to read in them")
    return sizes, closed + len(packer.rest())
