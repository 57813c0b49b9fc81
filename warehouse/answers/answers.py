"""Answer the calls of expensive functions in a query, and pay for nothing twice.

The inputs of every call are looked up in the store of its function; what has no answer is streamed through the
function and committed in portions. Then everything is looked up once more, in a transaction that stays open until
the query itself has run: the inputs that were checked and the rows that are read are the same snapshot, whatever is
ingested meanwhile.

An answer with status ``error`` is NULL as long as no more than ``max_error_share`` (0.05) of a call's inputs failed.
Beyond that the model fails. ``--retry error`` asks for them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from udfs.errors import AnswersError
from warehouse.answers import store
from warehouse.answers.answer_runner import AnswerRunner, StageProgress, Unanswered
from warehouse.answers.calls import calls
from warehouse.answers.rewrite import rewrite
from warehouse.answers.stages import MISSING, Rewritten, Stage
from warehouse.answers.store import Retry
from warehouse.graph.parsing import SqlError, located
from warehouse.graph.step import Step
from warehouse.lake.connection import duckdb_error
from warehouse.lake.quoting import quote

if TYPE_CHECKING:
    import duckdb

#: Raises for a step whose columns break its contract, before an answer is paid for.
Check = Callable[["duckdb.DuckDBPyConnection", Step], None]

#: From this number on, answers are read in their store. A copy of fewer is cheap, and finding the codes takes 10 ms.
_MANY = 16_384


@contextmanager
def answered(runner: AnswerRunner, step: Step, cursor: duckdb.DuckDBPyConnection, check: Check) -> Iterator[Step]:
    """Give the step with SQL that DuckDB can run on ``cursor``: all calls are answered and replaced.

    Raises AnswersError if more inputs than the config's ``max_error_share`` (0.05) ended in an error, and
    LimitReachedError if a limit of the options leaves inputs without an answer.
    """
    context = runner.context
    if not calls(step, context.functions):
        yield step
        return
    rewritten = rewrite(step, context.functions, cursor, context.models(), context.schema)
    _bind(replace(step, sql=rewritten.sql, lines=()), cursor, check)
    _answer(runner, rewritten, cursor)
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
        with suppress(duckdb_error()):
            cursor.execute("commit")
        for stage in rewritten.stages:
            _drop(stage, cursor)
            for table in (stage.inputs, stage.missing):
                cursor.execute(f"drop table if exists {table}")


def _bind(step: Step, cursor: duckdb.DuckDBPyConnection, check: Check) -> None:
    """Find a wrong column or field, or a broken contract, before an answer is paid for.

    Raises SqlError, ProjectError.
    """
    try:
        cursor.execute(f"describe {step.sql}")
    except duckdb_error() as error:
        raise located(step, error) from error
    check(cursor, step)


def _answer(runner: AnswerRunner, rewritten: Rewritten, cursor: duckdb.DuckDBPyConnection) -> None:
    """Answer every input. Leaves a transaction open in which all answers are in their tables."""
    statuses = runner.context.limits.retry
    retry = Retry(statuses, runner.started) if statuses else None
    progress: dict[int, StageProgress] = {}
    try:
        while True:
            seen = runner.context.lake.snapshot()
            cursor.execute("begin transaction")
            try:
                stage, missing, inputs = _look_up(rewritten, cursor, retry)
            except BaseException:
                cursor.execute("rollback")
                raise
            for index, each in progress.items():
                if stage is None or index != stage.index:
                    each.stats.found(0)
            if stage is None:
                return
            cursor.execute("commit")
            if stage.index not in progress:
                stats = runner.stats(stage, inputs, missing)
                progress[stage.index] = StageProgress(stats, runner.callback.answering(stats))
            current = progress[stage.index]
            current.stats.found(missing)
            unanswered = store.missing(cursor, stage.inputs, stage.call.function, retry)
            runner.ask(Unanswered(stage, unanswered, seen), cursor, current)
    finally:
        for each in progress.values():
            runner.callback.answered(each.stats)


def _look_up(
    rewritten: Rewritten, cursor: duckdb.DuckDBPyConnection, retry: Retry | None
) -> tuple[Stage | None, int, int]:
    """Fill the answers' tables, stage by stage. Stops at the first stage with inputs that have no answer."""
    for stage in rewritten.stages:
        inputs, missing = count_inputs(stage, cursor, retry)
        if missing:
            return stage, missing, inputs
        fill(stage, cursor, many=inputs >= _MANY)
    return None, 0, 0


