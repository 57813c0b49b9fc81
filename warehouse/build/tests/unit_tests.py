"""Unit tests: run a model's query on given rows, and compare the result with expected rows.

The model is rendered as ever, but ``ref``, ``source`` and ``this`` are the given rows, and so is every table that the
query names itself. A unit test reads no row of the lake and pays for no answer: what expensive functions answer is
given too.

A unit test runs before its model is built, and keeps it from being built if it fails. It is not run again while neither
it nor a definition above its model changed. ``expect`` is compared as a multiset, in the columns that it names. Types
of given rows are those of the relation in the lake, else of its query, its seed file, or ``data_type`` in YAML.

Answers are given under the function's name among the macros' results, as rows of ``text`` and the answer's columns:

    overrides:
      macros:
        label_document: {rows: [{text: "select 1", document_type_v2: {primary: "3"}}]}

``label_document(zero_shot)`` names the calls of one labeler. An input whose answer is not given is an error that names
it; a row without values is an answer without a verdict. All inputs count that a build would ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from udfs.errors import Location, did_you_mean
from warehouse.answers.calls import calls
from warehouse.build.materialize.tables import TableColumn, describe, seed_query
from warehouse.build.tests.checks import TestResult
from warehouse.build.tests.unit_inputs import answers, columns, literal, rename, typed
from warehouse.graph import parsing
from warehouse.graph.parsing import located
from warehouse.graph.step import Step
from warehouse.graph.unit_test_step import overrides_of, stated
from warehouse.lake.connection import duckdb_error
from warehouse.lake.quoting import quote
from warehouse.project.project import Node
from warehouse.project.relation import Relation
from warehouse.project.unit_properties import Given, Rows, UnitTest, UnitTestError

if TYPE_CHECKING:
    import duckdb

    from warehouse.graph.loaded_project import LoadedProject

#: Rows of a difference that a message shows.
_SHOWN = 20


def ready(
    opened: LoadedProject, step: Step, present: Collection[str]
) -> Callable[[duckdb.DuckDBPyConnection], TestResult]:
    """Render the test's model. Returns a function that runs the test in any thread.

    ``present`` are the names of the relations that the lake has now.
    """
    renderer = opened.renderer
    _, model = stated(renderer.project, step.node)
    overrides = overrides_of(renderer, step.node)
    rendered = renderer.render_given(model, overrides, execute=True)
    tested = replace(opened.graph.steps[model.id], rendered=rendered, sql=rendered.sql, lines=rendered.lines)
    tested = _on_given_rows(opened, present, step.node, replace(tested, tree=parsing.parse(tested)), overrides.inputs)
    return lambda cursor: _run(opened, present, step, tested, overrides.inputs, cursor)


def _on_given_rows(
    opened: LoadedProject, present: Collection[str], node: Node, tested: Step, inputs: Mapping[str, Relation]
) -> Step:
    """Return the model's query with the tables that it names replaced. Raises UnitTestError if one is not given."""
    assert tested.rendered is not None
    missing = [opened.renderer.project.nodes[key] for key in tested.rendered.refs if key not in inputs]
    owners = {each.relation.key: each.node for each in opened.graph.steps.values() if each.relation is not None}
    changed = False
    tree = tested.tree.copy() if tested.tree is not None else None
    for table, name in list(parsing.tables(tree, opened.renderer.target.schema)) if tree is not None else ():
        owner = owners.get(name)
        if owner is not None and owner.id in inputs:
            rename(table, inputs[owner.id].identifier)
            changed = True
        elif owner is not None:
            missing.append(owner)
        elif name in present:
            raise UnitTestError(
                f"{tested.name} reads {name}, which is not a node of the project, so no rows can be given for it",
                where=node.where,
                hint="declare it under sources: in a .yml file",
            )
    if missing:
        first = missing[0]
        named = f"source('{first.source_name}', '{first.name}')" if first.source_name else f"ref('{first.name}')"
        if first.id == tested.id:
            named = "this"
        raise UnitTestError(
            f"no rows are given for {named}, which {tested.name} reads",
            where=node.where,
            hint=f"- input: {named}\n    rows: []",
        )
    return replace(tested, sql=tree.sql("duckdb"), lines=(), tree=tree) if changed and tree is not None else tested


