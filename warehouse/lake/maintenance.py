"""Keep a lake healthy: check its files against the catalog, merge small files, expire old snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from udfs.errors import LakeError, UsageError
from warehouse.lake.catalog import data_files
from warehouse.lake.contents import wrong_bounds, wrong_contents
from warehouse.lake.lake import Lake

#: A file that no snapshot needs stays this long, because a reader in another process may be in the middle of it.
GRACE_MINUTES = 60


class PinnedSnapshotError(LakeError):
    """A snapshot that an export or a run cites was to be expired."""


@dataclass(frozen=True, slots=True)
class FileFault:
    """A data file that is not what the catalog says."""

    table: str
    path: str
    problem: str


@dataclass(frozen=True, slots=True)
class LakeCheck:
    """The result of ``check``: every file of every snapshot was opened and its rows were counted."""

    files: int
    rows: int
    faults: tuple[FileFault, ...]
    orphans: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Expiry:
    """The result of ``expire``: the snapshots that are gone, and those kept because an export or a run cites them."""

    expired: tuple[int, ...]
    pinned: dict[int, str]


@dataclass(frozen=True, slots=True)
class Compaction:
    """The result of ``compact``: numbers of files."""

    before: int
    after: int
    removed: int


def check(lake: Lake, *, contents: bool = False) -> LakeCheck:
    """Verify that every data file in the catalog exists, is readable Parquet and has the catalog's row count.

    The catalog's bounds of a table's columns must hold the bounds that it has of each file: by them files are left
    out of a search. With ``contents`` every page is read, and each text must have its doc_id.

    Also lists orphans: files under ``data/`` that no snapshot names. They are harmless (a killed process left them)
    and ``compact`` removes them.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = 0
    faults: list[FileFault] = []
    files = list(data_files(lake, lake.cursor().execute))
    for file in files:
        try:
            found = pq.ParquetFile(file.path).metadata.num_rows
        except FileNotFoundError:
            faults.append(FileFault(file.table, str(file.path), "missing"))
        except (OSError, pa.ArrowException) as error:
            faults.append(FileFault(file.table, str(file.path), f"unreadable: {error}"))
        else:
            rows += found
            if found != file.rows:
                faults.append(FileFault(file.table, str(file.path), f"{found} rows, the catalog says {file.rows}"))
            if contents and (problem := wrong_contents(file)):
                faults.append(FileFault(file.table, str(file.path), problem))
    faults += [FileFault(table, path, problem) for table, path, problem in wrong_bounds(lake)]
    known = {file.path for file in files} | set(_scheduled(lake))
    orphans = sorted(str(path) for path in lake.data.rglob("*.parquet") if path not in known)
    return LakeCheck(len(files), rows, tuple(faults), tuple(orphans))


def compact(lake: Lake, *, grace_minutes: int = GRACE_MINUTES) -> Compaction:
    """Merge small files, rewrite files that are mostly deleted, and remove files that no snapshot needs.

    Snapshots and their contents stay as they are.
    """
    before = _live_files(lake)
    with lake.commit("compact", author="cuvee lake compact") as commit:
        commit.sql("call ducklake_rewrite_data_files('lake')").fetchall()
        commit.sql("call ducklake_merge_adjacent_files('lake')").fetchall()
    removed = _clean(lake, grace_minutes)
    return Compaction(before, _live_files(lake), removed)


def expire(
    lake: Lake,
    *,
    versions: Sequence[int] = (),
    older_than_days: float | None = None,
    grace_minutes: int = GRACE_MINUTES,
) -> Expiry:
    """Forget snapshots, named or by age. The latest one always stays, and by age so does every pinned one.

    Raises PinnedSnapshotError if a snapshot in ``versions`` is cited by an export or a run, and UsageError if it does
    not exist; then nothing is expired.
    """
    known = {snapshot.snapshot_id for snapshot in lake.snapshots()}
    if unknown := sorted(set(versions) - known):
        raise UsageError(f"no snapshot {unknown[0]}", hint=f"the lake has {min(known)} to {max(known)}: cuvee lake")
    if max(known) in versions:
        raise UsageError(f"snapshot {max(known)} is the latest one: it is what the lake shows")
    with lake.commit("expire snapshots", author="cuvee lake expire") as commit:
        holders = {
            int(snapshot): str(holder)
            for snapshot, holder in commit.sql(
                "select snapshot_id, string_agg(distinct holder, ', ' order by holder) from cuvee.pins group by 1"
            ).fetchall()
        }
        if held := sorted(set(versions) & holders.keys()):
            listing = "; ".join(f"snapshot {snapshot} is held by {holders[snapshot]}" for snapshot in held)
            raise PinnedSnapshotError(f"nothing expired: {listing}")
        aged = commit.sql(
            "select snapshot_id from lake.snapshots() where snapshot_time < now() - to_seconds(? * 86400)",
            [older_than_days],
        ).fetchall()
        chosen = {*versions, *(int(row[0]) for row in aged)} - {max(known)}
        pinned = {snapshot: holders[snapshot] for snapshot in sorted(chosen & holders.keys())}
        expired = tuple(sorted(chosen - holders.keys()))
        if expired:
            commit.sql(f"call ducklake_expire_snapshots('lake', versions => {list(expired)})").fetchall()
    _clean(lake, grace_minutes)
    return Expiry(expired, pinned)


def _clean(lake: Lake, grace_minutes: int) -> int:
    """Remove files that expired or merged away, and orphans, once they are older than the grace period."""
    removed = 0
    cursor = lake.cursor()
    with lake.lock():
        for function in ("ducklake_cleanup_old_files", "ducklake_delete_orphaned_files"):
            rows = cursor.execute(
                f"call {function}('lake', older_than => (now() - to_minutes({int(grace_minutes)}))::timestamptz)"
            ).fetchall()
            removed += len(rows)
    return removed


def _live_files(lake: Lake) -> int:
    return sum(table.files for table in lake.tables())


def _scheduled(lake: Lake) -> list[Path]:
    """List the files that wait for their removal."""
    rows = (
        lake.cursor()
        .execute("select path, path_is_relative from __ducklake_metadata_lake.ducklake_files_scheduled_for_deletion")
        .fetchall()
    )
    return [lake.data / path if relative else Path(path) for path, relative in rows]
