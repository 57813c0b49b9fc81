"""cuvee source: what the project says of tables that it does not build."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from udfs.errors import CuveeError
from warehouse.cli.output import Output, output_options
from warehouse.cli.project_options import ProjectOptions, SelectingCommand, project_options

if TYPE_CHECKING:
    from warehouse.build.freshness import Freshness, Limit


@click.group()
def source() -> None:
    """Look after the tables that the project reads and does not build.

    cuvee source freshness
    """


@source.command(cls=SelectingCommand)
@project_options
@output_options
def freshness(project: ProjectOptions, out: Output) -> None:
    """Say how old each source's rows are; exit 1 if one is older than its error_after.

    The time is that of loaded_at_field or loaded_at_query, else that of the table's last commit in the lake.

        cuvee source freshness --select source:raw
    """
    from warehouse.build.freshness import check

    found = check(project.open(out), project.selection())
    if out.as_json:
        out.json([_plain(each) for each in found])
    elif found:
        out.rows(
            ("source", "status", "loaded at (UTC)", "age", "warns after", "fails after"),
            [
                (
                    each.source,
                    each.status,
                    f"{each.loaded_at:%Y-%m-%d %H:%M:%S}" if each.loaded_at else None,
                    _age(each.age),
                    each.warn_after,
                    each.error_after,
                )
                for each in found
            ],
        )
    else:
        out.text("no source here says how fresh it has to be (freshness: in a .yml file)")
    for each in found:
        if each.message:
            out.note(f"{each.source}: {each.message}")
    if failed := [each.source for each in found if each.failed]:
        raise CuveeError(f"not fresh: {', '.join(failed)}")


def _plain(each: Freshness) -> dict[str, object]:
    def limit(value: Limit | None) -> dict[str, object] | None:
        return {"count": value.count, "period": value.period} if value else None

    return {
        "source": each.source,
        "relation": each.relation,
        "status": each.status,
        "loaded_at": each.loaded_at.isoformat() if each.loaded_at else None,
        "age": each.age,
        "warn_after": limit(each.warn_after),
        "error_after": limit(each.error_after),
        "message": each.message,
    }


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "never loaded"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if abs(seconds) >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
