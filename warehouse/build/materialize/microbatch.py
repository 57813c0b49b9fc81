"""Microbatch models: a table in batches of time. A build replaces the last batches, each as a unit.

    {{ config(materialized='incremental', incremental_strategy='microbatch',
              event_time='seen_at', batch_size='day', begin='2024-01-01', lookback=1) }}

Each batch is a rendering of its own, in which ``ref`` and ``source`` give the rows of its time of those inputs that
have an ``event_time`` in their config. Which batches, and which of a batch's rows stay, is as in dbt: all since
``begin`` in a first build and with ``--full-refresh``, then the last and ``lookback`` before it, or those between
``--event-time-start`` and ``--event-time-end``. Unlike in dbt all batches of a build are one commit, so ``this`` is
the table before all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from udfs.errors import Location, ProjectError, UsageError
from warehouse.graph.parsing import parse
from warehouse.lake.quoting import quote
from warehouse.project.batches import STRATEGY, Batch
from warehouse.project.project import Node

if TYPE_CHECKING:
    from warehouse.build.materialize.tables import Change
    from warehouse.graph.step import Step
    from warehouse.project.options import Options


def times(options: Options) -> tuple[datetime, datetime] | None:
    """Return the times between which the options ask for batches. Raises UsageError if they are not valid."""
    given = (options.event_time_start, options.event_time_end)
    if given == (None, None):
        return None
    if None in given:
        raise UsageError("--event-time-start and --event-time-end go together")
    try:
        start, end = (_utc(str(text)) for text in given)
    except ValueError as error:
        raise UsageError(f"not a time: {error}", hint="--event-time-start 2024-09-01") from error
    if start >= end:
        raise UsageError("--event-time-start is not before --event-time-end")
    return start, end


def batches(node: Node, now: datetime, between: tuple[datetime, datetime] | None, *, fresh: bool) -> list[Batch]:
    """Return the batches to build, oldest first. ``fresh``: the table is built from scratch. Raises ProjectError."""
    size, config = str(node.config["batch_size"]), node.config
    end = between[1] if between else now
    end = end if end == _floor(end, size) else _moved(end, size, 1)
    if between:
        start = _floor(between[0], size)
    elif fresh:
        if not config.get("begin"):
            hint = "the time of the first batch: begin='2024-01-01'"
            raise ProjectError(f"{node.name}: microbatch needs begin", where=Location(node.path), hint=hint)
        start = _floor(_utc(config["begin"]), size)
    else:
        start = _moved(end, size, -1 - int(config.get("lookback", 1)))
    found = [Batch(start, _moved(start, size, 1), size)]
    while found[-1].end < end:
        found.append(Batch(found[-1].end, _moved(found[-1].end, size, 1), size))
    found[-1] = replace(found[-1], end=end)
    return found


def until(node: Node, now: datetime, between: tuple[datetime, datetime] | None) -> str:
    """Return a text that identifies a build's batches: its options, or the end of the last batch."""
    if between:
        return f"{between[0]:%Y-%m-%dT%H:%M:%S}/{between[1]:%Y-%m-%dT%H:%M:%S}"
    return f"{batches(node, now, None, fresh=False)[-1].end:%Y-%m-%dT%H:%M:%S}"


def steps(step: Step, found: Sequence[Batch], rendered: Callable[[Batch], Step], *, fresh: bool) -> list[Step]:
    """Return the steps that compute each batch's rows. ``rendered`` renders the step for a batch.

    Raises ProjectError if a template reads what other batches have yet to build.
    """
    pieces: list[Step] = []
    column = quote(str(step.node.config["event_time"]))
    for index, batch in enumerate(found):
        made = rendered(batch)
        assert made.rendered is not None
        if len(found) > 1 and "this" in made.rendered.touched:
            raise ProjectError(
                f"{step.name} reads {{{{ this }}}}, but its {len(found)} batches are built at once",
                where=Location(step.node.path),
                hint="read the inputs: ref() and source() give the rows of the batch",
            )
        later = replace(batch, start=batch.end, end=found[-1].end)
        condition = batch.holds(column)
        if fresh and not index:  # what has another time, or none, stays: as in dbt the first batch makes the table
            condition = f"not coalesce({later.holds(column)}, false)"
        sql = f"select * from (\n{made.sql}\n) where {condition}"
        whole = replace(made, sql=sql, lines=(0, *made.lines, 0))
        pieces.append(replace(whole, tree=parse(whole)))
    return pieces


def together(changes: Sequence[Change], found: Sequence[Batch], step: Step, *, fresh: bool) -> Change:
    """Return the changes of all batches as one. It replaces the rows of their time."""
    first = changes[0]
    files = tuple(file for change in changes if change.rows for file in change.files)
    rows = sum(change.rows or 0 for change in changes)
    if fresh:
        return replace(first, files=files, rows=rows)
    whole = replace(found[0], end=found[-1].end)
    remove = whole.holds(f"t.{quote(str(step.node.config['event_time']))}")
    return replace(first, kind=STRATEGY, files=files, rows=rows, remove=remove)


def _utc(value: object) -> datetime:
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _floor(time: datetime, size: str) -> datetime:
    """Return the beginning of the batch that contains a time."""
    floor = time.replace(minute=0, second=0, microsecond=0)
    if size != "hour":
        floor = floor.replace(hour=0)
    if size in ("month", "year"):
        floor = floor.replace(day=1)
    return floor.replace(month=1) if size == "year" else floor


def _moved(time: datetime, size: str, count: int) -> datetime:
    """Return the beginning of the batch ``count`` after (before, if negative) the one that contains a time."""
    floor = _floor(time, size)
    if size in ("hour", "day"):
        return floor + timedelta(**{f"{size}s": count})
    months = floor.year * 12 + floor.month - 1 + count * (12 if size == "year" else 1)
    return floor.replace(year=months // 12, month=months % 12 + 1)
