"""Calls of expensive functions, taken out of a query and put back as joins to their answers.

    select doc_id from docs where label_document(text).bloom.primary = '3' and lang = 'en'

becomes a stage and a query. The stage says which inputs have to be answered: the distinct texts of the relation
that supplies them, narrowed by the conditions that hold for every row on which the call is evaluated (``lang = 'en'``,
but no branch of an OR). The query reads the answers from a temporary table with one row per input:

    select doc_id from docs left join answers on answers.key = <key of text>
    where answers.value.bloom.primary = '3' and lang = 'en'

A call outside ON is evaluated on rows of the whole FROM, so there the join stands behind the FROM: a row that an
outer join filled up has the value that the argument has on that row. A call in ON sees one side only, so that side
is wrapped. The key is unique, so no join here adds or loses a row. A NULL argument finds no answer and gives NULL;
a missing answer to anything else is an error at run time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from udfs.errors import Location
from warehouse import lineage
from warehouse.calls import Call, CallError, NotYetError, find
from warehouse.graph import Step
from warehouse.store import duckdb_type
from warehouse.trees import (
    conjuncts,
    depth,
    hide,
    in_window,
    inner_first,
    instability,
    keep_names,
    nullable,
    place_of,
    source_names,
    spell_cross_joins,
    stands_in,
    stands_under,
    where_uses_alias,
)

if TYPE_CHECKING:
    import duckdb
    from sqlglot import exp

    from udfs.expensive import ExpensiveFunction

#: Where a document's own text and its key stand.
DOCUMENTS = "raw.documents"
#: Part of the message of the error that a missing answer raises inside DuckDB.
MISSING = "cuvee: no answer is stored for the input "
#: The value of a call from its answer: NULL for a NULL input, an error if an input has no answer. The error is a cast
#: that cannot be, because DuckDB takes error() for a side effect and then refuses GROUP BY and WHERE by alias.
#: Branches of a CASE are evaluated for the rows that reach them only; the sides of an AND are not.
_ANSWER = f"""
create or replace temp macro cuvee_answer(value, found, key) as
    case when found is not null then value when key is null then null
        else case when cast('{MISSING}' || key as bigint) = 0 then value end end
