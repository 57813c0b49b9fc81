"""Count and estimate what a build would pay for, without answering anything."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from warehouse.answers import store
from warehouse.answers.answers import count_inputs, fill
from warehouse.answers.budget import NO_LIMITS, AnswerLimits
from warehouse.answers.calls import NotBuiltError, calls
from warehouse.answers.rewrite import rewrite
from warehouse.answers.store import Retry
from warehouse.build.execution.build_run import answer_context

if TYPE_CHECKING:
    import duckdb

    from warehouse.answers.stages import Stage
    from warehouse.build.plan import Plan, Planned
    from warehouse.graph.loaded_project import LoadedProject

#: Texts, and earlier answers, that are looked at.
_SAMPLE = 200
#: Characters of a token where no earlier answer tells: English text in a common vocabulary.
_CHARS = 4.0
#: Commits of answers that are further apart belong to different builds.
_PAUSE = "5 minutes"


@dataclass(frozen=True, slots=True)
class Estimate:
    """The work of one call in a build. All is None if the inputs of the call must be built first.

    ``tokens`` is estimated from a sample of the missing texts, ``seconds`` from the speed of earlier answers under the
    same fingerprint; None where there are none.
    """

    call: str
    inputs: int | None = None
    missing: int | None = None
    tokens: int | None = None
    seconds: float | None = None

    @property
    def reused(self) -> int | None:
        return None if self.inputs is None or self.missing is None else self.inputs - self.missing

    def words(self) -> str:
        """Return one line for people."""
        if self.missing is None:
            return f"{self.call}: counted when what it reads is built"
        about = [f"{_round(self.tokens)} tokens"] if self.tokens else []
        if self.seconds is not None:
            about.append(f"{self.seconds / 3600:.1f} h" if self.seconds > 5400 else f"{self.seconds:,.0f} s")
        price = f" (about {', '.join(about)})" if self.missing and about else ""
        return f"{self.call}: {self.missing:,} to answer{price}, {self.reused:,} answered before"

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "reused": self.reused}


def estimate(opened: LoadedProject, planned: Planned, plan: Plan, limits: AnswerLimits = NO_LIMITS) -> list[Estimate]:
    """Estimate the work of each call of one node."""
    step = planned.step
    if planned.problem is not None or step.kind in ("view", "test", "unit_test"):
        return []
    found = calls(step, opened.functions)
    if not found:
        return []
    unknown = [Estimate(title) for title in dict.fromkeys(call.title for call in found)]
    changed = {each.step.id for each in plan if each.changed}
    if opened.graph.ancestors(step.id) & changed:
        return unknown
    context = answer_context(opened, limits)
    cursor = opened.lake.cursor()
    try:
        rewritten = rewrite(step, context.functions, cursor, context.models(), context.schema)
        estimates: list[Estimate] = []
        retry = Retry(limits.retry, datetime.now(UTC)) if limits.retry else None
        for stage in rewritten.stages:
            if any(each.missing for each in estimates) and any(
                each.answers in stage.keys for each in rewritten.stages[: stage.index]
            ):
                estimates.append(Estimate(stage.call.title))
                continue
            inputs, missing = count_inputs(stage, cursor, retry)
            tokens, seconds = _price(stage, missing, cursor) if missing else (0, 0.0)
            estimates.append(Estimate(stage.call.title, inputs, missing, tokens, seconds))
            fill(stage, cursor)
        return estimates
    except NotBuiltError:
        return unknown
    finally:
        cursor.close()


def _price(stage: Stage, missing: int, cursor: duckdb.DuckDBPyConnection) -> tuple[int, float | None]:
    cursor.execute(
        f"create or replace temp table cuvee_sample as"
        f" select key from {stage.missing} order by md5(key), key limit {_SAMPLE}"
    )
    texts = stage.texts.format(missing="cuvee_sample")
    characters = _number(cursor, f"select avg(length(text)) from ({texts})") or 0.0
    per_token, speed = _CHARS, None
    function = stage.call.function
    if store.exists(cursor, function.store):
        mine = f"from lake.{function.store} where fingerprint = '{function.fingerprint}'"
        counted = (
            f"select sum(n_chars) / nullif(sum(tokens), 0) from (select doc_id, tokens {mine} and tokens > 0"
            f" order by doc_id limit {_SAMPLE}) join lake.raw.documents using (doc_id)"
        )
        per_token = _number(cursor, counted) or _CHARS
        # Answers are stamped with the time of their commit: those of one build follow each other closely.
        answered = f"""select sum(n) / nullif(sum(epoch(took)), 0) from (
                select n, labelled_at - lag(labelled_at) over (order by labelled_at) as took
                from (select labelled_at, count(*) as n {mine} group by labelled_at)
            ) where took < interval '{_PAUSE}'"""
        speed = _number(cursor, answered)
    return round(missing * characters / per_token), missing / speed if speed else None


def _number(cursor: duckdb.DuckDBPyConnection, query: str) -> float | None:
    row = cursor.execute(query).fetchone()
    return float(row[0]) if row and row[0] else None


def _round(tokens: int) -> str:
    for size, unit in ((10**9, " B"), (10**6, " M"), (10**3, " k")):
        if tokens >= size:
            return f"{tokens / size:.3g}{unit}"
    return str(tokens)
