"""Resolve the names in one SELECT: the relation of a column, the conditions that hold, the inputs of a call."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from udfs.errors import Location
from warehouse.answers.calls import Call, CallError, NotBuiltError
from warehouse.answers.trees import conjuncts, instability, source_names
from warehouse.graph import lineage
from warehouse.graph.step import Step
from warehouse.lake.quoting import quote

if TYPE_CHECKING:
    import duckdb

#: The columns of a document's own text and of its key.
DOCUMENTS = "raw.documents"


@dataclass(slots=True)
class Scope:
    """One SELECT of a step. ``calls`` are the ids of all nodes of the step that call an expensive function."""

    select: exp.Select
    step: Step
    cursor: duckdb.DuckDBPyConnection
    models: lineage.Models
    schema: str
    calls: Collection[int]
    aggregates: frozenset[str]
    known: dict[str, list[str]] = field(default_factory=dict)

    def check(self, call: Call) -> None:
        """Check that calls are possible in this SELECT. Raises CallError."""
        cte = self.select.find_ancestor(exp.CTE)
        while cte is not None:
            clause = cte.parent
            if (
                isinstance(clause, exp.With)
                and clause.recursive
                and any(table.name.lower() == cte.alias.lower() for table in cte.this.find_all(exp.Table))
            ):
                raise call.refused("is in a recursive CTE", "select the value after the recursion, in another CTE")
            cte = cte.find_ancestor(exp.CTE)
        if (self.select.args.get("limit") or self.select.args.get("offset")) and not self.select.args.get("order"):
            raise call.refused(
                "is next to a LIMIT without ORDER BY, which gives other rows every time",
                "choose the rows in a subquery with ORDER BY and LIMIT, and call the function on what it gives",
            )
        if any(source.args.get("pivots") for source in lineage.named_sources(self.select).values()):
            raise call.refused("is next to a PIVOT", "pivot in a subquery, or call the function in one")
        if any(
            isinstance(item, exp.Columns) and not isinstance(item.this, exp.Star)
            for item in self.select.find_all(exp.Columns)
        ):
            raise call.refused("is next to COLUMNS('…')", "put one of them into a subquery")

    def argument(self, call: Call) -> exp.Expr:
        """Return the argument with every column qualified, and aliases of the SELECT replaced by their expressions."""
        argument = call.node.expressions[0]
        if isinstance(argument, exp.Kwarg | exp.PropertyEQ):
            raise call.refused("takes its text by position", "write the text first, without a name")
        if argument.find(exp.Query):
            raise call.refused("has a subquery as its argument", "join the subquery, and use its column")
        if argument.find(exp.Window) or any(self.is_aggregate(node) for node in argument.walk()):
            raise call.refused(
                "has an aggregate or a window function as its argument",
                "compute it in a subquery or CTE, and call the function on its column",
            )
        unstable = instability(argument)
        if unstable:
            raise call.refused(f"has {unstable} as its argument, which is different every time", "use a column")
        argument = argument.copy()
        names = {item.alias.lower(): item.this for item in self.select.expressions if isinstance(item, exp.Alias)}
        holder = exp.Paren(this=argument)
        for column in list(holder.find_all(exp.Column)):
            if column.table or self._owner(column) is not None or column.name.lower() not in names:
                continue
            meant = names[column.name.lower()]
            if meant.find(exp.Query, exp.Window) or any(self.is_aggregate(node) for node in meant.walk()):
                raise call.refused(f"has {column.name} as its argument, which is computed here", "use a CTE")
            column.replace(meant.copy() if isinstance(meant, exp.Column) else exp.Paren(this=meant.copy()))
        self._qualify(holder)
        qualified: exp.Expr = holder.this
        return qualified

    def _qualify(self, holder: exp.Expr) -> None:
        """Give every column below ``holder`` its relation's name."""
        for column in holder.find_all(exp.Column):
            if not column.table and (owner := self._owner(column)) is not None:
                column.set("table", exp.to_identifier(owner, quoted=True))

    def _owner(self, column: exp.Column) -> str | None:
        """Return the name of the relation in the FROM that has an unqualified column."""
        return next((name for name in source_names(self.select) if column.name.lower() in self._columns(name)), None)

    def sides(self, call: Call, argument: exp.Expr) -> list[str]:
        """Return the relations of the FROM that supply the argument."""
        names = {name.lower(): name for name in source_names(self.select)}
        sides: list[str] = []
        for column in argument.find_all(exp.Column):
            first = column.parts[0].name.lower() if not column.args.get("db") else column.table.lower()
            side = names.get(first)
            if side is None:  # a field of a struct column looks like table.column
                side = next((name for name in names.values() if first in self._columns(name)), None)
            if side is None:
                raise call.refused(
                    f"has {column.sql('duckdb')} as its argument, which no relation of this FROM has",
                    "if it belongs to the query around, call the function there (or in a CTE) and use the value here",
                )
            sides.append(side)
        return list(dict.fromkeys(sides))

    def _columns(self, name: str) -> list[str]:
        """Return the columns of one relation of a FROM, lower case, as DuckDB knows them."""
        if name.lower() in self.known:
            return self.known[name.lower()]
        sources = lineage.named_sources(self.select)
        joins = self.select.args.get("joins") or []
        upto = next((index + 1 for index, join in enumerate(joins) if join.this is sources[name.lower()]), 0)
        if upto and (joins[upto - 1].kind or "").upper() in ("SEMI", "ANTI"):
            query = exp.select("*").from_(sources[name.lower()].copy())
        else:
            query = exp.Select(
                expressions=[exp.Column(this=exp.Star(), table=exp.to_identifier(name, quoted=True))],
                from_=self.select.args["from_"].copy(),
                joins=[join.copy() for join in joins[:upto]],
            )
        self.give_ctes(query)
        found = [str(row[0]).lower() for row in self.describe(query.sql("duckdb"))]
        return self.known.setdefault(name.lower(), found)

    def describe(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the columns of a query. Raises NotBuiltError if it reads what is not built, CallError for errors."""
        import duckdb

        try:
            return self.cursor.execute(f"describe {sql}").fetchall()
        except duckdb.Error as error:
            where = Location(self.step.node.path)
            if isinstance(error, duckdb.CatalogException) and "Table with name" in str(error):
                raise NotBuiltError(str(error).split("\n")[0], where=where) from error
            raise CallError(str(error).split("\n\n")[0], where=where) from error

    def conditions(self, sides: Sequence[str]) -> list[exp.Expr]:
        """Return the parts of the WHERE that hold on every row it keeps, use only ``sides``, and call nothing."""
        clause = self.select.args.get("where")
        if clause is None:
            return []
        wanted = {side.lower() for side in sides}
        every = set(lineage.named_sources(self.select))
        found = []
        for part in conjuncts(clause.this):
            if any(id(node) in self.calls for node in part.find_all(exp.Anonymous)):
                continue
            if any(column.parts[0].name.lower().startswith("cuvee_") for column in part.find_all(exp.Column)):
                continue
            if part.find(exp.Query):
                # A subquery may name columns of this SELECT or of those around it: only DuckDB can tell.
                if wanted == every and self._closed(part):
                    found.append(part)
                continue
            owners = {self._part_owner(column) for column in part.find_all(exp.Column)}
            if None not in owners and owners <= wanted:
                found.append(part)
        return found

    def _part_owner(self, column: exp.Column) -> str | None:
        names = lineage.named_sources(self.select)
        first = column.parts[0].name.lower() if not column.args.get("db") else column.table.lower()
        if first in names:
            return first
        return next((name for name in names if first in self._columns(name)), None)

    def _closed(self, part: exp.Expr) -> bool:
        """Return whether a condition can be evaluated on this FROM alone."""
        query = exp.Select(
            expressions=[exp.Literal.number(1)],
            from_=self.select.args["from_"].copy(),
            joins=[join.copy() for join in self.select.args.get("joins") or ()],
            where=exp.Where(this=part.copy()),
        )
        self.give_ctes(query)
        try:
            self.describe(query.sql("duckdb"))
        except CallError:
            return False
        return True

    def give_ctes(self, query: exp.Select, conditions: Sequence[exp.Expr] = ()) -> None:
        """Give ``query`` the CTEs that it and the ``conditions`` use and that can be seen here."""
        visible: dict[str, exp.CTE] = {}
        recursive = False
        inside: exp.Expr | None = None
        here: exp.Expr | None = self.select
        layers: list[list[exp.CTE]] = []
        while here is not None:
            clause = here.args.get("with_")
            if isinstance(clause, exp.With):
                recursive = recursive or bool(clause.recursive)
                layer = []
                for cte in clause.expressions:
                    if cte is inside:
                        break
                    layer.append(cte)
                layers.append(layer)
            if isinstance(here, exp.CTE):
                inside = here
            here = here.parent
        for layer in reversed(layers):
            for cte in layer:
                visible.pop(cte.alias.lower(), None)
                visible[cte.alias.lower()] = cte
        used: set[str] = set()
        stack: list[exp.Expr] = [query, *conditions]
        while stack:
            for table in stack.pop().find_all(exp.Table):
                name = table.name.lower()
                if not table.db and name in visible and name not in used:
                    used.add(name)
                    stack.append(visible[name])
        chosen = [cte.copy() for name, cte in visible.items() if name in used]
        if chosen:
            query.set("with_", exp.With(expressions=chosen, recursive=recursive))

    def document(self, argument: exp.Expr, sides: Sequence[str]) -> str | None:
        """Return the expression for the ``doc_id`` whose text the argument is, if lineage shows that there is one."""
        if not isinstance(argument, exp.Column) or len(sides) != 1:
            return None
        text = lineage.origin(argument, self.select, self.models, self.schema)
        if text is None or (text.table, text.column) != (DOCUMENTS, "text"):
            return None
        source = lineage.named_sources(self.select)[sides[0].lower()]
        for name in self._columns(sides[0]):
            found = lineage.source_column(source, name, self.models, self.schema)
            if found is not None and found == lineage.Origin(DOCUMENTS, "doc_id", text.row):
                return f"{quote(sides[0])}.{quote(name)}"
        return None

    def qualified(self, node: exp.Expr) -> str:
        """Return an expression as text to compare: every column with its relation, in lower case."""
        holder = exp.Paren(this=node.copy())
        self._qualify(holder)
        for column in holder.find_all(exp.Column):
            for part in column.parts:
                part.set("quoted", True)
        return str(holder.this.sql("duckdb").lower())

    def is_aggregate(self, node: exp.Expr) -> bool:
        """Return whether a node is a call of an aggregate function."""
        if isinstance(node, exp.AggFunc):
            return True
        return isinstance(node, exp.Anonymous) and str(node.this).lower() in self.aggregates

    def is_nested(self, node: exp.Expr) -> bool:
        """Return whether a call is inside another one."""
        here = node.parent
        while here is not None and id(here) not in self.calls:
            here = here.parent
        return here is not None
