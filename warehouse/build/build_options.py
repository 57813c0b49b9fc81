"""Options of a build: those of the project, and the limits of answering. Plain data types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from warehouse.answers.budget import NO_LIMITS, AnswerLimits, Cost
from warehouse.project.options import DBT_NAMES, Options


@dataclass(frozen=True, slots=True)
class BuildOptions(Options):
    """Options for reading and building a project, and the limits of answering."""

    limits: AnswerLimits = NO_LIMITS

    def recorded(self) -> dict[str, Any]:
        """Return the options as run_results.json has them: plain values, under dbt's names."""
        limits = asdict(self.limits)
        if self.limits.max_cost:
            limits["max_cost"] = [self.limits.max_cost.amount, self.limits.max_cost.currency]
        return Options.recorded(self) | limits

    @classmethod
    def of_record(cls, args: Mapping[str, Any]) -> BuildOptions:
        """Return the options that run_results.json names. Those that it does not name have their defaults."""
        given = {name: args.get(DBT_NAMES.get(name, name)) for name in _names(Options)}
        paths = {name: Path(str(given[name])) for name in ("state", "target_path") if given[name]}
        limits = {name: args[name] for name in _names(AnswerLimits) if args.get(name) is not None}
        if cost := limits.get("max_cost"):
            limits["max_cost"] = Cost(*cost)
        limits["retry"] = tuple(limits.get("retry", ()))
        values = {name: value for name, value in given.items() if value is not None} | paths
        return cls(**values, limits=AnswerLimits(**limits))


BUILD_DEFAULTS = BuildOptions()


def _names(values: type[Options] | type[AnswerLimits]) -> list[str]:
    return [each.name for each in fields(values)]