def count_inputs(stage: Stage, cursor: duckdb.DuckDBPyConnection, retry: Retry | None = None) -> tuple[int, int]:
    """Materialise a stage's distinct inputs and those without an answer. Returns the number of each."""
    function = stage.call.function
    cursor.execute(f"create or replace temp table {stage.inputs} as {stage.keys}")
    unanswered = store.missing(cursor, stage.inputs, function, retry)
    cursor.execute(f"create or replace temp table {stage.missing} as {unanswered}")
    counted = f"select (select count(*) from {stage.inputs}), (select count(*) from {stage.missing})"
    inputs, missing = cursor.execute(counted).fetchall()[0]
    return inputs, missing


def fill(stage: Stage, cursor: duckdb.DuckDBPyConnection, *, many: bool = False) -> None:
    """Give the answers to a stage's inputs as its table, one row per input: of several answers, the latest.

    ``many`` answers that are codes or lists are not a copy but a view of the store, with codes as an ENUM, in a
    transaction only: in another one there may be codes that the ENUM does not have. A copy of two million signatures
    took 1.1 GB. Few answers are found by their keys alone, then read where they are: DuckDB would read whole rows of
    the store, which for 21 of two million signatures took 3.7 s in place of 0.3.
    """
    function, name = stage.call.function, stage.answers
    _drop(stage, cursor)
    if not store.exists(cursor, function.store):
        cursor.execute(stage.create())
        return  # no input at all, so far
    answers = (
        f"from lake.{function.store}"
        f" where fingerprint = '{function.fingerprint}' and doc_id in (select key from {stage.inputs})"
    )
    # Two builds may have answered the same input at once: the store has both, the join must see one.
    long = many and (stage.coded or stage.is_list)
    if long and not _any(cursor, f"select doc_id {answers} group by 1 having count(*) > 1"):
        cursor.execute(_view_of(stage, cursor, answers))
        stage.is_view = True
        return
    found = f"select filename, file_row_number {answers}"
    cursor.execute(stage.create())
    cursor.execute(
        f"insert into {name} select doc_id, status, {stage.value} {answers}"
        f" and (filename, file_row_number) in ({found})"
        f" qualify row_number() over (partition by doc_id order by labelled_at desc) = 1"
    )


def _view_of(stage: Stage, cursor: duckdb.DuckDBPyConnection, answers: str) -> str:
    """Return the statement for a view of a store's answers. Codes become an ENUM, which is made here."""
    function, name, value = stage.call.function, stage.answers, stage.value
    if stage.coded:
        fields = [f"{quote(column)}.{quote(each)}" for column, names in stage.coded.items() for each in names]
        listed = ", ".join(f"list(distinct {each})" for each in fields)
        cursor.execute(
            f"create temp type {stage.codes} as enum"
            f" (select distinct code from (select unnest(flatten([{listed}])) as code from lake.{function.store}"
            f" where fingerprint = '{function.fingerprint}') where code is not null)"
        )
        cursor.execute(stage.reading())
        value = f"cast({value} as {stage.small_type})"
    return (
        f"create temp view {name} as select doc_id as {name}_key, status as {name}_status,"
        f" {value} as {name}_value {answers}"
    )


def _any(cursor: duckdb.DuckDBPyConnection, query: str) -> bool:
    return cursor.execute(f"select 1 from ({query}) limit 1").fetchone() is not None


def _drop(stage: Stage, cursor: duckdb.DuckDBPyConnection) -> None:
    cursor.execute(f"drop {'view' if stage.is_view else 'table'} if exists {stage.answers}")
    cursor.execute(f"drop type if exists {stage.codes}")
    stage.is_view = False


def _check_errors(step: Step, stage: Stage, cursor: duckdb.DuckDBPyConnection) -> None:
    """Fail if too many answers are errors: NULLs in their place would look like a result."""
    allowed = float(step.node.config.get("max_error_share", 0.05))
    counted = f"select count(*) filter ({stage.answers}_status = 'error'), count(*) from {stage.answers}"
    errors, total = cursor.execute(counted).fetchall()[0]
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
        hint="ask again with --retry error, or allow more: {{ config(max_error_share=…) }}; such rows are NULL",
    )
