"""The error of MDS folders and shards."""

from __future__ import annotations

from pathlib import Path

from udfs.errors import ExportError, Location


class MDSError(ExportError):
    """An index, a shard or a sample that is not what MDS says it must be. ``sample`` counts from 0 in its shard."""

    def __init__(
        self, message: str, *, path: Path | None = None, sample: int | None = None, hint: str | None = None
    ) -> None:
        self.path = path
        self.sample = sample
        where = Location(str(path)) if path else None
        super().__init__(message if sample is None else f"sample {sample}: {message}", where=where, hint=hint)
