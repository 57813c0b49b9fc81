"""Find out which files the lake has already.

A file is known by its path and its content (SHA-256), and by the fields to read: other fields give other documents.
Size and time of change are compared first; only where they differ is the content read. So

    unchanged    same path, size and time: not even opened
    touched      same path and content, another time: nothing is added, the new time is noted
    changed      same path, other content: a new file next to the old one
    copy         another path, same content: nothing is added, unless another source is asked for. Only for files that
                 hold many documents: a text file is one document, and each place where it is found is an occurrence
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from udfs.errors import Location
from warehouse.ingest.formats import mds
from warehouse.ingest.inputs import Input
from warehouse.ingest.records import IngestOptions, StrictError
from warehouse.lake.lake import Lake

_QUERY = "select path, bytes, modified_ns, checksum, file_id, source, rejected, format from raw.files"


@dataclass(frozen=True, slots=True)
class FileStamp:
    """The size of a file, and when it changed."""

    bytes: int
    modified_ns: int

    @classmethod
    def of(cls, entry: Input) -> FileStamp:
        """Take the stamp of an input. Raises OSError."""
        stats = [path.stat() for path in content_files(entry)]
        return cls(sum(stat.st_size for stat in stats), max(stat.st_mtime_ns for stat in stats))


@dataclass(frozen=True, slots=True)
class _Row:
    path: str
    bytes: int
    modified_ns: int
    checksum: str
    file_id: str
    source: str
    rejected: int
    format: str


class KnownFiles:
    """The rows of raw.files that matter to one run."""

    def __init__(self, lake: Lake, inputs: Sequence[Input], options: IngestOptions) -> None:
        self._lake, self._options = lake, options
        self._paths: defaultdict[str, list[_Row]] = defaultdict(list)
        self._fresh: dict[str, _Row] = {}
        for row in self._rows(f"{_QUERY} where path in (select unnest(?))", [entry.place for entry in inputs]):
            self._paths[row.path].append(row)

    def _rows(self, query: str, values: Sequence[str]) -> list[_Row]:
        with closing(self._lake.cursor()) as cursor:
            return [_Row(*row) for row in cursor.execute(query, [list(values)]).fetchall()]

    def unchanged(self, entry: Input, stamp: FileStamp) -> bool:
        """Tell whether this very file was read before, by its path, size and time.

        Raises StrictError under --strict if records of it were rejected then.
        """
        for row in self._paths.get(entry.place, ()):
            same_reading = row.file_id == file_id(row.path, row.checksum, self._options, row.format)
            if (row.bytes, row.modified_ns) == (stamp.bytes, stamp.modified_ns) and same_reading:
                self._check(row)
                return True
        return False

    def touched(self, path: str, file: str) -> bool:
        """Tell whether the file with this id was read before, at another time of change."""
        for row in self._paths.get(path, ()):
            if row.file_id == file:
                self._check(row)
                return True
        return False

    def _check(self, row: _Row) -> None:
        if self._options.strict and row.rejected:
            raise StrictError(
                f"{row.rejected:,} of its records could not be read when it was ingested",
                where=Location(row.path),
                hint=f"select position, reason from raw.rejects where file_id = '{row.file_id}'",
            )

    def copy_of(self, checksum: str) -> str | None:
        """Return the path of a file with the same content that was read the same way; None if there is none."""
        rows = self._rows(f"{_QUERY} where checksum in (select unnest(?))", [checksum])
        rows += [self._fresh[checksum]] if checksum in self._fresh else []
        for row in rows:
            same_reading = row.file_id == file_id(row.path, row.checksum, self._options, row.format)
            if same_reading and (self._options.source is None or row.source == self._options.source):
                return row.path
        return None

    def remember(self, path: str, checksum: str, file: str, source: str, format: str) -> None:
        """Remember a file of this run, which may not be committed yet."""
        self._fresh[checksum] = _Row(
            path=path, bytes=0, modified_ns=0, checksum=checksum, file_id=file, source=source, rejected=0, format=format
        )


def content_files(entry: Input) -> list[Path]:
    """List the files whose bytes are the content of an input."""
    return mds.files(entry.path) if entry.is_mds else [entry.path]


def checksum(entry: Input) -> str:
    """Compute a file's SHA-256, as sha256sum prints it; an MDS folder's, over its files' names and checksums.

    Raises OSError.
    """
    sums = []
    for path in content_files(entry):
        with path.open("rb") as handle:
            sums.append((path.name, hashlib.file_digest(handle, "sha256").hexdigest()))
    if not entry.is_mds:
        return sums[0][1]
    return hashlib.sha256("".join(f"{digest}  {name}\n" for name, digest in sums).encode()).hexdigest()


def file_id(path: str, checksum: str, options: IngestOptions, format: str = "") -> str:
    """Compute a file's id: the first 32 hex digits of the SHA-256 of its path, its checksum and the fields to read."""
    fields = options.fields_of(format)
    parts = (path, checksum, fields) if fields else (path, checksum)
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]
