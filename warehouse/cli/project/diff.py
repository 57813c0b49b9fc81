"""cuvee diff: what a build would change in a model's rows."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from warehouse.cli.output import Output, output_options
from warehouse.cli.project.show import one_model
from warehouse.cli.project_options import ProjectOptions, SelectingCommand, project_options

if TYPE_CHECKING:
    from warehouse.build.differences import Difference

#: Characters of a value that an example shows; --json has them all.
_SHOWN = 60


@click.command(cls=SelectingCommand)
@click.argument("name", metavar="MODEL")
@click.option(
    "--key", multiple=True, metavar="COLUMN", help="What tells rows apart  [default: unique_key, unique test]"
)
@click.option("--limit", default=5, show_default=True, type=click.IntRange(min=0), help="Examples of each kind.")
@project_options
@output_options
def diff(project: ProjectOptions, name: str, key: tuple[str, ...], limit: int, out: Output) -> None:
    """Show which rows a model's query would add, remove and change in the lake. Builds nothing.

    What the query reads is taken as it is in the lake. Several columns of a key: --key a --key b.

        cuvee diff orders --key order_id
    """
    from warehouse.build.differences import difference

    selection = project.selection(name)
    opened = project.open_deferred(out, selection)
    step = one_model(opened, selection, "diff")
    columns = [each.strip() for given in key for each in given.split(",") if each.strip()]
    found = difference(opened, opened.in_full(step), columns, limit)
    if out.as_json:
        out.json({**asdict(found), "same": found.same})
        return
    changed = f", {found.changed:,} changed by {', '.join(found.key)}" if found.changed is not None else ""
    out.text(
        f"{found.relation}: {found.before:,} rows in the lake, {found.now:,} now:"
        f" {found.added:,} added, {found.removed:,} removed{changed}"
    )
    rows = [(column, "new", None) for column in found.columns_added]
    rows += [(column, "gone", None) for column in found.columns_removed]
    rows += [(column, f"{before} → {now}", None) for column, (before, now) in found.types.items()]
    changes: list[tuple[str, str, int | None]] = [*rows, *((each, "", n) for each, n in found.columns.items())]
    if changes:
        out.rows(("column", "type", "rows changed"), changes)
    if examples := list(_examples(found)):
        out.rows(("row", "values"), examples)


def _examples(found: Difference) -> list[tuple[str, str]]:
    def word(name: str, value: Any) -> str:
        if isinstance(value, dict) and value.keys() == {"before", "now"} and name not in found.key:
            return f"{name}: {_cut(value['before'])} → {_cut(value['now'])}"
        return f"{name}: {_cut(value)}"

    return [
        (title, ", ".join(word(name, value) for name, value in row.items()))
        for title, rows in found.examples.items()
        for row in rows
    ]


def _cut(value: object) -> str:
    text = " ".join(str(value).split()) if value is not None else "null"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