def _run(
    opened: LoadedProject,
    present: Collection[str],
    step: Step,
    tested: Step,
    inputs: Mapping[str, Relation],
    cursor: duckdb.DuckDBPyConnection,
) -> TestResult:
    unit, _ = stated(opened.renderer.project, step.node)
    queries = {}
    for index, (given, (key, relation)) in enumerate(zip(unit.given, inputs.items(), strict=True)):
        queries[relation.identifier] = f"select * from cuvee_given_{index}"
        _create(cursor, f"cuvee_given_{index}", _rows(opened, present, given, key, cursor), given.rows.where)
    sql, lines = parsing.with_ctes(tested.sql, tested.lines, queries)
    tested = replace(tested, sql=sql, lines=lines)
    tested = _answered(opened, unit, replace(tested, tree=parsing.parse(tested)), cursor)
    try:
        have = describe(cursor, tested.sql)
    except duckdb_error() as error:
        raise located(tested, error) from error
    if unit.expect.sql is not None:
        query = f"select * from ({unit.expect.sql}\n)"
        try:
            names = [each.name for each in describe(cursor, query)]
        except duckdb_error() as error:
            raise UnitTestError(str(error).split("\n\n")[0], where=unit.expect.where) from error
        by_name = {each.name.lower(): each for each in have}
        if unknown := [name for name in names if name.lower() not in by_name]:
            raise UnitTestError(
                f"{tested.name} gives no column {unknown[0]!r}",
                where=unit.expect.where,
                hint=did_you_mean(unknown[0].lower(), by_name),
            )
        compared = [by_name[name.lower()] for name in names]
        casts = (f"cast({quote(each.name)} as {each.type}) as {quote(each.name)}" for each in compared)
        query = f"select {', '.join(casts)} from ({unit.expect.sql}\n)"
    else:
        compared, query = typed(unit.expect, have, tested.name, fill=False)
    _create(cursor, "cuvee_expected", query, unit.expect.where)
    names_sql = ", ".join(quote(each.name) for each in compared)
    try:
        cursor.execute(f"create or replace temp table cuvee_actual as select {names_sql} from ({tested.sql}\n)")
    except duckdb_error() as error:
        raise located(tested, error) from error
    return _verdict(cursor, compared)


def _rows(
    opened: LoadedProject, present: Collection[str], given: Given, key: str, cursor: duckdb.DuckDBPyConnection
) -> str:
    if given.rows.sql is not None:
        return str(opened.renderer.value(given.rows.sql, given.rows.where))
    step = opened.graph.steps.get(key)
    if step is None:
        raise UnitTestError(f"{given.input} is disabled", where=given.rows.where)
    if given.rows.rows is None:
        if step.kind != "seed":
            raise UnitTestError(f"{given.input} is given without rows", where=given.rows.where, hint="rows: []")
        return seed_query(cursor, step, opened.renderer.project.file(step.node.path))[1]
    known = columns(opened, present, key, cursor, given.input, given.rows)
    return typed(given.rows, known, given.input, fill=True)[1]


def _create(cursor: duckdb.DuckDBPyConnection, name: str, query: str, where: Location) -> None:
    try:
        cursor.execute(f"create or replace temp table {name} as {query}")
    except duckdb_error() as error:
        raise UnitTestError(str(error).split("\n\n")[0], where=where) from error


