"""Answer what a query asks of expensive functions, and pay for nothing twice.

The inputs of every call are looked up in the store of its function; what has no answer is streamed through the
function and committed in portions. Then everything is looked up once more, in a transaction that stays open until
the query itself has run: the inputs that were checked and the rows that are read are the same snapshot, whatever is
ingested meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from udfs.errors import CuveeError
from udfs.expensive import INPUT_SCHEMA
from warehouse import lineage, store
from warehouse.calls import calls
from warehouse.graph import SqlError, Step, located
from warehouse.rewrite import rewrite
from warehouse.stages import MISSING, Rewritten, Stage

if TYPE_CHECKING:
    import duckdb

    from udfs.expensive import ExpensiveFunction
    from warehouse.opened import Opened
    from warehouse.outcome import Watcher

#: Texts per batch that a function receives.
_BATCH = 1024


class AnswersError(CuveeError):
    """A function could not answer, or its answers are not to be used."""


def refuse_in_view(step: Step, functions: Mapping[str, ExpensiveFunction]) -> None:
    """A view is read by clients that know nothing of answers. Raises AnswersError."""
    for call in calls(step, functions):
        raise AnswersError(
            f"{call.node.this} cannot be called in a view: who reads the view outside Cuvée has no such function",
            where=call.where,
            hint=_hint(step, call.where, "make the model a table: {{ config(materialized='table') }}"),
        )


def refuse_in_test(step: Step, functions: Mapping[str, ExpensiveFunction]) -> None:
    """A test looks at what was built; it does not buy answers. Raises AnswersError."""
    for call in calls(step, functions):
        raise AnswersError(
            f"{call.node.this} cannot be called in a test",
            where=call.where,
            hint=_hint(step, call.where, "call it in a model, and test the model"),
        )


def _hint(step: Step, where: Any, text: str) -> str:
    shown = step.excerpt(where)
    return f"{shown}\n  {text}" if shown else text


@contextmanager
def answered(opened: Opened, step: Step, cursor: duckdb.DuckDBPyConnection, watcher: Watcher) -> Iterator[Step]:
    """The step with SQL that DuckDB can run on ``cursor``: all calls are answered and replaced.

    Raises AnswersError if more inputs than the config's ``max_error_share`` (0.05) ended in an error.
    """
    if not calls(step, opened.functions):
        yield step
        return
    rewritten = rewrite(step, opened.functions, cursor, models(opened), opened.renderer.target.schema)
    _bind(replace(step, sql=rewritten.sql, lines=()), cursor)
    asked_again: set[int] = set()
    while True:
        cursor.execute("begin transaction")
        try:
            stage, missing, inputs = _look_up(opened, rewritten, cursor, asked_again)
        except BaseException:
            cursor.execute("rollback")
            raise
        if stage is None:
            break
        cursor.execute("commit")
        asked_again.add(stage.index)
        _ask(opened, stage, missing, inputs, cursor, watcher)
    try:
        for stage in rewritten.stages:
            _check_errors(step, stage, cursor)
        yield replace(step, sql=rewritten.sql, lines=())
    except SqlError as error:
        if MISSING in error.message:
            raise AnswersError(
                f"internal error: {error.message}",
                where=error.where,
                hint="are the rows the same every time (string_agg needs an ORDER BY)? If so, please report this",
            ) from error
        raise
    finally:
        with suppress(_duckdb_error()):
            cursor.execute("commit")
        for stage in rewritten.stages:
            for table in (stage.answers, stage.inputs, stage.missing):
                cursor.execute(f"drop table if exists {table}")


def _bind(step: Step, cursor: duckdb.DuckDBPyConnection) -> None:
    """Find a wrong column or field before an answer is paid for. Raises SqlError."""
    try:
        cursor.execute(f"describe {step.sql}")
    except _duckdb_error() as error:
        raise located(step, error) from error


def _look_up(
    opened: Opened, rewritten: Rewritten, cursor: duckdb.DuckDBPyConnection, asked_again: set[int]
) -> tuple[Stage | None, int, int]:
    """Fill the answers' tables, stage by stage; stops at the first stage with inputs that have no answer."""
    for stage in rewritten.stages:
        retry = opened.options.retry_errors and stage.index not in asked_again
        inputs, missing = count_inputs(stage, cursor, retry=retry)
        if missing:
            return stage, missing, inputs
        fill(stage, cursor)
    return None, 0, 0


