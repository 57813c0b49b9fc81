"""Tests of a project: each is a query for the rows that break it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from udfs.errors import CuveeError
from warehouse.graph import Step, located

if TYPE_CHECKING:
    import duckdb

_CONDITION = re.compile(r"\s*(=|==|!=|<>|<=?|>=?)\s*(\d+)\s*\Z")


class CheckError(CuveeError):
    """A test's settings cannot be."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a test found. ``query`` shows the rows that break it; ``message`` says it in words."""

    status: str  # pass | warn | fail
    failures: int
    query: str
    message: str = ""


def run(cursor: duckdb.DuckDBPyConnection, step: Step) -> Verdict:
    """Run one test. Raises SqlError if its query fails, CheckError if its settings make no sense."""
    import duckdb

    config = step.node.config
    severity = str(config.get("severity", "error")).lower()
    if severity not in ("error", "warn"):
        raise CheckError(f"test {step.name}: severity is error or warn, not {severity!r}", where=step.node.where)
    error_if, warn_if = (_condition(step, str(config.get(name, "!= 0"))) for name in ("error_if", "warn_if"))
    limit = f" limit {int(config['limit'])}" if config.get("limit") else ""
    counted = str(config.get("fail_calc", "count(*)"))
    query = f"select * from ({step.sql}\n) as failing{limit}"
    try:
        row = cursor.execute(f"select coalesce({counted}, 0) from ({query}) as failing").fetchone()
    except duckdb.Error as error:
        raise located(step, error) from error
    failures = int(row[0]) if row else 0
    status = "pass"
    if severity == "error" and error_if(failures):
        status = "fail"
    elif warn_if(failures):
        status = "warn"
    message = ""
    if status != "pass":
        rows = "1 row" if failures == 1 else f"{failures:,} rows"
        message = f"{rows} break it; see them with:\n{step.sql}"
    return Verdict(status, failures, step.sql, message)


def _condition(step: Step, text: str):  # type: ignore[no-untyped-def]
    found = _CONDITION.match(text)
    if found is None:
        raise CheckError(f"test {step.name}: {text!r} is no condition", where=step.node.where, hint="for example: >10")
    bound = int(found[2])
    return {
        "=": bound.__eq__,
        "==": bound.__eq__,
        "!=": bound.__ne__,
        "<>": bound.__ne__,
        "<": bound.__gt__,
        "<=": bound.__ge__,
        ">": bound.__lt__,
        ">=": bound.__le__,
    }[found[1]]
