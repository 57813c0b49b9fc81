"""The settings of a microbatch model, and one batch of time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from udfs.errors import Location, ProjectError, did_you_mean
from warehouse.project.project import Node

STRATEGY = "microbatch"

#: How a batch of each size is called, by its beginning.
_NAMES = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}
_HINTS = {
    "event_time": "the column of the rows' time: event_time='seen_at'",
    "batch_size": "one of hour, day, month, year: batch_size='day'",
}


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
        """Return the SQL condition that a column's time is within the batch."""
        time = f"cast({column} as timestamp)"
        start, end = (f"timestamp '{each:%Y-%m-%d %H:%M:%S}'" for each in (self.start, self.end))
        return f"{time} >= {start} and {time} < {end}"


def is_microbatch(node: Node) -> bool:
    """Return whether a node, with its final config, is built in batches."""
    config = node.config
    return (
        node.kind == "model"
        and config.get("materialized") == "incremental"
        and config.get("incremental_strategy") == STRATEGY
    )


def check(node: Node) -> None:
    """Check the settings. Raises ProjectError, located, for missing and wrong ones."""
    where, config = Location(node.path), node.config
    for name in ("event_time", "batch_size"):
        if not config.get(name):
            raise ProjectError(f"{node.name}: microbatch needs {name}", where=where, hint=_HINTS[name])
    size = str(config["batch_size"])
    if size not in _NAMES:
        raise ProjectError(f"{node.name}: batch_size is {size!r}", where=where, hint=did_you_mean(size, _NAMES))
    if config.get("unique_key"):
        hint = "leave it out, or use merge: batches are replaced by their time"
        raise ProjectError(f"{node.name}: microbatch has no unique_key", where=where, hint=hint)
    lookback = config.get("lookback", 1)
    if not isinstance(lookback, int) or lookback < 0:
        raise ProjectError(f"{node.name}: lookback is {lookback!r}", where=where, hint="for example: lookback=1")
