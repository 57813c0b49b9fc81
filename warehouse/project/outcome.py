"""What a build is asked, what it tells while it runs, and what it leaves: values without any machinery."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from udfs.errors import CuveeError

if TYPE_CHECKING:
    from warehouse.answers.budget import Cost
    from warehouse.answers.call_stats import Tally
    from warehouse.build.plan import Plan


#: Kinds of nodes that look at what others build.
TESTS = ("test", "unit_test")
#: Kinds of nodes for which a build has nothing to do.
NEVER_BUILT = ("source", "ephemeral", "exposure")


class BuildError(CuveeError):
    """Something could not be built, or a test failed."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a project is read and built."""

    variables: Mapping[str, Any] = field(default_factory=dict)
    target: str | None = None
    full_refresh: bool = False
    fail_fast: bool = False
    threads: int | None = None  # models and tests at once; else what profiles.yml says
    retry: tuple[str, ...] = ()  # ask again for answers with these statuses
    limit: int | None = None  # new answers of each function
    max_cost: Cost | None = None  # of all new answers together
    store_failures: bool = False  # keep the rows that break tests, unless a test says otherwise
    commit_every: int = 500  # answers
    lease_seconds: float = 60.0  # for which another build leaves inputs to one that says nothing
    selector: str | None = None  # of selectors.yml, in place of a selection
    state: Path | None = None  # the folder of an older manifest.json, to compare with
    defer: bool = False  # read what is not built here where ``state`` has it
    favor_state: bool = False  # and even what is built here
    empty: bool = False  # models read no rows
    sample: str | None = None  # models read so many rows, or those of a time
    event_time_start: str | None = None  # microbatch models build the batches from here
    event_time_end: str | None = None  # to before here
    target_path: Path | None = None  # where artifacts go; the project's target/ unless told

    def recorded(self) -> dict[str, Any]:
        """The options as run_results.json has them: plain values, under dbt's names."""
        values = {_RECORDED.get(name, name): getattr(self, name) for name in self.__dataclass_fields__}
        if self.max_cost:
            values["max_cost"] = [self.max_cost.amount, self.max_cost.currency]
        return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}

    @classmethod
    def of_record(cls, args: Mapping[str, Any]) -> Options:
        """The options that run_results.json tells of; what it does not name is as it is unless told."""
        given = {name: args.get(_RECORDED.get(name, name)) for name in cls.__dataclass_fields__}
        paths = {name: Path(str(given[name])) for name in ("state", "target_path") if given[name]}
        if cost := given["max_cost"]:
            from warehouse.answers.budget import Cost

            given["max_cost"] = Cost(*cost)
        given["retry"] = tuple(given["retry"] or ())
        return cls(**{name: value for name, value in given.items() if value is not None} | paths)


#: dbt's own names of options that are called otherwise here.
_RECORDED = {"variables": "vars"}
DEFAULTS = Options()


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one node."""

    node: str
    name: str
    kind: str
    status: str  # built | unchanged | pass | warn | fail | error | limited | skipped
    relation: str | None = None
    rows: int | None = None
    seconds: float = 0.0
    message: str = ""
    ended: float = 0.0  # seconds since 1970

    @property
    def failed(self) -> bool:
        return self.status in ("fail", "error", "limited")


class Watcher:
    """Is told how a build goes; does nothing by itself."""

    def started(self, plan: Plan) -> None:
        """The plan is made."""

    def finished(self, result: Result) -> None:
        """A node is done."""

    def answering(self, tally: Tally) -> Callable[[Tally], None]:
        """An expensive function is about to answer; returns what is told of its figures at each batch of answers."""
        return lambda tally: None

    def answered(self, tally: Tally) -> None:
        """It has answered, or stopped."""

    def say(self, line: str) -> None:
        """Something worth knowing."""
