"""The root of every error Cuvée raises on purpose.

    CuveeError                     exit 1   a build, a test or a run failed
    └── UsageError                 exit 2   the caller asked for something that cannot be

The other rooms hang their own errors below these two, next to the code that raises them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Location:
    """Where in the user's own files an error stands. Lines and columns count from 1."""

    path: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.path, self.line, self.column) if part is not None)


class CuveeError(Exception):
    """What went wrong, where, and what to do about it."""

    exit_code = 1

    def __init__(self, message: str, *, where: Location | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        head = f"{self.where}: {self.message}" if self.where else self.message
        return f"{head}\n  {self.hint}" if self.hint else head


class UsageError(CuveeError):
    """The request itself is wrong: an unknown name, a missing folder, an impossible option."""

    exit_code = 2


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A hint that names the closest known names, or lists them when there are few; None when there are none.

    >>> did_you_mean("raw_docs", ["raw_documents", "labels"])
    'did you mean raw_documents?'
    """
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    if 0 < len(names) <= 12:
        return f"known: {', '.join(names)}"
    return None