def count_inputs(stage: Stage, cursor: duckdb.DuckDBPyConnection, *, retry: bool = False) -> tuple[int, int]:
    """Materialise a stage's distinct inputs and those without an answer; returns how many there are of each."""
    function = stage.call.function
    cursor.execute(f"create or replace temp table {stage.inputs} as {stage.keys}")
    unanswered = store.missing(cursor, stage.inputs, function, retry_errors=retry)
    cursor.execute(f"create or replace temp table {stage.missing} as {unanswered}")
    row = cursor.execute(
        f"select (select count(*) from {stage.inputs}), (select count(*) from {stage.missing})"
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def fill(stage: Stage, cursor: duckdb.DuckDBPyConnection) -> None:
    """Copy the answers to a stage's inputs into its table, one row per input: of several answers, the latest."""
    function = stage.call.function
    cursor.execute(stage.create())
    if not store.exists(cursor, function.store):
        return  # no input at all, so far
    # Two builds may have answered the same input at once: the store has both, the join must see one.
    cursor.execute(
        f"insert into {stage.answers} select doc_id, status, {stage.value} from lake.{function.store}"
        f" where fingerprint = '{function.fingerprint}' and doc_id in (select key from {stage.inputs})"
        f" qualify row_number() over (partition by doc_id order by labelled_at desc) = 1"
    )


def _ask(
    opened: Opened, stage: Stage, missing: int, inputs: int, cursor: duckdb.DuckDBPyConnection, watcher: Watcher
) -> None:
    """Stream the texts of a stage's missing inputs through its function into the store."""
    function = stage.call.function
    # A function that is cheap says how many answers are worth a commit.
    every = max(opened.options.commit_every, getattr(function, "portion", 0))
    answers = store.Answers(opened.lake, function, every=every)
    advance = watcher.answering(stage.call.title, missing, inputs - missing)
    reader = cursor.sql(stage.texts.format(missing=stage.missing)).to_arrow_reader(_BATCH)
    stream = function.answers(_batches(reader))
    done = 0
    try:
        for count in answers.collect(stream):
            done += count
            advance(count)
    finally:
        close: Callable[[], None] | None = getattr(stream, "close", None)
        if close:
            close()
        reader.close()
    if done < missing:
        raise AnswersError(
            f"{stage.call.title} answered {done:,} of {missing:,} inputs", where=stage.call.where,
            hint="a function answers every input, with status error if it must",
        )  # fmt: skip


def _batches(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    for batch in reader:
        if batch.num_rows:
            yield pa.RecordBatch.from_arrays(
                [batch.column(name).cast(pa.string()) for name in ("key", "text")], schema=INPUT_SCHEMA
            )


def _check_errors(step: Step, stage: Stage, cursor: duckdb.DuckDBPyConnection) -> None:
    """Fail if too many answers are errors: NULLs in their place would look like a result."""
    allowed = float(step.node.config.get("max_error_share", 0.05))
    row = cursor.execute(
        f"select count(*) filter ({stage.answers}_status = 'error'), count(*) from {stage.answers}"
    ).fetchone()
    errors, total = row if row else (0, 0)
    if errors <= allowed * total:
        return
    function = stage.call.function
    example = cursor.execute(
        f"select any_value(raw) from lake.{function.store} where fingerprint = '{function.fingerprint}'"
        f" and status = 'error' and doc_id in (select {stage.answers}_key from {stage.answers})"
    ).fetchone()
    raise AnswersError(
        f"{errors:,} of {total:,} answers of {stage.call.title} are errors, more than the share of {allowed:g} allowed"
        + (f"; one of them: {example[0]}" if example and example[0] else ""),
        where=stage.call.where,
        hint="ask again with --retry-errors, or allow more: {{ config(max_error_share=…) }}; such rows are NULL",
    )


def models(opened: Opened) -> lineage.Models:
    """The syntax tree of the model behind a lake table. Incremental tables hold rows of older queries: not followed."""
    trees = {
        step.relation.key: step.tree
        for step in opened.graph.steps.values()
        if step.relation is not None and step.tree is not None and step.kind in ("view", "table")
    }
    return trees.get


def _duckdb_error() -> type[Exception]:
    import duckdb

    return duckdb.Error
