"""Take calls of expensive functions out of a query and put them back as joins to their answers.

    select doc_id from docs where label_document(text).bloom.primary = '3' and lang = 'en'

becomes a stage and a query. The stage says which inputs have to be answered: the distinct texts of the relation
that supplies them, narrowed by the conditions that hold for every row on which the call is evaluated (``lang = 'en'``,
but no branch of an OR). The query reads the answers from a temporary table with one row per input:

    select doc_id from docs left join answers on answers.key = <key of text>
    where answers.value.bloom.primary = '3' and lang = 'en'

A call outside ON is evaluated on rows of the whole FROM, so there the join comes after the FROM: a row that an
outer join filled up has the value that the argument has on that row. A call in ON sees one side only, so that side
is wrapped. The key is unique, so no join here adds or loses a row. A NULL argument finds no answer and gives NULL;
a missing answer to anything else is an error at run time.

A CASE does not spare its call: write the guard into the WHERE. The key is 32 hex digits of the text's SHA-256. Where
lineage shows that the argument is a document's own text, it is the ``doc_id`` next to it, and a corpus with all answers
is rebuilt without reading a text.

Refused, with line, column and what to write instead: arguments from both sides in ON; a subquery, an aggregate or a
window function as argument; rows that differ from one time to the next (LIMIT without ORDER BY, ``random()``,
``now()``, samples); recursive CTEs; columns of an outer query; calls in views and tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import sqlglot
from sqlglot import exp

from warehouse.answers.calls import Call, CallError, find
from warehouse.answers.scope import DOCUMENTS, Scope
from warehouse.answers.stages import ANSWER, Rewritten, Stage
from warehouse.answers.trees import (
    hide,
    in_window,
    inner_first,
    instability,
    keep_names,
    nullable,
    place_of,
    spell_cross_joins,
    where_uses_alias,
)
from warehouse.graph import lineage
from warehouse.graph.step import Step

if TYPE_CHECKING:
    import duckdb

    from udfs.expensive import ExpensiveFunction


def rewrite(
    step: Step,
    functions: Mapping[str, ExpensiveFunction],
    cursor: duckdb.DuckDBPyConnection,
    models: lineage.Models = lambda table: None,
    schema: str = "main",
) -> Rewritten:
    """Take the calls out of a step's query. ``cursor`` tells the columns of relations and gets temporary tables.

    Raises CallError, located, for calls that cannot be taken out, NotBuiltError if a relation does not exist.
    """
    return _Rewriter(step, functions, cursor, models, schema).run()


@dataclass(slots=True)
class _Rewriter:
    step: Step
    functions: Mapping[str, ExpensiveFunction]
    cursor: duckdb.DuckDBPyConnection
    models: lineage.Models
    schema: str
    tree: exp.Expr = field(init=False)
    stages: list[Stage] = field(default_factory=list)
    calls: dict[int, Call] = field(default_factory=dict)
    aggregates: frozenset[str] = frozenset()

    def run(self) -> Rewritten:
        assert self.step.tree is not None
        self.tree = self.step.tree.copy()
        self.cursor.execute(ANSWER)
        self.calls = {id(call.node): call for call in find(self.tree, self.step, self.functions)}
        rows = self.cursor.execute(
            "select distinct function_name from duckdb_functions() where function_type = 'aggregate'"
        ).fetchall()
        self.aggregates = frozenset(row[0] for row in rows)
        for select in list(inner_first(self.tree)):
            if isinstance(select, exp.Select):
                self._select(select)
        left = [call for call in self.calls.values() if call.node.root() is self.tree]
        if left:
            raise left[0].refused(
                "is outside any SELECT (in the ORDER BY of a UNION, or in FROM)",
                "select its value in a subquery, and use that column",
            )
        return Rewritten(self.tree.sql("duckdb"), tuple(self.stages))

    def _select(self, select: exp.Select) -> None:
        here = [
            call
            for call in self.calls.values()
            if call.node.find_ancestor(exp.Select, exp.SetOperation) is select and call.node.root() is self.tree
        ]
        if not here:
            return
        scope = Scope(select, self.step, self.cursor, self.models, self.schema, self.calls.keys(), self.aggregates)
        scope.check(here[0])
        keep_names(select, here)
        spell_cross_joins(select, here[0])
        places = {id(call.node): place_of(call.node, select) for call in here}
        # Calls in ON first: the FROM that feeds the others holds them. Inner calls before those around them.
        here.sort(key=lambda call: (places[id(call.node)].arg_key != "joins", -call.node.depth))
        done: dict[tuple[str, str, int], tuple[Stage, exp.Expr]] = {}
        aggregated = bool(select.args.get("group")) or any(
            scope.is_aggregate(node) and node.find_ancestor(exp.Select) is select and not in_window(node)
            for part in (*select.expressions, select.args.get("having"))
            if part is not None
            for node in part.walk()
        )
        for call in here:
            place = places[id(call.node)]
            below = place_of(call.node, place).arg_key
            if place.arg_key in ("from_", "laterals") or (place.arg_key == "joins" and below != "on"):
                raise call.refused("is in FROM", "select its value in a subquery first")
            if place.arg_key in ("limit", "offset", "with_"):
                raise call.refused(f"is in {place.arg_key.upper()}", "use a constant there")
            argument = scope.argument(call)
            in_on = place if place.arg_key == "joins" else None
            sides = scope.sides(call, argument)
            key = (call.function.fingerprint + call.function.store, argument.sql("duckdb"), id(in_on))
            if key in done:
                stage, value = done[key]
            else:
                # A query around this one may filter by the value: DuckDB then evaluates it next to the WHERE here.
                guarded = place.arg_key in ("where", "joins") or select.parent is not None
                guarded = guarded or scope.is_nested(call.node) or where_uses_alias(select)
                stage, value = self._stage(call, argument, sides, scope, in_on, guarded=guarded)
                done[key] = stage, value
            self._note_field(stage, call.node)
            replacement = value.copy()
            if aggregated and in_on is None and place.arg_key not in ("where", "group"):
                replacement = self._grouped(call, argument, replacement, scope, place)
            call.node.replace(replacement)
        for stage, _ in done.values():
            self.cursor.execute(stage.create())

    def _stage(
        self,
        call: Call,
        argument: exp.Expr,
        sides: Sequence[str],
        scope: Scope,
        in_on: exp.Expr | None,
        *,
        guarded: bool,
    ) -> tuple[Stage, exp.Expr]:
        """Add a stage and its join to the query. Returns the expression that replaces the call."""
        document = scope.document(argument, sides) if sides else None
        text = f"cast({argument.sql('duckdb')} as varchar)"
        key = document or f"left(sha256({text}), 32)"
        feed, conditions = self._feed(call, sides, scope, in_on)
        present = document or f"({argument.sql('duckdb')})"
        feed.set("where", exp.Where(this=exp.and_(_parsed(f"{present} is not null"), *conditions)))
        keys = feed.copy()
        keys.set("expressions", [exp.alias_(_parsed(key), "key")])
        keys.set("distinct", exp.Distinct())
        if document:
            texts = f"select doc_id as key, text from lake.{DOCUMENTS} where doc_id in (select key from {{missing}})"
        else:
            feed.set("expressions", [exp.alias_(_parsed(key), "key"), exp.alias_(_parsed(text), "text")])
            body = feed.sql("duckdb").replace("{", "{{").replace("}", "}}")
            texts = (
                f"select key, any_value(text) as text from ({body})"
                " where key in (select key from {missing}) group by key"
            )
        keys_sql = keys.sql("duckdb")
        if sides:
            self._bind(call, keys_sql, scope)
        stage = Stage(call, len(self.stages), keys_sql, texts, DOCUMENTS if document else "")
        self.stages.append(stage)
        value = self._join(stage, key, sides, scope.select, in_on, conditions if guarded else [])
        # Later stages of this SELECT read the table's columns.
        self.cursor.execute(stage.create())
        return stage, value

    def _feed(
        self, call: Call, sides: Sequence[str], scope: Scope, in_on: exp.Expr | None
    ) -> tuple[exp.Select, list[exp.Expr]]:
        """Return a SELECT of the rows that supply a call's argument, and the conditions that narrow them."""
        select = scope.select
        conditions: list[exp.Expr] = []
        if not sides:
            feed = exp.Select()
        elif in_on is None:
            feed = exp.Select(
                from_=select.args["from_"].copy(), joins=[join.copy() for join in select.args.get("joins") or ()]
            )
            conditions = [each.copy() for each in scope.conditions(list(lineage.named_sources(select)))]
        else:
            if len(sides) > 1:
                raise call.refused(
                    f"is in ON with arguments from both sides ({', '.join(sides)})",
                    "join first in a subquery, call the function on the result, and filter by its value",
                )
            source = lineage.named_sources(select)[sides[0].lower()]
            if isinstance(source, exp.Unnest | exp.Lateral):
                hint = "call it in the SELECT, and filter there"
                raise call.refused("is in ON on a lateral relation", hint)
            feed = exp.select().from_(source.copy())
            if not nullable(sides[0], select):
                conditions = [each.copy() for each in scope.conditions(sides)]
        scope.give_ctes(feed, conditions)
        if unstable := instability(feed, *conditions):
            raise call.refused(
                f"reads rows that are not the same every time ({unstable})",
                "build those rows as a model of their own, and read that here",
            )
        return feed, conditions

    def _bind(self, call: Call, sql: str, scope: Scope) -> None:
        """Ask DuckDB whether the inputs can be read by themselves: a correlated FROM cannot."""
        try:
            scope.describe(sql)
        except CallError as error:
            raise call.refused(
                f"reads rows that cannot be read by themselves ({error.message})",
                "if the FROM depends on the query around, call the function in a CTE, and use its value here",
            ) from error

    def _join(
        self,
        stage: Stage,
        key: str,
        sides: Sequence[str],
        select: exp.Select,
        in_on: exp.Expr | None,
        guards: Sequence[exp.Expr],
    ) -> exp.Expr:
        name = stage.answers
        if not sides:
            return _parsed(f"(select {name}_value from {name})")
        join = exp.Join(this=exp.to_table(name), side="LEFT", on=_parsed(f"{name}_key = {key}"))
        # In WHERE and ON the other conditions may be evaluated after it: rows that they drop were not asked.
        guard = exp.and_(*(each.copy() for each in guards)).sql("duckdb") if guards else ""
        asked = f"case when {guard} then {key} end" if guard else key
        checked = _parsed(f"cuvee_answer({stage.read(f'{name}_value')}, {name}_key, {asked})")
        if in_on is None:
            select.append("joins", join)
            hide(select, [f"{name}_key", f"{name}_status", f"{name}_value"])
            return checked
        source = lineage.named_sources(select)[sides[0].lower()]
        alias = sides[0]
        inner = exp.Select(
            expressions=[
                exp.Column(this=exp.Star(), table=exp.to_identifier(alias, quoted=True)),
                exp.alias_(checked, f"{name}_checked"),
            ],
            from_=exp.From(this=source.copy()),
            joins=[join],
        )
        source.replace(exp.Subquery(this=inner, alias=exp.TableAlias(this=exp.to_identifier(alias, quoted=True))))
        hide(select, [f"{name}_checked"])
        for column in select.find_all(exp.Column):  # schema.table.column cannot name what is now a subquery
            if column.args.get("db") and column.table.lower() == alias.lower():
                column.set("db", None)
                column.set("catalog", None)
        return exp.column(f"{name}_checked", table=alias, quoted=True)

    def _grouped(self, call: Call, argument: exp.Expr, value: exp.Expr, scope: Scope, place: exp.Expr) -> exp.Expr:
        """Rewrite a value outside an aggregate in a grouped SELECT: legal if the group fixes the argument."""
        select = scope.select
        node: exp.Expr | None = call.node.parent
        while node is not None and node is not select:
            if isinstance(node, exp.Filter) or (scope.is_aggregate(node) and not in_window(node)):
                return value
            node = node.parent
        group = select.args.get("group")
        if group is not None and group.args.get("all"):
            return value if place.arg_key == "expressions" else exp.AnyValue(this=value)
        keys = []
        for each in group.expressions if group is not None else ():
            if isinstance(each, exp.Literal) and not each.is_string:
                each = select.expressions[int(each.this) - 1]
            keys.append(each)
        item = place
        plain = item.unalias() if isinstance(item, exp.Alias) else item
        named = [key for key in keys if isinstance(key, exp.Column) and not key.table]
        if any(key is item or key == plain for key in keys) or any(
            isinstance(item, exp.Alias) and key.name.lower() == item.alias.lower() for key in named
        ):
            return value  # the whole expression is what the rows are grouped by
        qualified = {scope.qualified(key) for key in keys}
        whole = scope.qualified(call.node)
        if whole in qualified:
            return value
        columns = {scope.qualified(column) for column in argument.find_all(exp.Column)}
        if argument.sql("duckdb").lower() in qualified or (columns and columns <= qualified):
            if group is not None and any(group.args.get(key) for key in ("rollup", "cube", "grouping_sets")):
                raise call.refused("is in a query with several groupings", "call it in a subquery first")
            return exp.AnyValue(this=value)
        raise call.refused(
            f"has {argument.sql('duckdb')} as its argument, which is not in GROUP BY",
            "group by it, or call the function inside the aggregate",
        )

    def _note_field(self, stage: Stage, node: exp.Expr) -> None:
        """Remember which categories are read, so that the others need not be joined."""
        parent = node.parent
        if stage.call.function.result is not None:
            return
        if isinstance(parent, exp.Dot) and parent.this is node and stage.fields != ("*",):
            stage.fields = tuple(dict.fromkeys([*stage.fields, parent.expression.name.lower()]))
        else:
            stage.fields = ("*",)


def _parsed(sql: str) -> exp.Expr:
    return sqlglot.parse_one(sql, dialect="duckdb")
