"""The student as a labeler: its file, its model's folder, and how they get into a project."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.distillation.recipe import Distillation
from training.recipe.exports import Export
from training.recipe.run_folders import whole_folder
from training.sweep.sweep import Run
from udfs.errors import UsageError

if TYPE_CHECKING:
    from training.distillation.students import StudentModel


def write_file(recipe: Distillation, run: Run, path: Path) -> None:
    """Write the labeler's file. Its model is in the folder of the same name next to it."""
    import yaml

    settings: dict[str, Any] = {
        "description": f"Distilled from {recipe.teacher}, run {run.run_id}.",
        "taxonomy": recipe.taxonomy,
        "backend": recipe.student.backend if recipe.generative else "heads",
        "model": {"folder": recipe.name},
    }
    if recipe.generative:
        # What auto means differs: vLLM computes a model of float32 in 16 bits.
        settings["model"]["dtype"] = "float32" if recipe.precision == "fp32" else "bfloat16"
        settings |= {
            "prompt": asdict(recipe.prompt),
            "codec": "condensed",
            "generation": {"max_tokens": recipe.max_tokens},
            "document": {"characters": recipe.characters, "tokens": recipe.sequence_length - recipe.max_tokens},
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=110), encoding="utf-8")


def write_model(
    recipe: Distillation, run: Run, export: Export, student: StudentModel, tokenizer: Path, out: Path
) -> None:
    """Write the model's folder with its card; it is there as a whole or not at all."""
    import torch

    model: Any = student.model
    with whole_folder(out, replace=True) as aside:
        if recipe.generative:
            if recipe.precision != "fp32":
                model = model.to(torch.bfloat16)
            model.save_pretrained(aside, safe_serialization=True)
            for file in tokenizer.parent.iterdir():
                shutil.copyfile(file, aside / file.name)
        else:
            model.save(aside, tokenizer)
        parameters = sum(each.numel() for each in model.parameters())
        (aside / "README.md").write_text(_card(recipe, run, export, parameters), encoding="utf-8")


def check_place(recipe: Distillation, project: Path) -> None:
    """Raise UsageError if the project has a labeler of this name that was not distilled by a recipe of this name."""
    path = project / "labelers" / f"{recipe.name}.yml"
    if path.exists() and f"{recipe.name}-{recipe.student.kind}-" not in path.read_text(encoding="utf-8"):
        raise UsageError(f"{path} is another labeler", hint="give the recipe another name: --set name=…")


def install(source: Path, recipe: Distillation, project: Path) -> Path:
    """Put a finished labeler (``source``: the folder with its file) into a project, and return its file there."""
    target = project / "labelers"
    target.mkdir(parents=True, exist_ok=True)
    with whole_folder(target / recipe.name, replace=True) as aside:
        shutil.copytree(source / recipe.name, aside)
    name = f"{recipe.name}.yml"
    shutil.copyfile(source / name, target / name)
    return target / name


def _card(recipe: Distillation, run: Run, export: Export, parameters: int) -> str:
    manifest = export.manifest
    (component,) = manifest.components.values()
    facts = {
        "parameters": f"{parameters:,}",
        "run": run.run_id,
        "teacher": recipe.teacher,
        "taxonomy": recipe.taxonomy,
        "documents": f"{component.documents:,} of {recipe.documents}, {component.copies:,} copies",
        "fingerprint of documents and labels": manifest.fingerprint,
        "examples": manifest.export_id,
        "lake snapshot": str(manifest.snapshot_id),
        "trained on": f"{run.tokens:,} tokens, {run.tokens / (manifest.samples * recipe.sequence_length):.1f} passes",
        "started from": recipe.student.folder or "fresh weights",
    }
    kind, use = (
        ("text-generation", f"The labeler's file, {recipe.name}.yml, says how it is asked.")
        if recipe.generative
        else ("text-classification", "An encoder with a head per category and rank, for the backend heads.")
    )
    rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    settings = json.dumps(run.identity["recipe"], indent=2, sort_keys=True)
    return (
        f"---\nlibrary_name: transformers\npipeline_tag: {kind}\n---\n\n# {recipe.name}\n\n{use}\n\n"
        f"| what | value |\n| --- | --- |\n{rows}\n\n## Settings\n\n```json\n{settings}\n```\n"
    )
