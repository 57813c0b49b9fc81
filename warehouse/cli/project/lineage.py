"""cuvee lineage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from warehouse.cli.output import Output, output_options
from warehouse.cli.project_options import ProjectOptions, reading_options

if TYPE_CHECKING:
    from warehouse.graph.columns import Branch


@click.command()
@click.argument("column", metavar="MODEL.COLUMN")
@reading_options
@output_options
def lineage(project: ProjectOptions, column: str, out: Output) -> None:
    """Show which columns a column comes from, and which come from it.

    cuvee lineage components.component
    """
    from warehouse.graph.columns import Lineage, lake_columns

    opened = project.open(out)
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
