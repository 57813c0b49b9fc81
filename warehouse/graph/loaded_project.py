"""A project that was read, rendered and parsed, with the lake that it is built into."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from udfs.errors import CuveeError, Location
from warehouse.graph import graph as graphs
from warehouse.graph.graph import Graph
from warehouse.graph.parsing import parse
from warehouse.graph.step import Step
from warehouse.lake.catalog import versions
from warehouse.lake.lake import Lake
from warehouse.project import project_files
from warehouse.project.batches import Batch
from warehouse.project.options import DEFAULTS, Options
from warehouse.project.package import resources
from warehouse.project.relation import Relation, readable
from warehouse.render.renderer import Renderer

if TYPE_CHECKING:
    import duckdb

    from udfs.expensive import ExpensiveFunction


class LakeDatabase:
    """The database of templates. The lake is opened (0.2 s) in a thread, while the project is read."""

    def __init__(self, lake: Lake) -> None:
        pool = ThreadPoolExecutor(1)
        self._lake = lake
        self._opening = pool.submit(lake.cursor)
        pool.shutdown(wait=False)
        self._relations: dict[str, tuple[str, str]] | None = None

    @property
    def cursor(self) -> duckdb.DuckDBPyConnection:
        return self._opening.result()

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Set DuckDB's settings, here and in every connection of the lake to come. Raises UsageError."""
        self._lake.configure(settings, self.cursor)

    @property
    def relations(self) -> dict[str, tuple[str, str]]:
        """Return every table and view with its kind and version, as of the last ``refresh``."""
        if self._relations is None:
            self._relations = versions(self.cursor)
        return self._relations

    def refresh(self) -> None:
        """Query the lake again when the next question comes."""
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
class LoadedProject:
    """A project that was read, rendered and parsed, with the lake that it is built into."""

    lake: Lake
    root: Path
    renderer: Renderer
    graph: Graph
    functions: Mapping[str, ExpensiveFunction]
    database: LakeDatabase
    options: Options

    def compile_with_database(self, step: Step, batch: Batch | None = None) -> Step:
        """Return the step with its SQL rendered again, now that its templates may query the database.

        ``batch`` is one of a microbatch model. Raises CuveeError for a template or SQL that is wrong.
        """
        if step.problem is not None:
            raise step.problem
        nodes = self.graph.rendered
        if step.rendered is None or not graphs.needs_database(step.rendered, nodes):
            return step
        rendered = self.renderer.render_live(step.rendered, batch)
        inside = graphs.ephemerals(step.rendered, nodes)
        known = nodes | {key: self.renderer.render_live(each) for key, each in inside.items()}
        sql, lines = graphs.compose(rendered, known)
        now = replace(step, rendered=rendered, sql=sql, lines=lines)
        return replace(now, tree=parse(now))

    def in_full(self, step: Step) -> Step:
        """Return the step with the SQL that would build it from scratch now."""
        self.renderer.from_scratch.add(step.id)
        return self.compile_with_database(step)


def open_project(
    lake: Lake,
    root: Path,
    options: Options = DEFAULTS,
    *,
    functions: Mapping[str, ExpensiveFunction] | None = None,
    say: Callable[[str], None] = lambda line: None,
    deferred: Mapping[str, Relation] | None = None,
) -> LoadedProject:
    """Read the project in ``root``. Raises ProjectErrors with all its mistakes.

    ``functions`` are the expensive functions that SQL may call; by default those of ``udfs.registry``. ``deferred``
    names nodes that are read elsewhere than they would be built (see ``warehouse.build.deferral``).
    """
    database = LakeDatabase(lake)
    renderer = open_renderer(database, root, options, say=say, deferred=deferred)
    if settings := renderer.value(renderer.target.settings, Location("profiles.yml")):
        database.configure(settings)
    functions = _registered(lake, root) if functions is None else {k.lower(): each for k, each in functions.items()}
    return LoadedProject(lake, root, renderer, graphs.build(renderer, functions), functions, database, options)


def open_renderer(
    database: LakeDatabase,
    root: Path,
    options: Options = DEFAULTS,
    *,
    say: Callable[[str], None] = lambda line: None,
    deferred: Mapping[str, Relation] | None = None,
) -> Renderer:
    """Read the project in ``root`` for single templates: its models are not rendered. Raises ProjectErrors."""
    read = project_files.load(root, options.variables)
    for line in read.warnings:
        say(f"warning: {line}")
    return Renderer(read, options, database, say=say, deferred=deferred)


def _registered(lake: Lake, root: Path) -> Mapping[str, ExpensiveFunction]:
    from udfs.registry import expensive_functions
    from warehouse.lake import benchmarks

    return expensive_functions(resources(root, lake, benchmarks.LakeBenchmarks(lake)))
