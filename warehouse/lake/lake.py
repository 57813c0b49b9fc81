"""The lake: DuckLake tables (Parquet under ``lake/data``, a SQLite catalog next to it) and the one way to commit.

    lake/
        catalog.sqlite     snapshots, tables, files; SQLite in WAL mode, so readers in other processes never wait
        commit.lock        held by the one process that commits
        data/              Parquet, one folder per table
        staging/           files still being written; they move into data/ at the commit that registers them
        tokenizers/        trained tokenizers

Work happens outside any lake transaction, into staged Parquet files. ``Lake.commit`` then takes the lock, begins,
registers the files and commits. No lake transaction begins before the lock is held: SQLite cannot upgrade a stale
read, so a transaction begun before another process's commit fails with "database is locked" every time.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from udfs.errors import LakeError, UsageError
from warehouse.lake.bounds import guard, is_guarded
from warehouse.lake.commit import Commit, Staging
from warehouse.lake.connection import load_extensions
from warehouse.lake.layout import update_tables
from warehouse.lake.memory import memory_limit
from warehouse.lake.quoting import literal, quote

if TYPE_CHECKING:
    import duckdb

CATALOG = "catalog.sqlite"


class LakeNotFoundError(UsageError):
    """There is no lake where one was looked for."""


@dataclass(frozen=True, slots=True)
class TableSize:
    """The size of one table in the current snapshot."""

    name: str
    rows: int
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One commit."""

    snapshot_id: int
    time: str
    author: str | None
    message: str | None


#: Catalogs that DuckDB has opened in this process. Python's own SQLite leaves them alone: as soon as it closes such a
#: file, the process loses the locks that DuckDB's copy of SQLite has on it, and another process, thinking that it is
#: alone, takes the log away ("disk I/O error").
_ATTACHED: set[Path] = set()
_OPENING = threading.Lock()