def _answered(opened: LoadedProject, unit: UnitTest, tested: Step, cursor: duckdb.DuckDBPyConnection) -> Step:
    """Return the query with the calls of expensive functions replaced by the answers that the test gives."""
    found = calls(tested, opened.functions)
    if not found:
        return tested
    from warehouse.answers.rewrite import rewrite

    known: dict[str, dict[str, Any]] = {}
    for call in found:
        name = next((each for each in (call.title, call.name) if each in unit.macros), None)
        if name is None:
            raise UnitTestError(
                f"{tested.name} calls {call.name}, and a unit test pays for no answer",
                where=unit.where,
                hint=f"give its answers: overrides: {{macros: {{{call.name}: {{rows: [{_example(call)}]}}}}}}",
            )
        if call.title not in known:
            given = unit.macros[name]
            if not isinstance(given, Rows):
                raise UnitTestError(
                    f"the answers of {name} are rows", where=unit.where, hint=f"{name}: {{rows: [{_example(call)}]}}"
                )
            known[call.title] = answers(given, call.function.columns, call.function.result, name, cursor)
    rewritten = rewrite(tested, opened.functions, cursor, schema=opened.renderer.target.schema)
    for stage in rewritten.stages:
        cursor.execute(f"create or replace temp table {stage.inputs} as {stage.keys}")
        cursor.execute(stage.create())
        given_answers = known[stage.call.title]
        for key, text in cursor.execute(stage.texts.format(missing=stage.inputs)).fetchall():
            if text not in given_answers:
                raise UnitTestError(
                    f"{tested.name} calls {stage.call.name} on {_short(text)!r}, and the test gives no answer to it",
                    where=unit.where,
                    hint=f"overrides: {{macros: {{{stage.call.name}: {{rows: [{_example(stage.call, text)}]}}}}}}",
                )
            value = given_answers[text]
            if stage.call.function.result is None:
                value = {name: value[name] for name in stage.columns}
            cursor.execute(f"insert into {stage.answers} select ?, 'ok', cast({literal(value)} as {stage.type})", [key])
    return replace(tested, sql=rewritten.sql, lines=())


def _example(call: Any, text: str = "a text") -> str:
    return f"{{text: {_short(text)!r}, {call.function.columns.names[0]}: …}}"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _verdict(cursor: duckdb.DuckDBPyConnection, compared: Sequence[TableColumn]) -> TestResult:
    """Return whether both tables have the same rows, each as often, and what is different."""
    texts = ", ".join(f"cast({quote(each.name)} as varchar)" for each in compared)

    def only(left: str, right: str) -> list[tuple[Any, ...]]:
        query = f"select {texts} from (from cuvee_{left} except all from cuvee_{right}) order by all"
        return cursor.execute(query).fetchall()

    extra, missing = only("actual", "expected"), only("expected", "actual")
    if not extra and not missing:
        return TestResult("pass", 0, "")
    count = cursor.execute("select count(*) from cuvee_actual").fetchone()
    same = (count[0] if count else 0) - len(extra)
    table = _difference([each.name for each in compared], extra, missing)
    alike = {0: "no row is the same", 1: "1 row is the same"}.get(same, f"{same:,} rows are the same")
    return TestResult("fail", 1, "", f"actual differs from expected, {alike}:\n{table}")


def _difference(names: Sequence[str], extra: list[tuple[Any, ...]], missing: list[tuple[Any, ...]]) -> str:
    """Draw rows that are missing (---), too many (+++), or changed (→), as a table."""
    lines: list[list[str]] = []
    left = list(extra)
    for row in missing:
        near = max(left, key=lambda other: _alike(row, other), default=None)
        if near is None or not _alike(row, near):
            lines.append(["---", *map(_cell, row)])
            continue
        left.remove(near)
        cells = [_cell(a) if a == b else f"{_cell(a)} → {_cell(b)}" for a, b in zip(row, near, strict=True)]
        lines.append(["→", *cells])
    lines += [["+++", *map(_cell, row)] for row in left]
    shown = [["@@", *names], *lines[:_SHOWN]]
    widths = [max(len(row[index]) for row in shown) for index in range(len(names) + 1)]
    text = "\n".join(" | ".join(map(str.ljust, row, widths)).rstrip() for row in shown)
    more = len(lines) - _SHOWN
    return f"{text}\n… and {more:,} more" if more > 0 else text


def _alike(row: Sequence[Any], other: Sequence[Any]) -> int:
    """Count the columns that two rows have in common. NULLs do not count."""
    return sum(a == b and a is not None for a, b in zip(row, other, strict=True))


def _cell(value: object) -> str:
    return "null" if value is None else _short(value).replace("\n", "\\n")