"""


@dataclass(slots=True)
class Stage:
    """Inputs to answer before the query (or the next stage) can run.

    ``keys`` is a query for the distinct keys; ``texts`` one for (key, text) of the keys that the table ``missing``
    holds; ``answers`` is the temporary table, with columns ``<answers>_key``, ``_status``, ``_value``, that the
    rewritten query joins; ``value`` gives the call's value from a row of the store.
    """

    call: Call
    index: int
    keys: str
    texts: str
    by_document: bool
    fields: tuple[str, ...] = ()

    @property
    def answers(self) -> str:
        return f"cuvee_{self.index}"

    @property
    def inputs(self) -> str:
        return f"cuvee_{self.index}_inputs"

    @property
    def missing(self) -> str:
        return f"cuvee_{self.index}_missing"

    @property
    def value(self) -> str:
        """The call's value as an expression over a row of the store; NULL where there is no verdict."""
        function = self.call.function
        if function.result is not None:
            value = _quote(function.result)
        else:
            value = "{" + ", ".join(f"'{name}': {_quote(name)}" for name in self.columns) + "}"
        return f"case when status in ('ok', 'partial') then {value} end"

    @property
    def columns(self) -> list[str]:
        """The answer columns that the query reads."""
        names: list[str] = self.call.function.columns.names
        return [name for name in names if not self.fields or name.lower() in self.fields] or names

    @property
    def type(self) -> str:
        """DuckDB's type of the call's value."""
        schema = self.call.function.columns
        if self.call.function.result is not None:
            return duckdb_type(schema.field(self.call.function.result).type)
        return f"struct({', '.join(f'{_quote(name)} {duckdb_type(schema.field(name).type)}' for name in self.columns)})"

    def create(self) -> str:
        """The statement that makes the answers' table, empty."""
        name = self.answers
        return (
            f"create or replace temp table {name} ({name}_key varchar, {name}_status varchar, {name}_value {self.type})"
        )


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A query whose calls are joins, and what has to be answered first, in this order."""

    sql: str
    stages: tuple[Stage, ...]


def rewrite(
    step: Step,
    functions: Mapping[str, ExpensiveFunction],
    cursor: duckdb.DuckDBPyConnection,
    models: lineage.Models = lambda table: None,
    schema: str = "main",
) -> Rewritten:
    """Take the calls out of a step's query. ``cursor`` tells the columns of relations and gets temporary tables.

    Raises CallError, located, for calls that cannot be taken out, NotYetError if a relation does not exist.
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
    columns: dict[tuple[int, str], list[str]] = field(default_factory=dict)
    aggregates: frozenset[str] = frozenset()

    def run(self) -> Rewritten:
        from sqlglot import exp

        assert self.step.tree is not None
        self.tree = self.step.tree.copy()
        self.cursor.execute(_ANSWER)
        self.calls = {id(call.node): call for call in find(self.tree, self.step, self.functions)}
        rows = self.cursor.execute(
            "select distinct function_name from duckdb_functions() where function_type = 'aggregate'"
        ).fetchall()
        self.aggregates = frozenset(row[0] for row in rows)
        for select in list(inner_first(self.tree)):
            if isinstance(select, exp.Select):
                self._select(select)
        left = [call for call in self.calls.values() if stands_in(call.node, self.tree)]
        if left:
            raise self._refuse(
                left[0],
                "stands outside any SELECT (in the ORDER BY of a UNION, or in FROM)",
                "select its value in a subquery, and use that column",
            )
        return Rewritten(self.tree.sql("duckdb"), tuple(self.stages))

    def _refuse(self, call: Call, why: str, instead: str) -> CallError:
        shown = self.step.excerpt(call.where)
        return CallError(
            f"{call.node.this} {why}", where=call.where, hint="\n  ".join(part for part in (shown, instead) if part)
        )

    # --- one SELECT -----------------------------------------------------------------------------------------

    def _select(self, select: exp.Select) -> None:
        from sqlglot import exp

        here = [
            call
            for call in self.calls.values()
            if call.node.find_ancestor(exp.Select, exp.SetOperation) is select and stands_in(call.node, self.tree)
        ]
        if not here:
            return
        self._check_scope(select, here[0])
        keep_names(select, here)
        spell_cross_joins(select, lambda why, instead: self._refuse(here[0], why, instead))
        places = {id(call.node): place_of(call.node, select) for call in here}
        # Calls in ON first: the FROM that feeds the others holds them. Inner calls before those around them.
        here.sort(key=lambda call: (places[id(call.node)].arg_key != "joins", -depth(call.node)))
        done: dict[tuple[str, str, int], tuple[Stage, exp.Expr]] = {}
        aggregated = bool(select.args.get("group")) or any(
            self._is_aggregate(node) and node.find_ancestor(exp.Select) is select and not in_window(node)
            for part in (*select.expressions, select.args.get("having"))
            if part is not None
            for node in part.walk()
        )
        for call in here:
            place = places[id(call.node)]
            if place.arg_key in ("from_", "laterals") or (
                place.arg_key == "joins" and not stands_under(call.node, place, "on")
            ):
                raise self._refuse(call, "stands in FROM", "select its value in a subquery first")
            if place.arg_key in ("limit", "offset", "with_"):
                raise self._refuse(call, f"stands in {place.arg_key.upper()}", "use a constant there")
            argument = self._argument(call, select)
            in_on = place if place.arg_key == "joins" else None
            sides = self._sides(call, argument, select)
            key = (call.function.fingerprint + call.function.store, argument.sql("duckdb"), id(in_on))
            if key in done:
                stage, value = done[key]
            else:
                guarded = place.arg_key in ("where", "joins") or self._is_nested(call.node) or where_uses_alias(select)
                stage, value = self._stage(call, argument, sides, select, in_on, guarded=guarded)
                done[key] = stage, value
            self._note_field(stage, call.node)
            replacement = value.copy()
            if aggregated and in_on is None and place.arg_key not in ("where", "group"):
                replacement = self._grouped(call, argument, replacement, select, place)
            call.node.replace(replacement)
        for stage, _ in done.values():
            self.cursor.execute(stage.create())

    def _check_scope(self, select: exp.Select, call: Call) -> None:
        from sqlglot import exp

        cte = select.find_ancestor(exp.CTE)
        while cte is not None:
            clause = cte.parent
            if (
                isinstance(clause, exp.With)
                and clause.recursive
                and any(table.name.lower() == cte.alias.lower() for table in cte.this.find_all(exp.Table))
            ):
                raise self._refuse(
                    call, "stands in a recursive CTE", "select the value after the recursion, in another CTE"
                )
            cte = cte.find_ancestor(exp.CTE)
        if (select.args.get("limit") or select.args.get("offset")) and not select.args.get("order"):
            raise self._refuse(
                call,
                "stands beside a LIMIT without ORDER BY, which gives other rows every time",
                "choose the rows in a subquery with ORDER BY and LIMIT, and call the function on what it gives",
            )
        if any(source.args.get("pivots") for source in lineage.named_sources(select).values()):
            raise self._refuse(call, "stands beside a PIVOT", "pivot in a subquery, or call the function in one")
        if any(
            isinstance(item, exp.Columns) and not isinstance(item.this, exp.Star)
            for item in select.find_all(exp.Columns)
        ):
            raise self._refuse(call, "stands beside COLUMNS('…')", "put one of them into a subquery")

    def _argument(self, call: Call, select: exp.Select) -> exp.Expr:
        """The argument with every column qualified, and names given in the SELECT replaced by what they mean."""
        from sqlglot import exp

        argument = call.node.expressions[0]
        if isinstance(argument, exp.Kwarg | exp.PropertyEQ):
            raise self._refuse(call, "takes its text by position", "write the text first, without a name")
        if argument.find(exp.Query):
            raise self._refuse(call, "has a subquery as its argument", "join the subquery, and use its column")
        if argument.find(exp.Window) or any(self._is_aggregate(node) for node in argument.walk()):
            raise self._refuse(
                call,
                "has an aggregate or a window function as its argument",
                "compute it in a subquery or CTE, and call the function on its column",
            )
        unstable = instability(argument)
        if unstable:
            raise self._refuse(call, f"has {unstable} as its argument, which is different every time", "use a column")
        argument = argument.copy()
        names = {item.alias.lower(): item.this for item in select.expressions if isinstance(item, exp.Alias)}
        holder = exp.Paren(this=argument)
        for column in list(holder.find_all(exp.Column)):
            if column.table or self._owner(column, select) is not None or column.name.lower() not in names:
                continue
            meant = names[column.name.lower()]
            if meant.find(exp.Query, exp.Window) or any(self._is_aggregate(node) for node in meant.walk()):
                raise self._refuse(call, f"has {column.name} as its argument, which is computed here", "use a CTE")
            column.replace(meant.copy() if isinstance(meant, exp.Column) else exp.Paren(this=meant.copy()))
        for column in holder.find_all(exp.Column):
            if not column.table:
                owner = self._owner(column, select)
                if owner is not None:
                    column.set("table", exp.to_identifier(owner, quoted=True))
        qualified: exp.Expr = holder.this
        return qualified

    def _owner(self, column: exp.Column, select: exp.Select) -> str | None:
        """Name of the relation in the FROM that has an unqualified column."""
        return next((name for name in source_names(select) if column.name.lower() in self._columns(name, select)), None)

    def _sides(self, call: Call, argument: exp.Expr, select: exp.Select) -> list[str]:
        """Which relations of the FROM supply the argument."""
        from sqlglot import exp

        names = {name.lower(): name for name in source_names(select)}
        sides: list[str] = []
        for column in argument.find_all(exp.Column):
            first = column.parts[0].name.lower() if not column.args.get("db") else column.table.lower()
            side = names.get(first)
            if side is None:  # a field of a struct column looks like table.column
                side = next((name for name in names.values() if first in self._columns(name, select)), None)
            if side is None:
                raise self._refuse(
                    call,
                    f"has {column.sql('duckdb')} as its argument, which no relation of this FROM has",
                    "if it belongs to the query around, call the function there (or in a CTE) and use the value here",
                )
            sides.append(side)
        return list(dict.fromkeys(sides))

    def _columns(self, name: str, select: exp.Select) -> list[str]:
        """Columns of one relation of a FROM, lower case, as DuckDB knows them."""
        from sqlglot import exp

        known = self.columns.get((id(select), name.lower()))
        if known is not None:
            return known
        sources = lineage.named_sources(select)
        joins = select.args.get("joins") or []
        upto = next((index + 1 for index, join in enumerate(joins) if join.this is sources[name.lower()]), 0)
        if upto and (joins[upto - 1].kind or "").upper() in ("SEMI", "ANTI"):
            query = exp.select("*").from_(sources[name.lower()].copy())
        else:
            query = exp.Select(
                expressions=[exp.Column(this=exp.Star(), table=exp.to_identifier(name, quoted=True))],
                from_=select.args["from_"].copy(),
                joins=[join.copy() for join in joins[:upto]],
            )
        self._with(query, select)
        found = [str(row[0]).lower() for row in self._describe(query.sql("duckdb"))]
        return self.columns.setdefault((id(select), name.lower()), found)

    def _describe(self, sql: str) -> list[tuple[Any, ...]]:
        import duckdb

        try:
            return self.cursor.execute(f"describe {sql}").fetchall()
        except duckdb.CatalogException as error:
            if "Table with name" not in str(error):
                raise CallError(str(error).split("\n\n")[0], where=Location(self.step.node.path)) from error
            raise NotYetError(str(error).split("\n")[0], where=Location(self.step.node.path)) from error
        except duckdb.Error as error:
            message = str(error).split("\n\n")[0]
            raise CallError(message, where=Location(self.step.node.path)) from error

    # --- stages ---------------------------------------------------------------------------------------------

    def _stage(
        self,
        call: Call,
        argument: exp.Expr,
        sides: Sequence[str],
        select: exp.Select,
        in_on: exp.Expr | None,
        *,
        guarded: bool,
    ) -> tuple[Stage, exp.Expr]:
        """Add a stage and its join to the query; also gives the expression that stands for the call."""
        from sqlglot import exp

        index = len(self.stages)
        document = self._document(argument, sides, select) if sides else None
        text = f"cast({argument.sql('duckdb')} as varchar)"
        key = document or f"left(sha256({text}), 32)"
        feed: exp.Select
        if not sides:
            feed = exp.Select()
            conditions: list[exp.Expr] = []
        elif in_on is None:
            feed = exp.Select(
                from_=select.args["from_"].copy(), joins=[join.copy() for join in select.args.get("joins") or ()]
            )
            conditions = [each.copy() for each in self._conditions(select, list(lineage.named_sources(select)))]
        else:
            if len(sides) > 1:
                raise self._refuse(
                    call,
                    f"stands in ON with arguments from both sides ({', '.join(sides)})",
                    "join first in a subquery, call the function on the result, and filter by its value",
                )
            source = lineage.named_sources(select)[sides[0].lower()]
            if isinstance(source, exp.Unnest | exp.Lateral):
                raise self._refuse(
                    call, "stands in ON on a lateral relation", "call it in the SELECT, and filter there"
                )
            feed = exp.select().from_(source.copy())
            narrow = not nullable(sides[0], select)
            conditions = [each.copy() for each in self._conditions(select, sides)] if narrow else []
        self._with(feed, select)
        unstable = instability(feed, *conditions)
        if unstable:
            raise self._refuse(
                call,
                f"reads rows that are not the same every time ({unstable})",
                "build those rows as a model of their own, and read that here",
            )
        present = document or f"({argument.sql('duckdb')})"
        narrowed = [_parsed(f"{present} is not null"), *conditions]
        keys = feed.copy()
        keys.set("expressions", [exp.alias_(_parsed(key), "key")])
        keys.set("distinct", exp.Distinct())
        keys.set("where", exp.Where(this=exp.and_(*narrowed)))
        if document:
            texts = f"select doc_id as key, text from lake.{DOCUMENTS} where doc_id in (select key from {{missing}})"
        else:
            inner = feed.copy()
            inner.set("expressions", [exp.alias_(_parsed(key), "key"), exp.alias_(_parsed(text), "text")])
            inner.set("where", exp.Where(this=exp.and_(*(each.copy() for each in narrowed))))
            body = inner.sql("duckdb").replace("{", "{{").replace("}", "}}")
            texts = (
                f"select key, any_value(text) as text from ({body})"
                " where key in (select key from {missing}) group by key"
            )
        keys_sql = keys.sql("duckdb")
        if sides:
            self._bind(call, keys_sql)
        stage = Stage(call, index, keys_sql, texts, document is not None)
        self.stages.append(stage)
        value = self._join(stage, key, sides, select, in_on, conditions if guarded else [])
        # Later stages of this SELECT read the table's columns.
        self.cursor.execute(stage.create())
        return stage, value

    def _bind(self, call: Call, sql: str) -> None:
        """Ask DuckDB whether the inputs can be read by themselves: a correlated FROM cannot."""
        try:
            self._describe(sql)
        except CallError as error:
            raise self._refuse(
                call,
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
        from sqlglot import exp

        name = stage.answers
        if not sides:
            return _parsed(f"(select {name}_value from {name})")
        join = exp.Join(this=exp.to_table(name), side="LEFT", on=_parsed(f"{name}_key = {key}"))
        # In WHERE and ON the conditions beside a call may be evaluated after it: rows that they drop were not asked.
        guard = exp.and_(*(each.copy() for each in guards)).sql("duckdb") if guards else ""
        checked = _parsed(
            f"cuvee_answer({name}_value, {name}_key, {f'case when {guard} then {key} end' if guard else key})"
        )
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

    def _conditions(self, select: exp.Select, sides: Sequence[str]) -> list[exp.Expr]:
        """The parts of the WHERE that hold on every row it lets through, mention only ``sides``, and call nothing."""
        from sqlglot import exp

        clause = select.args.get("where")
        if clause is None:
            return []
        wanted = {side.lower() for side in sides}
        every = set(lineage.named_sources(select))
        found = []
        for part in conjuncts(clause.this):
            if any(id(node) in self.calls for node in part.find_all(exp.Anonymous)):
                continue
            if any(column.parts[0].name.lower().startswith("cuvee_") for column in part.find_all(exp.Column)):
                continue
            if part.find(exp.Query):
                # A subquery may name columns of this SELECT or of those around it: only DuckDB can tell.
                if not self._closed(part, select):
                    continue
                if wanted != every:
                    continue
                found.append(part)
                continue
            owners = {self._part_owner(column, select) for column in part.find_all(exp.Column)}
            if None not in owners and owners <= wanted:
                found.append(part)
        return found

    def _part_owner(self, column: exp.Column, select: exp.Select) -> str | None:
        names = lineage.named_sources(select)
        first = column.parts[0].name.lower() if not column.args.get("db") else column.table.lower()
        if first in names:
            return first
        return next((name for name in names if first in self._columns(name, select)), None)

    def _closed(self, part: exp.Expr, select: exp.Select) -> bool:
        """Whether a condition can be asked of this FROM alone."""
        from sqlglot import exp

        query = exp.Select(
            expressions=[exp.Literal.number(1)],
            from_=select.args["from_"].copy(),
            joins=[join.copy() for join in select.args.get("joins") or ()],
            where=exp.Where(this=part.copy()),
        )
        self._with(query, select)
        try:
            self._describe(query.sql("duckdb"))
        except CallError:
            return False
        return True

    def _with(self, query: exp.Select, place: exp.Expr) -> None:
        """Give ``query`` the CTEs that it uses and that can be seen at ``place``."""
        from sqlglot import exp

        visible: dict[str, exp.CTE] = {}
        recursive = False
        inside: exp.Expr | None = None
        here: exp.Expr | None = place
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
        stack: list[exp.Expr] = [query]
        while stack:
            for table in stack.pop().find_all(exp.Table):
                name = table.name.lower()
                if not table.db and name in visible and name not in used:
                    used.add(name)
                    stack.append(visible[name])
        chosen = [cte.copy() for name, cte in visible.items() if name in used]
        if chosen:
            query.set("with_", exp.With(expressions=chosen, recursive=recursive))

    # --- keys, groups, fields -------------------------------------------------------------------------------

    def _document(self, argument: exp.Expr, sides: Sequence[str], select: exp.Select) -> str | None:
        """The expression for the ``doc_id`` whose text the argument is, if lineage shows that there is one."""
        from sqlglot import exp

        if not isinstance(argument, exp.Column) or len(sides) != 1:
            return None
        text = lineage.origin(argument, select, self.models, self.schema)
        if text is None or (text.table, text.column) != (DOCUMENTS, "text"):
            return None
        source = lineage.named_sources(select)[sides[0].lower()]
        for name in self._columns(sides[0], select):
            found = lineage.source_column(source, name, self.models, self.schema)
            if found is not None and found == lineage.Origin(DOCUMENTS, "doc_id", text.row):
                return f"{_quote(sides[0])}.{_quote(name)}"
        return None

    def _grouped(
        self, call: Call, argument: exp.Expr, value: exp.Expr, select: exp.Select, place: exp.Expr
    ) -> exp.Expr:
        """A value outside an aggregate in a grouped SELECT: legal if the group fixes the argument."""
        from sqlglot import exp

        node: exp.Expr | None = call.node.parent
        while node is not None and node is not select:
            if isinstance(node, exp.Filter) or (self._is_aggregate(node) and not in_window(node)):
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
        qualified = {self._qualified(key, select) for key in keys}
        whole = self._qualified(call.node, select)
        if whole in qualified:
            return value
        columns = {self._qualified(column, select) for column in argument.find_all(exp.Column)}
        if argument.sql("duckdb").lower() in qualified or (columns and columns <= qualified):
            if group is not None and any(group.args.get(key) for key in ("rollup", "cube", "grouping_sets")):
                raise self._refuse(call, "stands in a query with several groupings", "call it in a subquery first")
            return exp.AnyValue(this=value)
        raise self._refuse(
            call,
            f"has {argument.sql('duckdb')} as its argument, which is not in GROUP BY",
            "group by it, or call the function inside the aggregate",
        )

    def _qualified(self, node: exp.Expr, select: exp.Select) -> str:
        from sqlglot import exp

        holder = exp.Paren(this=node.copy())
        for column in holder.find_all(exp.Column):
            if not column.table and (owner := self._owner(column, select)) is not None:
                column.set("table", exp.to_identifier(owner, quoted=True))
            for part in column.parts:
                part.set("quoted", True)
        return str(holder.this.sql("duckdb").lower())

    def _note_field(self, stage: Stage, node: exp.Expr) -> None:
        """Remember which categories are read, so that the others need not be joined."""
        from sqlglot import exp

        parent = node.parent
        if stage.call.function.result is not None:
            return
        if isinstance(parent, exp.Dot) and parent.this is node and stage.fields != ("*",):
            stage.fields = tuple(dict.fromkeys([*stage.fields, parent.expression.name.lower()]))
        else:
            stage.fields = ("*",)

    def _is_nested(self, node: exp.Expr) -> bool:
        """Whether a call stands inside another one."""
        here = node.parent
        while here is not None and id(here) not in self.calls:
            here = here.parent
        return here is not None

    def _is_aggregate(self, node: exp.Expr) -> bool:
        from sqlglot import exp

        if isinstance(node, exp.AggFunc):
            return True
        return isinstance(node, exp.Anonymous) and str(node.this).lower() in self.aggregates


def _parsed(sql: str) -> exp.Expr:
    import sqlglot

    return sqlglot.parse_one(sql, dialect="duckdb")


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
