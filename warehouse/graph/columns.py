"""Column lineage over a whole project: the columns that a column is computed from, and those computed from it.

Within one query sqlglot follows a column through CTEs, stars, unnest, unions and functions; here queries are joined by
the tables they read. A column that only filters, joins or counts rows is not a source of another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.lineage import lineage

from udfs.errors import UsageError, did_you_mean
from warehouse.graph.graph import Graph
from warehouse.graph.lineage import named_sources
from warehouse.graph.parsing import SqlError
from warehouse.graph.step import Step

if TYPE_CHECKING:
    import duckdb


class LineageError(SqlError):
    """The columns of a query cannot be followed."""


@dataclass(frozen=True, slots=True, order=True)
class Column:
    """A column of a relation, which is named ``schema.name`` in lower case."""

    relation: str
    name: str

    def __str__(self) -> str:
        return f"{self.relation}.{self.name}"


@dataclass(frozen=True, slots=True)
class Branch:
    """A column with the columns that it comes from (or those that come from it) as branches."""

    column: Column
    next: tuple[Branch, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the branch as plain values."""
        return {**self.of(self.column), "next": [branch.as_dict() for branch in self.next]}

    @staticmethod
    def of(column: Column) -> dict[str, str]:
        """Return a column as plain values."""
        return {"relation": column.relation, "column": column.name}


class Lineage:
    """The columns of a project's graph. ``relations`` has the columns of every relation of the lake."""

    def __init__(self, graph: Graph, relations: Mapping[str, Sequence[str]]) -> None:
        self._graph = graph
        self._relations = relations
        self._steps = {
            step.relation.key: step
            for step in graph.steps.values()
            if step.relation is not None and step.kind not in ("test", "ephemeral")
        }
        self._known: dict[Column, tuple[Column, ...]] = {}

    def find(self, text: str) -> Column:
        """Find the column ``model.column`` or ``schema.table.column``. Raises UsageError with near names."""
        table, _, name = text.rpartition(".")
        if not table:
            raise UsageError(f"{text!r} names no column", hint=f"write model.column, for example {text}.doc_id")
        models = {step.name.lower(): key for key, step in self._steps.items()}
        relation = models.get(table.lower(), table.lower())
        if relation not in self._relations:
            if relation in self._steps:
                raise UsageError(f"{table} is not built yet", hint=f"cuvee build --select {table}")
            hint = did_you_mean(table, [*models, *self._relations])
            raise UsageError(f"there is no model or table {table!r}", hint=hint)
        columns = self._relations[relation]
        if name.lower() not in columns:
            raise UsageError(f"{table} has no column {name!r}", hint=did_you_mean(name.lower(), columns))
        return Column(relation, name.lower())

    def upstream(self, column: Column) -> Branch:
        """Follow a column's values back to tables that no query made."""
        return Branch(column, tuple(self.upstream(each) for each in self.sources(column) if each != column))

    def downstream(self, column: Column) -> Branch:
        """Follow a column's values to the columns that are computed from them."""
        step = self._steps.get(column.relation)
        readers = self._graph.descendants(step.id) if step else self._graph.steps.keys()
        return Branch(column, tuple(self.downstream(each) for each in sorted(self._readers(column, readers))))

    def sources(self, column: Column) -> tuple[Column, ...]:
        """Return the columns of other tables in a column's expression. Raises LineageError."""
        if column not in self._known:
            step = self._steps.get(column.relation)
            try:
                self._known[column] = self._follow(step, column.name) if step and step.tree is not None else ()
            except LineageError:
                if step is None or step.kind != "snapshot":
                    raise
                self._known[column] = ()  # a snapshot has columns of its own, and those that its query once had
        return self._known[column]

    def _readers(self, column: Column, steps: Iterable[str]) -> set[Column]:
        relations = [step.relation.key for key in steps if (step := self._graph.steps[key]).relation is not None]
        made = (
            Column(relation, name)
            for relation in relations
            if relation in self._steps and relation != column.relation
            for name in self._relations.get(relation, ())
        )
        return {each for each in made if column in self.sources(each)}

    def _follow(self, step: Step, name: str) -> tuple[Column, ...]:
        assert step.tree is not None
        found: dict[Column, None] = {}
        queries: list[tuple[str, exp.Expr]] = [(name, step.tree.copy())]
        while queries:
            wanted, query = queries.pop()
            try:
                root = lineage(wanted, query, schema=self._schema(), dialect="duckdb", copy=False)
            except (SqlglotError, ValueError) as error:
                raise LineageError(f"cannot follow {step.name}.{name}: {error}", where=step.node.where) from error
            for node in root.walk():
                if isinstance(node.expression, exp.Table) and not node.downstream:
                    table = node.expression
                    schema = table.db or (step.relation.schema if step.relation else "main")
                    found[Column(f"{schema}.{table.name}".lower(), exp.to_column(node.name).name.lower())] = None
                queries += [("_outer", probe) for probe in _correlated(node.expression, node.source, root.source)]
        return tuple(found)

    def _schema(self) -> dict[str, Any]:
        nested: dict[str, Any] = {}
        for relation, columns in self._relations.items():
            schema, _, table = relation.partition(".")
            nested.setdefault(schema, {})[table] = dict.fromkeys(columns, "unknown")
        return {"lake": nested}


def _correlated(value: exp.Expr, select: exp.Expr, whole: exp.Expr) -> Iterator[exp.Select]:
    """Yield queries for columns of ``select`` read by subqueries in its ``value``: sqlglot leaves them out."""
    if not isinstance(select, exp.Select):
        return
    outer = named_sources(select)
    for column in value.find_all(exp.Column):
        query = column.find_ancestor(exp.Query)
        inside = query is not None and query is not select
        if inside and column.table.lower() in outer and isinstance(query, exp.Select):
            if column.table.lower() in named_sources(query):
                continue
            probe = exp.select(exp.alias_(column.copy(), "_outer"))
            probe.set("from_", select.args["from_"].copy())
            probe.set("joins", [join.copy() for join in select.args.get("joins") or ()])
            clause = select.args.get("with_") or whole.args.get("with_")
            probe.set("with_", clause.copy() if clause is not None else None)
            yield probe


def lake_columns(cursor: duckdb.DuckDBPyConnection) -> dict[str, list[str]]:
    """Return the columns of every table and view of the lake, in lower case."""
    rows = cursor.execute(
        "select lower(schema_name || '.' || table_name), list(lower(column_name) order by column_index)"
        " from duckdb_columns() where database_name = 'lake' group by all"
    ).fetchall()
    return dict(rows)