class Lake:
    """An open lake. Connections are cursors of one in-process DuckDB; every cursor sees the latest snapshot."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.catalog = self.root / CATALOG
        self.data = self.root / "data"
        self._settings = ""
        self.memory = ""  # DuckDB's limit, where nothing narrows it for a while
        self._is_current = False

    @classmethod
    def create(cls, root: Path) -> Lake:
        """Create a lake in ``root``, or open the one that is there already; nothing in it is ever replaced."""
        lake = cls(root)
        lake._refuse_lost_catalog()
        try:
            for folder in (lake.root, lake.data, lake.root / "staging", lake.root / "tokenizers"):
                folder.mkdir(parents=True, exist_ok=True)
            # WAL must be set before DuckLake's first ATTACH: with SQLite's rollback journal 30 of 40 concurrent
            # commits failed with "database is locked". The mode persists in the file.
            if not lake.is_attached:
                with contextlib.closing(sqlite3.connect(lake.catalog)) as catalog:
                    catalog.execute("pragma journal_mode = wal")
        except (OSError, sqlite3.Error) as error:
            raise LakeError(f"cannot create a lake in {root}: {error}") from error
        with lake.commit("create the lake", author="cuvee init"):
            pass
        return lake

    @classmethod
    def open(cls, root: Path | None = None) -> Lake:
        """Open the lake at ``root``, else at ``CUVEE_LAKE``, else the nearest ``lake/`` at or above the working folder.

        Raises LakeNotFoundError.
        """
        named = root or (Path(os.environ["CUVEE_LAKE"]) if os.environ.get("CUVEE_LAKE") else None)
        candidates = [named] if named else [folder / "lake" for folder in (Path.cwd(), *Path.cwd().parents)]
        for candidate in candidates:
            if (candidate / CATALOG).is_file():
                lake = cls(candidate)
                try:
                    lake._follow_move()
                except (OSError, sqlite3.Error) as error:
                    hint = f"it must be writable, even to read; a copy that is not: {lake.attach_statement}"
                    raise LakeError(f"cannot use the lake in {candidate}: {error}", hint=hint) from error
                return lake
            cls(candidate)._refuse_lost_catalog()
        where = f"in {named}" if named else f"in {Path.cwd()} or any folder above it"
        raise LakeNotFoundError(f"no lake {where}", hint="create one with: cuvee init")

    def _refuse_lost_catalog(self) -> None:
        """Raise LakeError if there are data files and no catalog: a new one would know none of them."""
        if not self.catalog.exists() and next(self.data.rglob("*.parquet"), None) is not None:
            raise LakeError(
                f"the catalog of the lake in {self.root} is lost: {CATALOG} is not there, data files are",
                hint="put a copy of it back; for a new lake, move the folder away first",
            )

    @property
    def attach_statement(self) -> str:
        """The statement with which a plain DuckDB client reads this lake, without Cuvée."""
        return f"ATTACH {literal(f'ducklake:sqlite:{self.catalog}')} AS lake (READ_ONLY)"

    @property
    def is_attached(self) -> bool:
        """Whether this process has opened the catalog in DuckDB: then it must not open it in any other way."""
        return self.catalog in _ATTACHED

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Open a connection in which the lake is attached as ``lake`` and its schemas need no prefix."""
        cursor = self._database.cursor()
        cursor.execute("use lake; set TimeZone = 'UTC'; set enable_progress_bar = false" + self._settings)
        return cursor

    def configure(self, settings: Mapping[str, Any], cursor: duckdb.DuckDBPyConnection) -> None:
        """Set DuckDB's settings on an open connection, and on all connections to come. Raises UsageError."""
        import duckdb

        self._settings = ""
        for name, value in settings.items():
            statement = f"set {quote(name)} = {literal(value)}"
            try:
                cursor.execute(statement)
            except duckdb.Error as error:
                message = " ".join(str(error).split())
                hint = "the settings of a target are DuckDB's: select name, description from duckdb_settings()"
                raise UsageError(f"profiles.yml: settings: {name}: {message}", hint=hint) from error
            self._settings += f"; {statement}"
            if name.lower() == "memory_limit":
                self.memory = str(value)

    def reader(self) -> duckdb.DuckDBPyConnection:
        """Open a separate connection that can read the lake but change nothing in it."""
        # A cursor, because in Jupyter without ipywidgets a database's first connection refuses to set the progress bar.
        connection = self._connect(read_only=True).cursor()
        connection.execute("use lake; set TimeZone = 'UTC'; set enable_progress_bar = false")
        return connection

    @cached_property
    def _committer(self) -> duckdb.DuckDBPyConnection:
        """The connection of all commits: one at a time holds the lock, and a new cursor takes 10 ms."""
        return self.cursor()

    @cached_property
    def _database(self) -> duckdb.DuckDBPyConnection:
        return self._connect(read_only=False)

    def _connect(self, *, read_only: bool) -> duckdb.DuckDBPyConnection:
        import duckdb

        self.memory = self.memory or f"{memory_limit()}B"
        database = duckdb.connect(
            config={
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "python_enable_replacements": False,  # a Python variable must never replace a missing table
                "temp_directory": str(self.root / "staging" / "spill"),
                "memory_limit": self.memory,
            }
        )
        load_extensions(database)
        with _OPENING:
            if not self.is_attached:
                try:
                    self._guard(database)
                except (sqlite3.Error, duckdb.Error) as error:
                    raise self._damaged(error) from error
            _ATTACHED.add(self.catalog)
            try:
                database.execute(self._attach(read_only=read_only))
            except duckdb.Error as error:
                raise self._damaged(error) from error
        return database

    def _damaged(self, error: Exception) -> LakeError:
        first = str(error).partition("\n")[0]
        return LakeError(f"cannot read the catalog {self.catalog}: {first}", hint="put a copy of it back")

    def _attach(self, *, read_only: bool = False) -> str:
        # Inlined rows would live in the catalog, where engines that read the Parquet files cannot see them.
        return (
            f"attach {literal(f'ducklake:sqlite:{self.catalog}')} as lake"
            f" (data_path {literal(self.data)}, data_inlining_row_limit 0{', read_only' if read_only else ''})"
        )

    def _guard(self, database: duckdb.DuckDBPyConnection) -> None:
        """Give the catalog the triggers that keep bounds true, if it has none: it is new, or older than they are."""
        if is_guarded(self.catalog):
            return
        with self.lock():
            if is_guarded(self.catalog) is None:
                database.execute(self._attach())  # DuckLake makes its tables
                database.execute("detach lake")
            guard(self.catalog)

    def _follow_move(self) -> None:
        """Tell the catalog where its data is now, if the lake was moved or copied. File paths are relative to it."""
        if self.is_attached:
            return
        here = f"{self.data}/"
        with contextlib.closing(sqlite3.connect(self.catalog)) as catalog:
            stored = catalog.execute("select value from ducklake_metadata where key = 'data_path'").fetchone()
            if stored and stored[0] != here:
                with self.lock(), catalog:
                    catalog.execute("update ducklake_metadata set value = ? where key = 'data_path'", [here])

    @contextlib.contextmanager
    def staging(self) -> Iterator[Staging]:
        """Make a private folder for files that a later commit registers. Removed at the end, whatever is left in it.

        The folder of a process that was killed is removed by the next one that stages anything.
        """
        import shutil  # with bz2 and lzma, 6 ms

        from filelock import FileLock, Timeout

        parent = self.root / "staging"
        parent.mkdir(exist_ok=True)
        folder = parent / uuid.uuid4().hex
        with FileLock(f"{folder}.lock"):
            for other in parent.glob("*.lock"):
                if other.stem != folder.name:
                    with contextlib.suppress(Timeout, OSError), FileLock(other, timeout=0):
                        shutil.rmtree(other.with_suffix(""), ignore_errors=True)
                        other.unlink(missing_ok=True)
            folder.mkdir()
            try:
                yield Staging(folder)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                Path(f"{folder}.lock").unlink(missing_ok=True)

    def _complete(self, commit: Commit, cursor: duckdb.DuckDBPyConnection, author: str, message: str) -> None:
        """Give the lake the tables that it lacks, in a transaction of their own. The lock must be held.

        DuckLake does not see in one transaction that a table is no longer partitioned, and refuses the files.
        """
        cursor.execute("begin transaction")
        try:
            if update_tables(commit):
                cursor.execute("call lake.set_commit_message(?, ?)", [author, message])
            cursor.execute("commit")
        except BaseException:
            with contextlib.suppress(Exception):
                cursor.execute("rollback")
            raise
        self._is_current = True

    @contextlib.contextmanager
    def commit(
        self, message: str, *, author: str = "cuvee", extra: Mapping[str, Any] | None = None
    ) -> Iterator[Commit]:
        """Change the lake atomically, across any number of tables; all of it happens or nothing does.

        Waits for the process that is committing now. Keep the body short: compute before, register here.
        """
        cursor = self._committer
        with self.lock():
            commit = Commit(self.data, cursor)
            if not self._is_current:
                self._complete(commit, cursor, author, message)
            cursor.execute("begin transaction")
            try:
                yield commit
                cursor.execute(
                    "call lake.set_commit_message(?, ?, extra_info => ?)", [author, message, json.dumps(extra or {})]
                )
                cursor.execute("commit")
            except BaseException:
                with contextlib.suppress(Exception):
                    cursor.execute("rollback")
                commit.undo()
                raise

    def lock(self) -> contextlib.AbstractContextManager[Any]:
        """Return the lock that every process holds while it commits."""
        from filelock import FileLock

        return FileLock(self.root / "commit.lock")

    def snapshot(self) -> int:
        """Return the id of the latest snapshot."""
        # All rows: one that is left unread keeps SQLite's log from being taken over, as long as this process lives.
        ((latest,),) = self._database.execute("select max(snapshot_id) from lake.snapshots()").fetchall()
        return int(latest)

    def snapshots(self) -> list[Snapshot]:
        """List all snapshots, oldest first."""
        rows = self._database.execute(
            "select snapshot_id, strftime(snapshot_time, '%Y-%m-%d %H:%M:%S'), author, commit_message"
            " from lake.snapshots() order by 1"
        ).fetchall()
        return [Snapshot(*row) for row in rows]

    def tables(self) -> list[TableSize]:
        """List the current tables with their sizes, by name. Rows are counted in the Parquet footers."""
        rows = self._database.execute(
            """
            select s.schema_name || '.' || t.table_name as name,
                   coalesce(sum(f.record_count), 0)::bigint - coalesce(sum(d.delete_count), 0)::bigint,
                   count(f.data_file_id),
                   coalesce(sum(f.file_size_bytes), 0)::bigint
            from __ducklake_metadata_lake.ducklake_table as t
            join __ducklake_metadata_lake.ducklake_schema as s
                on s.schema_id = t.schema_id and s.end_snapshot is null
            left join __ducklake_metadata_lake.ducklake_data_file as f
                on f.table_id = t.table_id and f.end_snapshot is null
            left join __ducklake_metadata_lake.ducklake_delete_file as d
                on d.data_file_id = f.data_file_id and d.end_snapshot is null
            where t.end_snapshot is null
            group by 1 order by 1
            """
        ).fetchall()
        return [TableSize(*row) for row in rows]
