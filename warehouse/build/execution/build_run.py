"""One run through a plan: all that it needs as one value, its callback, and the lock of the lake's builds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from warehouse.answers.budget import AnswerLimits
from warehouse.answers.call_stats import AnswerCallback
from warehouse.answers.calls import AnswerContext
from warehouse.build.coverage import Coverage
from warehouse.build.plan import Plan, Planned
from warehouse.graph.loaded_project import LoadedProject
from warehouse.project.results import NodeResult

if TYPE_CHECKING:
    from warehouse.lake.commit import Staging
    from warehouse.lake.lake import Lake


class BuildCallback(AnswerCallback):
    """Receives the progress events of a build. The base class ignores them."""

    def started(self, plan: Plan) -> None:
        """Receive the plan, before anything is built."""

    def finished(self, result: NodeResult) -> None:
        """Receive the result of a node that is done."""

    def covered(self, coverage: Coverage) -> None:
        """Receive how many documents the checks have seen, at the end of a build that built something."""


class BuildLock:
    """The right to build, which one process has at a time. It ends with the process.

    A build that asks an expensive function may do so for days: meanwhile others may build, and ask too.
    """

    def __init__(self, lake: Lake, say: Callable[[str], None]) -> None:
        from filelock import FileLock

        self._lock = FileLock(lake.root / "build.lock")
        self._say = say

    def __enter__(self) -> BuildLock:
        self._acquire("another build of this lake is running; waiting for it")
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    @contextmanager
    def given_up(self) -> Iterator[None]:
        """Let others build. Nothing of this build is half done then. The lock comes back unless the build is over,
        as it is after Ctrl-C.
        """
        self._lock.release()
        try:
            yield
        except Exception:
            self._acquire("another build of this lake is running; waiting for it before going on")
            raise
        self._acquire("another build of this lake is running; waiting for it before building what was answered for")

    def _acquire(self, why: str) -> None:
        from filelock import Timeout

        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            self._say(why)
            self._lock.acquire()


@dataclass(frozen=True, slots=True)
class BuildRun:
    """One run of a plan: its project, its callback and its results so far."""

    project: LoadedProject
    plan: Plan
    kinds: Sequence[str]
    limits: AnswerLimits
    callback: BuildCallback
    results: list[NodeResult]
    staging: Staging
    lock: BuildLock

    def due(self, group: Sequence[Planned]) -> list[Planned]:
        """Return the nodes of a group that are of the kinds to build."""
        return [each for each in group if not self.kinds or each.step.node.kind in self.kinds]


def answer_context(project: LoadedProject, limits: AnswerLimits) -> AnswerContext:
    """Return the context in which a project's calls are answered."""
    return AnswerContext(
        lake=project.lake,
        functions=project.functions,
        limits=limits,
        schema=project.renderer.target.schema,
        steps=project.graph.steps,
    )
