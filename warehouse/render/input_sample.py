"""Builds on a sample of the inputs: ``--empty`` and ``--sample`` limit what ``ref`` and ``source`` read.

A number is that many rows of each input: by the md5 of ``doc_id``, so always the same ones, where the input has that
column, else the first there are. A time (``3 days``, or a start and an end) leaves the rows within it of those inputs
that have ``event_time`` in their config, and all rows of the others, as in dbt.

A node that was built so has that in its fingerprint, and so do those built from it. The next ordinary build makes them
again, an incremental model from nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from udfs import yamlfile
from udfs.errors import UsageError
from warehouse.lake.quoting import quote
from warehouse.project.options import Options
from warehouse.project.relation import Relation

_RELATIVE = re.compile(r"(\d+)\s+(hour|day|month|year)s?\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class InputSample:
    """The part of each input that is read. ``words`` is the option that asked for it."""

    words: str
    rows: int | None = None
    window: tuple[datetime, datetime] | None = None  # UTC; from, and before

    def of(self, relation: Relation, config: Mapping[str, Any], ordered: Callable[[], bool]) -> Relation:
        """Narrow ``relation`` to the sample. ``ordered``: it has a ``doc_id`` to order by."""
        if relation.is_cte:  # an ephemeral model reads parts itself
            return relation
        if self.window is not None:
            if not config.get("event_time"):
                return relation
            time = f"cast({quote(str(config['event_time']))} as timestamp)"
            start, end = (f"timestamp '{each:%Y-%m-%d %H:%M:%S.%f}'" for each in self.window)
            return replace(relation, limited=f"(select * from {relation} where {time} >= {start} and {time} < {end})")
        if not self.rows:
            return replace(relation, limited=f"(select * from {relation} where false limit 0)")
        order = " order by md5(cast(doc_id as varchar))" if ordered() else ""
        return replace(relation, limited=f"(select * from {relation}{order} limit {self.rows})")


def sample_of(options: Options, now: datetime | None = None) -> InputSample | None:
    """Return the sample that the options ask for; None for all. Raises UsageError if it is not valid."""
    if options.sample is None:
        return InputSample("--empty") if options.empty else None
    if options.empty:
        raise UsageError("--empty and --sample exclude each other", hint="--empty reads nothing at all")
    text = options.sample.strip()
    words = f"--sample {text!r}" if " " in text else f"--sample {text}"
    if text.isdigit():
        return InputSample(words, rows=int(text))
    now = now or datetime.now(UTC)
    if found := _RELATIVE.match(text):
        return InputSample(words, window=(_before(now, int(found[1]), found[2].lower()), now))
    return InputSample(words, window=_between(text))


def within(part: InputSample | None, start: datetime, end: datetime) -> InputSample:
    """Narrow a sample to a time. A sample of a number of rows stays as it is."""
    if part is not None and part.window is None:
        return part
    before = part.window if part is not None and part.window else (start, end)
    return InputSample("a batch", window=(max(start, before[0]), min(end, before[1])))


def _before(now: datetime, count: int, grain: str) -> datetime:
    if grain in ("hour", "day"):
        return now - timedelta(**{f"{grain}s": count})
    months = now.year * 12 + now.month - 1 - count * (12 if grain == "year" else 1)
    if months < 12:
        raise UsageError(f"--sample {count} {grain}s begins before the year 1")
    first = now.replace(year=months // 12, month=months % 12 + 1, day=1)
    length = (first.replace(day=28) + timedelta(days=4)).replace(day=1) - first
    return first.replace(day=min(now.day, length.days))


def _between(text: str) -> tuple[datetime, datetime]:
    try:
        given = yamlfile.parse(text, "--sample")
        return _utc(str(given["start"])), _utc(str(given["end"]))
    except (yamlfile.YamlError, KeyError, TypeError, ValueError) as error:
        hint = "a number of rows, '3 days', or '{start: 2024-07-01, end: 2024-07-08}'"
        raise UsageError(f"{text!r} is not a valid sample", hint=hint) from error


def _utc(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
