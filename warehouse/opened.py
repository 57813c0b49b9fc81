"""A project beside the lake it is built into: read, rendered, parsed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from udfs.errors import CuveeError
from warehouse import graph as graphs
from warehouse import project
from warehouse.comparison import comparison
from warehouse.graph import Graph
from warehouse.outcome import DEFAULTS, Options
from warehouse.partial import part_of
from warehouse.relation import Relation
from warehouse.render import Renderer
from warehouse.selection import select
from warehouse.target import target_of
from warehouse.versions import versions

if TYPE_CHECKING:
    import duckdb

    from udfs.expensive import ExpensiveFunction
    from warehouse.lake import Lake


class LakeDatabase:
    """What templates may ask the lake."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self.cursor = cursor
        self.relations = versions(cursor)

    def refresh(self) -> None:
        self.relations = versions(self.cursor)

    def relation_type(self, schema: str, identifier: str) -> str | None:
        found = self.relations.get(f"{schema}.{identifier}".lower())
        return found[0] if found else None

    def query(self, sql: str) -> tuple[list[str], list[str], list[tuple[Any, ...]]]:
        import duckdb

        try:
            relation: duckdb.DuckDBPyRelation | None = self.cursor.sql(sql)  # None for a statement without rows
            if relation is None:
                return [], [], []
            return relation.columns, [str(kind) for kind in relation.types], relation.fetchall()
        except duckdb.Error as error:
            raise CuveeError(f"a query of the template failed: {error}") from error


@dataclass(slots=True)
class Opened:
    """A project read, rendered and parsed, beside the lake it is built into."""

    lake: Lake
    root: Path
    renderer: Renderer
    graph: Graph
    functions: Mapping[str, ExpensiveFunction]
    database: LakeDatabase
    options: Options

    def select(self, chosen: Sequence[str], excluded: Sequence[str] = ()) -> set[str]:
        """Ids of the nodes that ``chosen`` names without those that ``excluded`` names. Raises SelectionError."""
        return select(self.graph, chosen, excluded, comparison(self))


def open_project(
    lake: Lake,
    root: Path,
    options: Options = DEFAULTS,
    *,
    functions: Mapping[str, ExpensiveFunction] | None = None,
    say: Callable[[str], None] = lambda line: None,
    deferred: Mapping[str, Relation] | None = None,
) -> Opened:
    """Read the project in ``root``. Raises ProjectErrors with everything that is wrong with it.

    ``functions`` are the expensive functions that SQL may call; by default those of ``udfs.registry``. ``deferred``
    names nodes that are read elsewhere than they would be built (see ``warehouse.deferral``).
    """
    read = project.load(root)
    if functions is None:
        functions = _registered(lake, root)
    functions = {name.lower(): function for name, function in functions.items()}
    database = LakeDatabase(lake.cursor())
    renderer = Renderer(
        read,
        target_of(read, options.target),
        options.variables,
        database,
        full_refresh=options.full_refresh,
        say=say,
        part=part_of(options),
        deferred=deferred,
    )
    return Opened(lake, root, renderer, graphs.build(renderer, functions), functions, database, options)


def _registered(lake: Lake, root: Path) -> Mapping[str, ExpensiveFunction]:
    from udfs.registry import Resources, expensive_functions

    return expensive_functions(Resources(taxonomies=root / "seeds", tokenizers=lake.root / "tokenizers"))
