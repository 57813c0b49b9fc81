"""Commit a unit: drop what the lake already has, then register the unit's files in one transaction.

Which texts are new is decided against a known snapshot, outside the lock. If another process has committed before the
lock is held, it is decided again; the third time while holding the lock, so that this ends. The join runs in DuckDB
on the doc_ids alone and spills to disk: no set of all doc_ids is ever in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from warehouse.answers import store
from warehouse.ingest.formats import essential_web
from warehouse.ingest.records import PASSED_OVER, required
from warehouse.ingest.unit import CommitUnit, FileEntry, open_writer
from warehouse.lake.catalog import forgotten
from warehouse.lake.commit import Commit, Staging
from warehouse.lake.lake import Lake
from warehouse.lake.parquet import rows_of
from warehouse.lake.quoting import literal

#: Memory for DuckDB's joins; more than that is spilled to the lake's staging folder.
MEMORY = "300MB"

FILES = pa.schema(
    [
        *required(pa.string(), "file_id", "path"),
        *required(pa.int64(), "bytes"),
        *required(pa.string(), "checksum", "format", "source"),
        *required(pa.int64(), "rows", "duplicates", "rejected", "modified_ns"),
        *required(pa.timestamp("us", "UTC"), "ingested_at"),
        *((name, pa.int64()) for name in PASSED_OVER),
    ]
)


class _OvertakenError(Exception):
    """Another process committed between the decision and the lock."""


def commit_unit(lake: Lake, unit: CommitUnit, message: str, author: str) -> list[FileEntry]:
    """Commit a closed unit. Return the entries of files that another process committed in the meantime."""
    parts = _Parts(lake, unit)
    for patient in (True, True, False):
        snapshot = lake.snapshot()
        parts.settle()
        with suppress(_OvertakenError), lake.commit(message, author=author) as commit:
            if lake.snapshot() != snapshot:
                if patient:
                    raise _OvertakenError
                parts.settle()
            parts.register(commit)
            break
    return parts.taken


def stage_files(staging: Staging, entries: Iterable[FileEntry]) -> Path:
    """Write the rows of raw.files for files that are ingested now."""
    path = staging.file("raw.files")
    now = datetime.now(UTC)
    rows = [_file_row(entry, now) for entry in entries]
    pq.write_table(pa.Table.from_pylist(rows, schema=FILES), path, compression="zstd")
    return path


def _file_row(entry: FileEntry, now: datetime) -> dict[str, object]:
    counts = {name: entry.passed_over[name] for name in PASSED_OVER}
    return {name: getattr(entry, name, None) for name in FILES.names} | counts | {"ingested_at": now}


@contextmanager
def bounded_memory(lake: Lake, limit: str = MEMORY) -> Iterator[duckdb.DuckDBPyConnection]:
    """Limit DuckDB's joins inside the context, which gives a cursor."""
    cursor = lake.cursor()
    cursor.execute(f"set memory_limit = '{limit}'")
    try:
        yield cursor
    finally:
        cursor.execute(f"set memory_limit = {literal(lake.memory)}")
        cursor.close()


