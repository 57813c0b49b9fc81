"""Options for reading and building a project. Plain data types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Options:
    """Options for reading and building a project."""

    variables: Mapping[str, Any] = field(default_factory=dict)
    target: str | None = None
    full_refresh: bool = False
    fail_fast: bool = False
    threads: int | None = None  # models and tests at once; else what profiles.yml says
    store_failures: bool = False  # keep the rows that break tests, unless a test says otherwise
    selector: str | None = None  # of selectors.yml, in place of a selection
    state: Path | None = None  # the folder of an older manifest.json, to compare with
    defer: bool = False  # read what is not built here where ``state`` has it
    favor_state: bool = False  # and even what is built here
    empty: bool = False  # models read no rows
    sample: str | None = None  # models read up to this many rows, or those of a time
    event_time_start: str | None = None  # microbatch models build the batches from here
    event_time_end: str | None = None  # to before here
    strict: bool = False  # printing what is undefined is an error
    target_path: Path | None = None  # where artifacts go; by default the project's target/

    def recorded(self) -> dict[str, Any]:
        """Return the options as run_results.json has them: plain values, under dbt's names."""
        values = {DBT_NAMES.get(each.name, each.name): getattr(self, each.name) for each in fields(Options)}
        return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}


#: dbt's own names of options that are called otherwise here.
DBT_NAMES = {"variables": "vars"}

DEFAULTS = Options()


@dataclass(frozen=True, slots=True)
class Selection:
    """The nodes of a command, in dbt's syntax. ``only`` has ids, in place of ``select`` and ``exclude``."""

    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()  # kinds of nodes; all if there are none
    only: frozenset[str] | None = None


EVERYTHING = Selection()
