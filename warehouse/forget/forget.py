"""Forget documents: remove them from the lake, its snapshots, its stores and its shards, for good.

    remove     rows go, and a line in cuvee.forgotten keeps the texts out: one commit
    rewrite    data files that had such rows are written without them
    expire     snapshots to which the old files belong are expired, and their pins released
    clean      files that no snapshot needs are removed from disk
    shards     units of the shard store that hold the documents are removed
    scrub      the catalog is rewritten, without the smallest and largest texts it remembers of columns

Each step finds out by itself what is left to do, from what is forgotten and from what is on disk. So after a crash
the same command, or any other ``cuvee forget``, finishes the work. What is outside the lake stays, and is listed:
exports hold links of their own to shards.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from udfs.errors import CuveeError, UsageError, did_you_mean
from warehouse.export.store import ShardStore
from warehouse.forget.document_references import (
    DocumentKeys,
    TextMatcher,
    find_files,
    find_rows,
    find_units,
    load_texts,
)
from warehouse.lake.catalog import FORGOTTEN, DataFile, Execute, forgotten
from warehouse.lake.commit import Staging
from warehouse.lake.lake import Lake
from warehouse.lake.quoting import literal, quote

AUTHOR = "cuvee forget"

_DOC_ID = re.compile(r"[0-9a-f]{32}")

#: Another process: as soon as Python's SQLite closes a catalog, this one loses the locks that DuckDB has on it.
_SCRUB = """
import sqlite3, sys
with sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None) as catalog:
    catalog.execute('''
        update ducklake_table_column_stats set min_value = null, max_value = null where (table_id, column_id) in (
            select table_id, column_id from ducklake_column where lower(column_type) in ('varchar', 'json', 'blob'))
    ''')
    catalog.execute("vacuum")
    sys.exit(catalog.execute("pragma wal_checkpoint(truncate)").fetchone()[0])
