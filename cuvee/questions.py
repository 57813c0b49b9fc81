"""Expensive functions outside of a build: in a query, whose calls are answered first, and over a list of texts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from cuvee.progress import BuildProgress
from udfs.errors import AnswersError, UsageError
from udfs.expensive import INPUT_SCHEMA, BoundFunction, ExpensiveFunction, answer_schema
from warehouse.answers.answer_runner import AnswerRunner
from warehouse.answers.answers import answered
from warehouse.answers.budget import NO_LIMITS
from warehouse.answers.calls import AnswerContext, CallError, calls
from warehouse.graph.parsing import SqlError, located, parse
from warehouse.graph.step import Step
from warehouse.project.project import Node

if TYPE_CHECKING:
    from warehouse.answers.call_stats import CallStats
    from warehouse.cli.output import Output
    from warehouse.lake.lake import Lake

#: What errors call the query.
_NAME = "query"
#: Texts per batch that a labeler receives.
_BATCH = 512


class Engines:
    """What stays loaded from one call to the next, until ``close``: a labeler's model takes seconds to load.

    One labeler of queries, and one of ``label``.
    """

    def __init__(self) -> None:
        self._runner: AnswerRunner | None = None
        self._labeler: BoundFunction | None = None

    def runner(self, context: AnswerContext, callback: BuildProgress) -> AnswerRunner:
        """Return what runs the functions of queries. It keeps the engine of the last one."""
        if self._runner is None:
            self._runner = AnswerRunner(context, callback)
        self._runner.context, self._runner.callback = context, callback
        return self._runner

    def labeler(self, bound: BoundFunction) -> BoundFunction:
        """Return the labeler that is loaded if it is the same one, else ``bound``."""
        last = self._labeler
        if last is not None and last.fingerprint != bound.fingerprint:
            last.close()
            last = None
        self._labeler = last or bound
        return self._labeler

    def close(self) -> None:
        """End what is loaded."""
        runner, self._runner = self._runner, None
        labeler, self._labeler = self._labeler, None
        for each in (runner, labeler):
            if each is not None:
                each.close()


@dataclass(frozen=True, slots=True)
class Asking:
    """What answers the calls of a query: ``cursor`` runs it, and ``limit`` bounds the new answers of a function."""

    engines: Engines
    lake: Lake
    functions: Mapping[str, ExpensiveFunction]
    cursor: duckdb.DuckDBPyConnection
    out: Output
    limit: int


def answer(asking: Asking, query: str) -> pa.Table | None:
    """Answer the calls in a query and run it; None if it has none. The answers are kept in the lake.

    Raises UsageError if a function lacks more answers than the limit: then nothing is asked.
    """
    step = _step(query)
    if step.tree is None:
        raise UsageError(
            "the query calls a function that is answered first, in a way that only DuckDB understands",
            hint="call it in a plain SELECT, in a WITH",
        )
    if not calls(step, asking.functions):
        return None
    context = AnswerContext(asking.lake, asking.functions, NO_LIMITS, "main", {})
    runner = asking.engines.runner(context, _Limited(asking))
    try:
        with answered(runner, step, asking.cursor, lambda cursor, checked: None) as ready:
            try:
                return asking.cursor.sql(ready.sql).to_arrow_table()
            except duckdb.Error as error:
                raise located(step, error) from None
    except (UsageError, CallError, SqlError):
        raise
    except BaseException:  # an engine may be broken, or half way through
        asking.engines.close()
        raise


def _step(query: str) -> Step:
    node = Node(_NAME, "model", _NAME, "", _NAME, (), text=query)
    step = Step(_NAME, node, sql=query, lines=tuple(range(1, query.count("\n") + 2)))
    return replace(step, tree=parse(step))


class _Limited(BuildProgress):
    """Refuses to begin what is more than the limit."""

    def __init__(self, asking: Asking) -> None:
        super().__init__(asking.out)
        self._limit = asking.limit

    def answering(self, stats: CallStats) -> Callable[[CallStats], None]:
        if stats.missing > self._limit:
            raise UsageError(
                f"{stats.title} lacks answers for {stats.missing:,} texts, which is over limit={self._limit:,}",
                hint="narrow the query by a WHERE, give sql(…, limit=…), or call it in a model: cuvee build",
            )
        return super().answering(stats)


def label(
    function: ExpensiveFunction, texts: str | Iterable[str | None], labeler: str | None, engines: Engines, out: Output
) -> pa.Table:
    """Label texts without the lake. Returns a row per text, in their order; equal texts are labelled once."""
    try:
        column = pa.array([texts] if isinstance(texts, str) else list(texts), pa.string(), from_pandas=True)
    except (pa.ArrowException, TypeError) as error:
        raise UsageError(f"label takes texts: {error}", hint="for example a list, or a column of a frame") from error
    bound = engines.labeler(function.bind(() if labeler is None else (labeler,)))
    keys = [None if text is None else hashlib.sha256(text.encode()).hexdigest()[:32] for text in column.to_pylist()]
    distinct = pa.table({"key": pa.array(keys, pa.string()), "text": column}).drop_null()
    distinct = distinct.group_by("key", use_threads=False).aggregate([("text", "first")])
    distinct = distinct.rename_columns(["key", "text"]).cast(INPUT_SCHEMA)
    batches = []
    try:
        with out.progress("label", distinct.num_rows, "texts") as progress:
            for batch in bound.answers(iter(distinct.to_batches(_BATCH))):
                batches.append(batch)
                progress.advance(batch.num_rows)
    except BaseException:
        engines.close()
        raise
    return _in_order(pa.Table.from_batches(batches, answer_schema(bound)), keys, bound).add_column(0, "text", column)


def _in_order(answers: pa.Table, keys: Sequence[str | None], function: BoundFunction) -> pa.Table:
    """Return the answers to keys, NULL where a key is None. Raises AnswersError if there is none to a key."""
    place = {key: index for index, key in enumerate(answers["key"].to_pylist())}
    if missing := {key for key in keys if key is not None} - place.keys():
        raise AnswersError(f"{function.labeler} gave no answer for {len(missing):,} texts", hint="label them again")
    rows = answers.take(pa.array([None if key is None else place[key] for key in keys], pa.int64()))
    return pa.table({name: rows[name] for name in (*function.columns.names, "status", "raw")})  # all may be NULL
