"""Results of a build. Plain data types."""

from __future__ import annotations

from dataclasses import dataclass

#: Kinds of nodes that look at what others build.
TESTS = ("test", "unit_test")

#: Kinds of nodes for which a build has nothing to do.
NEVER_BUILT = ("source", "ephemeral", "exposure")


@dataclass(frozen=True, slots=True)
class NodeResult:
    """The outcome of one node."""

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
