"""cuvee distil."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from training.cli.options import folder_option, recipe_argument, show_curve, trust_option
from warehouse.cli.output import Output, lake_option, open_lake, output_options, project_option

if TYPE_CHECKING:
    from training.distillation.distil import DistillationPlan


@click.command()
@recipe_argument
@folder_option
@click.option("--plan", "only_plan", is_flag=True, help="Print documents, tokens, steps and FLOPs; train nothing.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting: tokens=2M")
@trust_option
@lake_option
@project_option
@output_options
def distil(
    recipe_path: Path,
    folder: Path | None,
    only_plan: bool,
    settings: tuple[str, ...],
    trust: bool,
    lake_dir: Path | None,
    project_dir: Path,
    out: Output,
) -> None:
    """Train a small labeler on the labels that another one has left in the lake, and add it to the project.

    The same command continues what was stopped. Then label_document(text, 'NAME') is the student.

        cuvee distil training/recipes/distil_tiny_heads.yaml --plan
    """
    from training.distillation.distil import Distilling, plan
    from training.distillation.distil import distil as train
    from training.distillation.recipe import read_recipe

    recipe = read_recipe(recipe_path, settings)
    job = Distilling(recipe, open_lake(lake_dir), project_dir, trust)
    if only_plan:
        return _show(plan(job), out)
    run, labeler = train(job, folder or Path("runs") / recipe.name, out)
    if out.as_json:
        return out.json({"run_id": run.run_id, "labeler": recipe.name, "file": str(labeler), "tokens": run.tokens})
    return out.text(f"the labeler {recipe.name} is in {labeler}: label_document(text, '{recipe.name}')")


def _show(planned: DistillationPlan, out: Output) -> None:
    if out.as_json:
        return out.json(asdict(planned))
    out.text(f"{planned.parameters:,} parameters, {planned.without_embeddings:,} without the embeddings")
    facts = {
        "run": planned.run_id,
        "labelled documents": f"{planned.documents:,}",
        "copies of them": f"{planned.copies:,}",
        "tokens of an example": f"{planned.example_tokens:,.0f}",
        "places filled": f"{planned.filled:.3f}",
        "passes": f"{planned.passes:.2f}",
        "tokens": f"{planned.tokens:,}",
        "steps": f"{planned.steps:,}",
        "FLOPs": f"{planned.flops:.2e}",
        "without embeddings": f"{planned.flops_without_embeddings:.2e}",
        "status": planned.status,
    }
    out.rows(("what", "value"), facts.items())
    return show_curve(planned.curve, max(rate for _, rate in planned.curve), "learning rate", out)
