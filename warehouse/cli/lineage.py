"""cuvee lineage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from warehouse.cli.build import build_options, open_for
from warehouse.cli.output import Output, lake_option, output_options, project_option

if TYPE_CHECKING:
    from warehouse.columns import Branch


@click.command()
@click.argument("column", metavar="MODEL.COLUMN")
@click.option("--vars", "variables", default="{}", metavar="YAML", help="Variables, as YAML: '{seed: 18}'.")
@click.option("--target", "-t", metavar="NAME", help="The target of profiles.yml.")
@project_option
@lake_option
@output_options
def lineage(
    column: str, variables: str, target: str | None, project_dir: Path, lake_dir: Path | None, out: Output
) -> None:
    """Show which columns a column comes from, and which come from it.

    cuvee lineage components.component
    """
    from warehouse.columns import Lineage, lake_columns

    opened = open_for(out, project_dir, lake_dir, build_options(variables, target))
    found = Lineage(opened.graph, lake_columns(opened.database.cursor))
    start = found.find(column)
    above, below = found.upstream(start), found.downstream(start)
    if out.as_json:
        upstream, downstream = above.as_dict()["next"], below.as_dict()["next"]
        out.json({**above.of(start), "upstream": upstream, "downstream": downstream})
        return
    out.text(str(start))
    for title, branch in (("comes from", above), ("goes into", below)):
        out.text(title if branch.next else f"{title} no other column")
        for line in _lines(branch, "  "):
            out.text(line)


def _lines(branch: Branch, indent: str) -> Iterator[str]:
    for each in branch.next:
        yield f"{indent}{each.column}"
        yield from _lines(each, indent + "  ")