class _Parts:
    """The staged files of a unit. ``settle`` may run again and again: it drops what has become known since."""

    def __init__(self, lake: Lake, unit: CommitUnit) -> None:
        self._lake = lake
        self._staging = unit.staging
        self._entries = {entry.file_id: entry for entry in unit.entries}
        self._documents = list(unit.documents.files)
        self._labels = list(unit.labels.files)
        self._rejects = list(unit.rejects.files)
        self._occurrences = list(unit.occurrences.files)
        self.taken: list[FileEntry] = []

    def settle(self) -> None:
        """Drop files, texts and labels that the latest snapshot has."""
        with closing(self._lake.cursor()) as cursor:
            self._drop_files(cursor)
            self._drop_forgotten(cursor)
            if self._documents:
                self._documents = self._drop_known(cursor, self._documents, "lake.raw.documents", count=True)
            if self._labels:
                known = None
                if store.exists(cursor, essential_web.STORE):
                    known = f"(from lake.{essential_web.STORE} where fingerprint = '{essential_web.FINGERPRINT}')"
                self._labels = self._drop_known(cursor, self._labels, known)

    def register(self, commit: Commit) -> None:
        """Add everything to the lake's tables."""
        if not self._entries:
            return
        commit.add("raw.documents", self._documents)
        commit.add("raw.occurrences", self._occurrences)
        commit.add("raw.rejects", self._rejects)
        if self._labels:
            store.ensure(commit, essential_web.STORE, essential_web.ANSWERS)
            commit.add(essential_web.STORE, self._labels)
        commit.add("raw.files", [stage_files(self._staging, self._entries.values())])

    def _drop_files(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Leave out files that another process has committed; their texts are known by now."""
        known = cursor.execute(
            "select file_id from lake.raw.files where file_id in (select unnest(?))", [list(self._entries)]
        ).fetchall()
        if not known:
            return
        gone = {file_id for (file_id,) in known}
        self.taken += [self._entries.pop(file_id) for file_id in gone]
        self._rejects = self._without(self._rejects, "file_id", gone)
        self._occurrences = self._without(self._occurrences, "file_id", gone)
        self._documents = self._without(self._documents, "first_file_id", gone)

    def _drop_forgotten(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Leave out what was forgotten. Of a text's records the first was a document, the others duplicates."""
        gone = forgotten(cursor.execute)
        if gone is None:
            return

        def without(path: Path, owner: str | None, sign: int = 0) -> list[Path]:
            found = cursor.execute(
                f"select file_row_number as row, {owner or 'null'} as owner"
                f" from {rows_of(path, numbers=True)} semi join ({gone}) using (doc_id)"
            ).to_arrow_table()
            for pair in found["owner"].value_counts().to_pylist() if sign else ():
                self._entries[pair["values"]].duplicates += sign * pair["counts"]
                self._entries[pair["values"]].forgotten += max(0, -sign) * pair["counts"]
                self._entries[pair["values"]].rows += min(0, sign) * pair["counts"]
            return self._without_rows(path, found)

        self._documents = [kept for path in self._documents for kept in without(path, "first_file_id", 1)]
        self._labels = [kept for path in self._labels for kept in without(path, None)]
        self._occurrences = [kept for path in self._occurrences for kept in without(path, "file_id", -1)]

    def _without(self, files: list[Path], column: str, gone: set[str]) -> list[Path]:
        kept: list[Path] = []
        for path in files:
            ids = pq.read_table(path, columns=[column], partitioning=None).column(0).to_numpy(zero_copy_only=False)
            kept += self._keep(path, ~np.isin(ids.astype(str), list(gone)))
        return kept

    def _drop_known(
        self, cursor: duckdb.DuckDBPyConnection, files: list[Path], known: str | None, *, count: bool = False
    ) -> list[Path]:
        """Remove rows whose doc_id is in ``known`` or in an earlier staged row; return the staged files."""
        owner = "first_file_id" if count else "null"
        cursor.execute(
            f"create or replace temp table staged as select filename, file_row_number as row, doc_id, {owner} as owner"
            f" from {rows_of(*files, names=True, numbers=True)}"
        )
        rows = "select filename, row, owner from staged"
        held = f"{rows} semi join {known} as known using (doc_id) union" if known else ""
        drop = cursor.execute(
            f"{held} {rows} qualify row_number() over (partition by doc_id order by filename, row) > 1"
        ).to_arrow_table()
        cursor.execute("drop table staged")
        if not drop.num_rows:
            return files
        if count:
            for pair in drop["owner"].value_counts().to_pylist():
                self._entries[pair["values"]].duplicates += pair["counts"]
        return [
            kept
            for path in files
            for kept in self._without_rows(path, drop.filter(pc.equal(drop["filename"], str(path))))
        ]

    def _without_rows(self, path: Path, drop: pa.Table) -> list[Path]:
        keep = np.ones(pq.read_metadata(path).num_rows, dtype=bool)
        keep[drop["row"].to_numpy()] = False
        return self._keep(path, keep)

    def _keep(self, path: Path, keep: NDArray[Any]) -> list[Path]:
        """Return the file with only the rows to keep: itself, a shorter copy, or none."""
        if keep.all():
            return [path]
        if not keep.any():
            return []
        target = self._staging.file(path.parent.name)
        with pq.ParquetFile(path) as file, open_writer(target, file.schema_arrow) as writer:
            start = 0
            for group in range(file.num_row_groups):
                part = keep[start : start + file.metadata.row_group(group).num_rows]
                start += len(part)
                if part.any():
                    rows = file.read_row_group(group)
                    writer.write_table(rows if part.all() else rows.filter(pa.array(part)))
        return [target]