"""


@dataclass(frozen=True, slots=True)
class ForgetRequest:
    """The request to forget documents by id, and occurrences by URL or source."""

    doc_ids: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    @classmethod
    def of(cls, names: Sequence[str], sources: Sequence[str]) -> ForgetRequest:
        """Make a request from names: those of 32 hex digits are doc_ids, others are URLs."""
        ids = tuple(name for name in names if _DOC_ID.fullmatch(name))
        return cls(ids, tuple(name for name in names if name not in ids), tuple(sources))


@dataclass(frozen=True, slots=True)
class HoldingExport:
    """An export that holds documents, and where it was written."""

    export_id: str
    mixture: str
    path: str
    documents: int
    samples: int


@dataclass(frozen=True, slots=True)
class HoldingRun:
    """A training run that saw documents, in ``batches`` of its batches."""

    run_id: str
    recipe: str
    arm: str
    export_id: str
    batches: int


@dataclass(frozen=True, slots=True)
class ForgetPlan:
    """The effects of a request, before anything changes.

    ``kept`` documents lose occurrences and stay, for they were found elsewhere too. ``rows`` are by table. ``files``
    are the data files that hold such rows in any snapshot, and ``snapshots`` are those that go with them. ``pins`` says
    who holds which of these; ``units`` are folders of the shard store. Exports and runs are listed, not changed.
    ``unfinished`` tells whether an earlier ``forget`` was interrupted.
    """

    documents: tuple[str, ...]
    kept: int
    occurrences: int
    rows: dict[str, int]
    files: int
    snapshots: tuple[int, ...]
    pins: dict[int, str]
    units: int
    exports: tuple[HoldingExport, ...]
    runs: tuple[HoldingRun, ...]
    unfinished: bool

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.rows or self.files or self.units or self.unfinished)


def plan(lake: Lake, request: ForgetRequest) -> ForgetPlan:
    """Find out what ``forget`` would do, without a change. Raises UsageError for what the lake does not have."""
    with contextlib.closing(lake.cursor()) as cursor, lake.staging() as staging:
        cursor.execute("begin transaction")
        execute: Execute = cursor.execute
        keys, new, kept = _select(execute, request, staging)
        texts = load_texts(lake, execute, keys)
        found = find_rows(execute, keys, texts)
        held = find_files(lake, execute, keys, texts)
        folders = find_units(lake, execute, keys)
        unfinished = _mark(lake).exists()
        if not unfinished:
            _check(execute, request)
        snapshots = sorted(_snapshots(execute, held))
        return ForgetPlan(
            documents=tuple(new),
            kept=kept,
            occurrences=found.get("raw.occurrences", ("", 0))[1],
            rows={table: count for table, (_, count) in found.items()},
            files=len(held),
            snapshots=tuple(snapshots),
            pins={snapshot: holder for snapshot, holder in _pins(execute).items() if snapshot in snapshots},
            units=len(folders),
            exports=tuple(_exports(execute, keys)),
            runs=tuple(_runs(execute, keys)),
            unfinished=unfinished,
        )


def forget(lake: Lake, request: ForgetRequest, note: Callable[[str], None] = lambda line: None) -> None:
    """Forget documents: when this returns, they are gone from disk. Finishes what an earlier call left, too.

    ``note`` receives the name of each step. Raises CuveeError if a reader in another process keeps the catalog from
    being rewritten; then the same command finishes later.
    """
    _mark(lake).touch()
    with lake.staging() as staging:
        note("removing rows")
        _remove(lake, request, staging)
    with lake.staging() as staging:
        with contextlib.closing(lake.cursor()) as cursor:
            keys = _all_keys(cursor.execute, staging)
            texts = load_texts(lake, cursor.execute, keys)
        note("rewriting data files")
        _rewrite(lake, keys, texts)
        note("expiring snapshots")
        _expire(lake, keys, texts)
        note("removing files")
        _clean(lake)
        _drop_units(lake, keys, note)
    note("rewriting the catalog")
    _scrub(lake)
    _mark(lake).unlink()


def _mark(lake: Lake) -> Path:
    """Return the path of a file that is there while something is being forgotten."""
    return lake.root / "forgetting"


def _select(execute: Execute, request: ForgetRequest, staging: Staging) -> tuple[DocumentKeys, list[str], int]:
    """Write the keys of all that goes, forgotten before or now. Also returns the new documents and the number kept."""
    execute(
        """
        create or replace temp table gone_places as
        select doc_id, file_id, position from raw.occurrences
        where url in (select unnest(?)) or source in (select unnest(?)) or doc_id in (select unnest(?))
        """,
        [list(request.urls), list(request.sources), list(request.doc_ids)],
    )
    execute(
        """
        create or replace temp table gone as
        select doc_id from raw.documents where doc_id in (select unnest(?))
        union
        (select doc_id from gone_places
        except
        select doc_id from raw.occurrences anti join gone_places using (doc_id, file_id, position))
        """,
        [list(request.doc_ids)],
    )
    new = [doc_id for (doc_id,) in execute("select doc_id from gone order by doc_id").fetchall()]
    kept = execute("select count(distinct doc_id) from gone_places anti join gone using (doc_id)").fetchone()[0]
    execute(
        """
        insert into gone_places
        select distinct null, file_id, null from raw.files semi join raw.rejects using (file_id)
        where source in (select unnest(?))
        """,
        [list(request.sources)],
    )
    if forgotten(execute):
        execute(f"insert into gone select doc_id from {FORGOTTEN} where file_id is null and doc_id not in (from gone)")
        execute(f"insert into gone_places select doc_id, file_id, position from {FORGOTTEN} where file_id is not null")
    return _write_keys(execute, staging), new, kept


def _all_keys(execute: Execute, staging: Staging) -> DocumentKeys:
    """Write the keys of all that was ever forgotten."""
    execute(f"create or replace temp table gone as select doc_id from {FORGOTTEN} where file_id is null")
    execute(
        "create or replace temp table gone_places as"
        f" select doc_id, file_id, position from {FORGOTTEN} where file_id is not null"
    )
    return _write_keys(execute, staging)


def _write_keys(execute: Execute, staging: Staging) -> DocumentKeys:
    keys = DocumentKeys(staging.folder / "ids.parquet", staging.folder / "places.parquet")
    for table, path in (("gone", keys.ids), ("gone_places", keys.occurrences)):
        execute(f"copy (select distinct * from {table}) to {literal(path)} (format parquet)")
    return keys


def _check(execute: Execute, request: ForgetRequest) -> None:
    """Raise UsageError for what the lake does not have, and has not forgotten."""
    before = forgotten(execute) or "select null"
    for doc_id in request.doc_ids:
        if not execute(f"select 1 from raw.documents where doc_id = $1 or $1 in ({before})", [doc_id]).fetchall():
            raise UsageError(f"no document {doc_id} in the lake")
    for url in request.urls:
        if not execute("select 1 from raw.occurrences where url = ?", [url]).fetchall():
            hint = "URLs are compared letter by letter; a doc_id has 32 hex digits"
            raise UsageError(f"no document in the lake has the URL {url!r}", hint=hint)
    if not request.sources:
        return
    known = [name for (name,) in execute("select distinct source from raw.occurrences").fetchall()]
    for source in request.sources:
        if source not in known:
            raise UsageError(f"no documents of the source {source!r}", hint=did_you_mean(source, known))


def _remove(lake: Lake, request: ForgetRequest, staging: Staging) -> None:
    """Delete rows and record what is forgotten, in one commit that holds the lock all the time.

    No other process can add an answer, or the text again, between the search and the deletion.
    """
    with lake.commit("forget documents", author=AUTHOR) as commit:
        execute: Execute = commit.sql
        execute(
            f"create table if not exists {FORGOTTEN}"
            " (doc_id varchar, file_id varchar, position bigint, forgotten_at timestamptz not null)"
        )
        keys, _, _ = _select(execute, request, staging)
        for table, (condition, _) in find_rows(execute, keys, load_texts(lake, execute, keys)).items():
            schema, name = table.split(".", 1)
            execute(f"delete from lake.{quote(schema)}.{quote(name)} where {condition}")
        fresh = "select doc_id, file_id, position, now() from {table} as g where not exists (select 1 from {known})"
        known = f"{FORGOTTEN} as f where f.doc_id is not distinct from g.doc_id"
        same = " and f.file_id is not distinct from g.file_id and f.position is not distinct from g.position"
        execute(
            f"insert into {FORGOTTEN} "
            + fresh.format(
                table="(select doc_id, null::varchar as file_id, null::bigint as position from gone)",
                known=f"{known} and f.file_id is null",
            )
        )
        execute(f"insert into {FORGOTTEN} " + fresh.format(table="gone_places", known=known + same))


def _rewrite(lake: Lake, keys: DocumentKeys, texts: TextMatcher) -> None:
    """Rewrite current data files that hold something, without the rows that were deleted."""
    with lake.commit("rewrite files without forgotten documents", author=AUTHOR) as commit:
        live = {held.table for held in find_files(lake, commit.sql, keys, texts) if held.end is None}
        for table in sorted(live):
            schema, name = table.split(".", 1)
            commit.sql(
                "call ducklake_rewrite_data_files('lake', ?, schema => ?, delete_threshold => 0)", [name, schema]
            ).fetchall()


def _expire(lake: Lake, keys: DocumentKeys, texts: TextMatcher) -> None:
    """Expire the snapshots that need files which hold something; release their pins."""
    with lake.commit("expire snapshots with forgotten documents", author=AUTHOR) as commit:
        held = find_files(lake, commit.sql, keys, texts)
        if live := [each for each in held if each.end is None]:
            raise CuveeError(
                f"{live[0].table} still holds what was forgotten ({len(live)} files)",
                hint="something wrote it again meanwhile: stop it, and run cuvee forget once more",
            )
        if gone := sorted(_snapshots(commit.sql, held)):
            commit.sql("delete from cuvee.pins where snapshot_id in (select unnest(?))", [gone])
            commit.sql(f"call ducklake_expire_snapshots('lake', versions => {gone})").fetchall()


def _clean(lake: Lake) -> None:
    """Remove files that no snapshot needs at once: a reader in the middle of one fails, and reads again."""
    with contextlib.closing(lake.cursor()) as cursor, lake.lock():
        for function in ("ducklake_cleanup_old_files", "ducklake_delete_orphaned_files"):
            cursor.execute(f"call {function}('lake', cleanup_all => true)").fetchall()


def _drop_units(lake: Lake, keys: DocumentKeys, note: Callable[[str], None]) -> None:
    if not (lake.root / "shards").is_dir():
        return
    held = ShardStore(lake.root / "shards").lock(lambda: note("an export is running; waiting for it"))
    with held, contextlib.closing(lake.cursor()) as cursor:
        for folder in find_units(lake, cursor.execute, keys):
            shutil.rmtree(folder)


def _scrub(lake: Lake) -> None:
    with lake.lock():
        done = subprocess.run([sys.executable, "-c", _SCRUB, str(lake.catalog)], capture_output=True, text=True)
    if done.returncode:
        raise CuveeError(
            "the rows are gone, but the catalog could not be rewritten: another process reads the lake",
            hint=done.stderr.strip().rpartition("\n")[2] or "run the same command again when no process does",
        )


def _snapshots(execute: Execute, held: Sequence[DataFile]) -> Iterator[int]:
    """Yield the snapshots that need one of the files."""
    for (snapshot,) in execute("select snapshot_id from lake.snapshots()").fetchall():
        if any(each.begin <= snapshot and (each.end is None or snapshot < each.end) for each in held):
            yield snapshot


def _pins(execute: Execute) -> dict[int, str]:
    return dict(
        execute(
            "select snapshot_id, string_agg(distinct holder, ', ' order by holder) from cuvee.pins group by 1"
        ).fetchall()
    )


def _exports(execute: Execute, keys: DocumentKeys) -> Iterator[HoldingExport]:
    for row in execute(
        f"""
        select e.export_id, max_by(e.mixture, e.exported_at), max_by(e.path, e.exported_at),
            any_value(s.documents), any_value(s.samples)
        from exports.exports as e join (
            select export_id, count(distinct doc_id) as documents, count(distinct sample_id) as samples
            from exports.samples where {keys.is_document.format(column="doc_id")} group by 1
        ) as s using (export_id) group by 1 order by 2, 1
        """
    ).fetchall():
        yield HoldingExport(*row)


def _runs(execute: Execute, keys: DocumentKeys) -> Iterator[HoldingRun]:
    for row in execute(
        f"""
        with read as (
            select run_id, recipe, arm, batch, unnest(sample_ids) as sample_id, coalesce(
                (list_filter(
                    cast(json_extract(config, '$.stages[*]') as json[]),
                    lambda stage: cast(stage ->> '$.from_batch' as bigint) <= batch
                )[-1]) ->> '$.export', export_id) as export_id
            from runs.runs join runs.batches using (run_id)
        )
        select b.run_id, b.recipe, b.arm, b.export_id, count(distinct b.batch)
        from read as b
        join (
            select distinct export_id, sample_id from exports.samples
            where {keys.is_document.format(column="doc_id")}
        ) as s on s.export_id = b.export_id and s.sample_id = b.sample_id
        group by all order by 2, 3, 1
        """
    ).fetchall():
        yield HoldingRun(*row)
