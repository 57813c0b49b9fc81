"""Microbatch models: a table in batches of time, of which a build replaces the last ones as a unit each.

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
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from udfs.errors import CuveeError, Location, UsageError, did_you_mean
from warehouse.graph.parsing import parse
from warehouse.lake.quoting import quote
from warehouse.project.project import Node

if TYPE_CHECKING:
    from warehouse.build.materialize.tables import Change
    from warehouse.graph.graph import Step
    from warehouse.project.outcome import Options

STRATEGY = "microbatch"
_SIZES = ("hour", "day", "month", "year")
#: How a batch of each size is called, by its beginning.
_NAMES = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}


class MicrobatchError(CuveeError):
    """A microbatch model cannot be built in batches."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The time from ``start`` to before ``end``, in UTC."""

    start: datetime
    end: datetime
    size: str

    @property
    def name(self) -> str:
        return self.start.strftime(_NAMES[self.size])

    @property
    def id(self) -> str:
        """What ``model.batch.id`` is in templates."""
        return self.name.replace("-", "")

    def holds(self, column: str) -> str:
        """The condition that a column's time is within the batch."""
        time = f"cast({column} as timestamp)"
        start, end = (f"timestamp '{each:%Y-%m-%d %H:%M:%S}'" for each in (self.start, self.end))
        return f"{time} >= {start} and {time} < {end}"


def is_microbatch(node: Node) -> bool:
    """Whether a node, with its final config, is built in batches."""
    config = node.config
    return (
        node.kind == "model"
        and config.get("materialized") == "incremental"
        and config.get("incremental_strategy") == STRATEGY
    )


def check(node: Node) -> None:
    """Raises MicrobatchError, located, for settings that are missing or cannot be."""
    where, config = Location(node.path), node.config
    for name in ("event_time", "batch_size"):
        if not config.get(name):
            raise MicrobatchError(f"{node.name}: microbatch needs {name}", where=where, hint=_HINTS[name])
    size = str(config["batch_size"])
    if size not in _SIZES:
        raise MicrobatchError(f"{node.name}: batch_size is {size!r}", where=where, hint=did_you_mean(size, _SIZES))
    if config.get("unique_key"):
        hint = "leave it out, or use merge: batches are replaced by their time"
        raise MicrobatchError(f"{node.name}: microbatch has no unique_key", where=where, hint=hint)
    lookback = config.get("lookback", 1)
    if not isinstance(lookback, int) or lookback < 0:
        raise MicrobatchError(f"{node.name}: lookback is {lookback!r}", where=where, hint="so many batches: lookback=1")


_HINTS = {
    "event_time": "the column of the rows' time: event_time='seen_at'",
    "batch_size": "one of hour, day, month, year: batch_size='day'",
}


def times(options: Options) -> tuple[datetime, datetime] | None:
    """The times between which the options ask for batches. Raises UsageError if they cannot be."""
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


def batches(node: Node, now: datetime, between: tuple[datetime, datetime] | None, *, anew: bool) -> list[Batch]:
    """The batches to build, oldest first; ``anew`` if the table is built from nothing. Raises MicrobatchError."""
    size, config = str(node.config["batch_size"]), node.config
    end = between[1] if between else now
    end = end if end == _floor(end, size) else _moved(end, size, 1)
    if between:
        start = _floor(between[0], size)
    elif anew:
        if not config.get("begin"):
            hint = "the time of the first batch: begin='2024-01-01'"
            raise MicrobatchError(f"{node.name}: microbatch needs begin", where=Location(node.path), hint=hint)
        start = _floor(_utc(config["begin"]), size)
    else:
        start = _moved(end, size, -1 - int(config.get("lookback", 1)))
    found = [Batch(start, _moved(start, size, 1), size)]
    while found[-1].end < end:
        found.append(Batch(found[-1].end, _moved(found[-1].end, size, 1), size))
    found[-1] = replace(found[-1], end=end)
    return found


def until(node: Node, now: datetime, between: tuple[datetime, datetime] | None) -> str:
    """What tells one build's batches from another's: its options, or the end of the last batch."""
    if between:
        return f"{between[0]:%Y-%m-%dT%H:%M:%S}/{between[1]:%Y-%m-%dT%H:%M:%S}"
    return f"{batches(node, now, None, anew=False)[-1].end:%Y-%m-%dT%H:%M:%S}"


def steps(step: Step, found: Sequence[Batch], rendered: Callable[[Batch], Step], *, anew: bool) -> list[Step]:
    """What computes each batch's rows; ``rendered`` gives the step as the template of the batch has it.

    Raises MicrobatchError if a template reads what other batches have yet to build.
    """
    pieces: list[Step] = []
    column = quote(str(step.node.config["event_time"]))
    for index, batch in enumerate(found):
        made = rendered(batch)
        assert made.rendered is not None
        if len(found) > 1 and "this" in made.rendered.touched:
            raise MicrobatchError(
                f"{step.name} reads {{{{ this }}}}, but its {len(found)} batches are built at once",
                where=Location(step.node.path),
                hint="read the inputs: ref() and source() give the rows of the batch",
            )
        later = replace(batch, start=batch.end, end=found[-1].end)
        condition = batch.holds(column)
        if anew and not index:  # what has another time, or none, stays: as in dbt the first batch makes the table
            condition = f"not coalesce({later.holds(column)}, false)"
        sql = f"select * from (\n{made.sql}\n) where {condition}"
        whole = replace(made, sql=sql, lines=(0, *made.lines, 0))
        pieces.append(replace(whole, tree=parse(whole)))
    return pieces


def together(changes: Sequence[Change], found: Sequence[Batch], step: Step, *, anew: bool) -> Change:
    """The changes of all batches as one: what was there of their time goes."""
    first = changes[0]
    files = tuple(file for change in changes if change.rows for file in change.files)
    rows = sum(change.rows or 0 for change in changes)
    if anew:
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
    """The beginning of the batch that a time is in."""
    floor = time.replace(minute=0, second=0, microsecond=0)
    if size != "hour":
        floor = floor.replace(hour=0)
    if size in ("month", "year"):
        floor = floor.replace(day=1)
    return floor.replace(month=1) if size == "year" else floor


def _moved(time: datetime, size: str, count: int) -> datetime:
    """The beginning of the batch ``count`` after (before, if negative) the one that a time is in."""
    floor = _floor(time, size)
    if size in ("hour", "day"):
        return floor + timedelta(**{f"{size}s": count})
    months = floor.year * 12 + floor.month - 1 + count * (12 if size == "year" else 1)
    return floor.replace(year=months // 12, month=months % 12 + 1)
