"""``cuvee run-operation``: call one macro, which may query the lake and change it.

What only reads is asked at once. Every statement that changes something is a commit of its own, as with hooks: what a
macro did before it failed stays done.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from udfs.errors import CuveeError, Location, UsageError, did_you_mean
from warehouse.graph.loaded_project import LoadedProject
from warehouse.project.relation import readable
from warehouse.render.jinja_globals import BUILTIN
from warehouse.render.templates import Macro

if TYPE_CHECKING:
    import duckdb

#: Statements that change nothing in the lake, by DuckDB's names; SET changes the session only.
_READING = {"SELECT", "EXPLAIN", "SET", "VARIABLE_SET"}


def run(opened: LoadedProject, name: str, arguments: Mapping[str, Any]) -> Any:
    """Call a macro ``package.name`` or ``name``. Returns its return value, else the text that it renders.

    Raises UsageError for an unknown macro or argument, and CuveeError, located, for what goes wrong inside.
    """
    macro = _find(opened, name)
    _check(opened, macro, arguments)
    renderer = opened.renderer
    renderer.database = _Database(opened, macro)
    return renderer.call(macro, arguments)


def _find(opened: LoadedProject, name: str) -> Macro:
    """Find a macro by its name: the project's own, then those of its packages, then the built-in one."""
    library, project = opened.renderer.library, opened.renderer.project
    package, _, plain = name.rpartition(".")
    for place in [package] if package else [*project.packages, BUILTIN]:
        if found := library.macros.get(place, {}).get(plain):
            return found
    known = [
        each if place == project.name else f"{place}.{each}"
        for place, macros in library.macros.items()
        for each in macros
        if place != BUILTIN and not each.startswith(("test_", "materialization_"))
    ]
    raise UsageError(f"no macro is named {name!r}", hint=did_you_mean(name, known))


def _check(opened: LoadedProject, macro: Macro, arguments: Mapping[str, Any]) -> None:
    """Check the arguments of a macro. Raises UsageError for one that it does not take."""
    from jinja2 import nodes

    library = opened.renderer.library
    tree = library.env.parse(library.sources[macro.path], macro.path, macro.path)
    found = next(node for node in tree.find_all(nodes.Macro) if node.name == macro.name)
    known = [each.name for each in found.args]
    takes_any = any(each.name == "kwargs" for each in found.find_all(nodes.Name))
    for each in arguments:
        if each not in known and not takes_any:
            where = Location(macro.path, macro.line)
            hint = did_you_mean(str(each), known) or "it takes none"
            raise UsageError(f"macro {macro.name} takes no argument {each!r}", where=where, hint=hint)


class _Database:
    """The lake for a macro that may query and change it."""

    def __init__(self, opened: LoadedProject, macro: Macro) -> None:
        self._opened, self._macro = opened, macro

    def relation_type(self, schema: str, identifier: str) -> str | None:
        return self._opened.database.relation_type(schema, identifier)

    def query(self, sql: str) -> tuple[list[str], list[str], list[tuple[Any, ...]]]:
        """Run statements. Returns names, types and rows of the last one's result. Raises CuveeError."""
        import duckdb

        cursor = self._opened.database.cursor
        found: tuple[list[str], list[str], list[tuple[Any, ...]]] = ([], [], [])
        try:
            for statement in cursor.extract_statements(readable(sql)):
                kind = statement.type.name
                if kind == "TRANSACTION":  # a macro need not say where one begins and ends
                    continue
                if kind in _READING:
                    found = _rows(cursor.execute(statement))
                    continue
                with self._opened.lake.commit(f"run-operation {self._macro.name}", author="cuvee") as commit:
                    found = _rows(commit.sql(statement.query))
                self._opened.database.refresh()
        except duckdb.Error as error:
            raise CuveeError(f"a statement failed: {error}") from error
        return found


def _rows(cursor: duckdb.DuckDBPyConnection) -> tuple[list[str], list[str], list[tuple[Any, ...]]]:
    described = cursor.description or []
    return [str(each[0]) for each in described], [str(each[1]) for each in described], cursor.fetchall()
