"""A project beside the lake it is built into: read, rendered, parsed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from udfs.errors import CuveeError, UsageError
from warehouse.artifacts.comparison import comparison
from warehouse.graph import graph as graphs
from warehouse.graph import selectors
from warehouse.graph.graph import Graph, Step
from warehouse.graph.parsing import parse
from warehouse.graph.selection import select
from warehouse.lake.versions import versions
from warehouse.project import project_files
from warehouse.project.outcome import DEFAULTS, Options
from warehouse.project.relation import Relation, readable
from warehouse.project.target import target_of
from warehouse.render.input_sample import part_of
from warehouse.render.renderer import Renderer

if TYPE_CHECKING:
    import duckdb

    from udfs.expensive import ExpensiveFunction
    from warehouse.build.materialize.microbatch import Batch
    from warehouse.lake.lake import Lake


class LakeDatabase:
    """What templates may ask the lake. The lake is opened (0.2 s) in a thread, while the project is read."""

    def __init__(self, lake: Lake) -> None:
        pool = ThreadPoolExecutor(1)
        self._opening = pool.submit(lake.cursor)
        pool.shutdown(wait=False)
        self._relations: dict[str, tuple[str, str]] | None = None

    @property
    def cursor(self) -> duckdb.DuckDBPyConnection:
        return self._opening.result()

    @property
    def relations(self) -> dict[str, tuple[str, str]]:
        """Every table and view with its kind and version, as of the last ``refresh``."""
        if self._relations is None:
            self._relations = versions(self.cursor)
        return self._relations

    def refresh(self) -> None:
        """Look at the lake again when the next question comes."""
        self._relations = None

    def relation_type(self, schema: str, identifier: str) -> str | None:
        found = self.relations.get(f"{schema}.{identifier}".lower())
        return found[0] if found else None

    def query(self, sql: str) -> tuple[list[str], list[str], list[tuple[Any, ...]]]:
        import duckdb

        try:
            relation: duckdb.DuckDBPyRelation | None = self.cursor.sql(readable(sql))  # None: a statement without rows
            if relation is None:
                self.refresh()
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
        """Ids of the nodes that ``chosen`` names without those that ``excluded`` names. Raises SelectionError.

        Where neither names any, it is the selector that the options name, else the project's default one.
        """
        name = self.options.selector
        if name is not None and (chosen or excluded):
            raise UsageError("--selector excludes --select and --exclude", hint="put them into the selector")
        if not chosen and not excluded:
            known = selectors.load(self.root)
            name = name or selectors.default(known)
            if name is not None:
                return selectors.select(self.graph, known, name, comparison(self))
        return select(self.graph, chosen, excluded, comparison(self))

    def asked(self, step: Step, batch: Batch | None = None) -> Step:
        """The step with the SQL that its template, and those inside it, give now that they may ask the database.

        ``batch`` is one of a microbatch model.
        """
        nodes = self.graph.rendered
        if step.rendered is None or not graphs.asks(step.rendered, nodes):
            return step
        rendered = (
            self.renderer.render_live(step.rendered)
            if batch is None
            else self.renderer.render_batch(step.rendered, batch)
        )
        inside = graphs.ephemerals(step.rendered, nodes)
        known = nodes | {key: self.renderer.render_live(each) for key, each in inside.items()}
        sql, lines = graphs.compose(rendered, known)
        now = replace(step, rendered=rendered, sql=sql, lines=lines)
        return replace(now, tree=parse(now))

    def in_full(self, step: Step) -> Step:
        """The step with the SQL by which it would be built from nothing now."""
        self.renderer.anew.add(step.id)
        return self.asked(step)


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
    names nodes that are read elsewhere than they would be built (see ``warehouse.build.deferral``).
    """
    database = LakeDatabase(lake)
    read = project_files.load(root)
    if functions is None:
        functions = _registered(lake, root)
    else:
        functions = {name.lower(): function for name, function in functions.items()}
    renderer = Renderer(
        read,
        target_of(read, options.target),
        options.variables,
        database,
        full_refresh=options.full_refresh,
        store_failures=options.store_failures,
        say=say,
        part=part_of(options),
        deferred=deferred,
    )
    return Opened(lake, root, renderer, graphs.build(renderer, functions), functions, database, options)


def _registered(lake: Lake, root: Path) -> Mapping[str, ExpensiveFunction]:
    from udfs.registry import Resources, expensive_functions
    from warehouse.answers import benchmarks

    return expensive_functions(
        Resources(
            taxonomies=root / "seeds", tokenizers=lake.root / "tokenizers", benchmarks=benchmarks.LakeBenchmarks(lake)
        )
    )
