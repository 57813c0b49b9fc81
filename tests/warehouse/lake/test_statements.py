"""What a reader's statements may do: after each hostile one, by every way in, the lake is as it was."""

from __future__ import annotations

import hashlib
import re
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import cuvee
from tests.helpers import CUVEE
from udfs.errors import CuveeError, UsageError
from warehouse.cli.lake.attributes import attributes
from warehouse.cli.lake.sql import sql
from warehouse.cli.main import cli
from warehouse.cli.mixtures.tokenizer import tokenizer
from warehouse.lake.lake import Lake
from warehouse.lake.statements import REFUSED, RefusedStatementError, check, check_query, lock

CATALOG = "{root}/catalog.sqlite"
HOSTILE = [
    f"attach '{CATALOG}' as mine (type sqlite); delete from mine.ducklake_data_file",
    f"attach 'ducklake:sqlite:{CATALOG}' as mine; drop table mine.raw.documents",
    "detach lake",
    "copy (select 1) to '{data_file}'",
    "copy (select 1) to '{root}/data/new.csv'",
    "copy from database lake to memory",
    "export database '{root}/data/all'",
    "import database '{root}/data'",
    "delete from raw.documents",
    "with x as (select 1) delete from raw.documents",
    "update raw.documents set text = ''",
    "insert into raw.documents select * from raw.documents",
    "truncate raw.documents",
    "drop table raw.documents",
    "alter table raw.documents drop column text",
    "create table raw.mine as select 1",
    "create or replace table raw.documents as select 1",
    "merge into raw.documents as d using (select 1) on false when matched then delete",
    "delete from __ducklake_metadata_lake.ducklake_data_file",
    "from ducklake_cleanup_old_files('lake', cleanup_all => true)",
    "call ducklake_cleanup_old_files('lake', cleanup_all => true)",
    "from system.main.\"DuckLake_Cleanup_Old_Files\" /* so */ ('lake', cleanup_all => true)",
    "from ducklake_cleanup_old_files\u00a0('lake', cleanup_all => true)",
    "from query('from ducklake_' || 'cleanup_old_files(''lake'', cleanup_all => true)')",
    "from json_execute_serialized_sql(json_serialize_sql('select 1'))",
    "create temp macro mine() as table from ducklake_delete_orphaned_files('lake', cleanup_all => true); from mine()",
    "explain analyze from ducklake_expire_snapshots('lake', older_than => now())",
    "explain analyze copy (select 1) to '{data_file}'",
    "explain analyze (format json) delete from raw.documents",
    "from ducklake_delete_orphaned_files('lake', cleanup_all => true)",
    "from ducklake_merge_adjacent_files('lake')",
    "from ducklake_set_option('lake', 'parquet_compression', 'zstd')",
    "from ducklake_add_data_files('lake', 'documents', '{data_file}')",
    f"from sqlite_query('{CATALOG}', 'delete from ducklake_data_file')",
    f"call sqlite_attach('{CATALOG}')",
    "from enable_logging('QueryLog', storage := 'file', storage_path := '{root}/data/logs')",
    "set profiling_output = '{root}/data/profile'",
    "pragma enable_profiling = 'json'",
    "set enable_external_access = true",
    "prepare mine as delete from raw.documents; execute mine",
    "select 1; begin; drop table raw.documents; commit",
    "checkpoint lake",
    "from checkpoint('lake')",
    "vacuum",
    "install httpfs",
    "load '{root}/data/mine.duckdb_extension'",
    "create secret mine (type s3)",
    "comment on table raw.documents is 'mine'",
    "create temp table t as select 1); copy (select 1) to '{data_file}'; select (1",
]


def state(folder: Path) -> dict[str, str]:
    """Every byte in a lake. SQLite's log comes and goes with those who read; what it says is in the catalog."""
    with closing(sqlite3.connect(folder / "catalog.sqlite")) as catalog:
        dump = "\n".join(catalog.iterdump())
    found = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("catalog.sqlite-")
    }
    return {**found, "says": hashlib.sha256(dump.encode()).hexdigest()}


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake that only readers touch, with files that are scheduled for removal."""
    folder = tmp_path_factory.mktemp("read")
    lake = Lake.create(folder / "lake")
    (folder / "d.jsonl").write_text('{"text": "bread and water"}\n{"text": "wine and cheese"}\n')
    call = ["ingest", str(folder / "d.jsonl"), "--source", "s", "--lake", str(lake.root)]
    assert subprocess.run([*CUVEE, *call], capture_output=True, check=False).returncode == 0
    program = (
        "import sys; from pathlib import Path; from warehouse.lake.lake import Lake\n"
        "c = Lake(Path(sys.argv[1])).cursor()\n"
        "for each in ('create table main.gone as select 1 as doc_id', 'drop table main.gone',"
        " \"call ducklake_expire_snapshots('lake', older_than => now())\"): c.execute(each)\n"
    )
    done = subprocess.run([CUVEE[0], "-c", program, str(lake.root)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return lake


def filled(statement: str, lake: Lake) -> str:
    (data_file,) = (lake.data / "raw" / "documents").rglob("*.parquet")
    return statement.replace("{root}", str(lake.root)).replace("{data_file}", str(data_file))


def ways(lake: Lake, tmp_path: Path) -> Iterator[tuple[str, Callable[[str], object]]]:
    """All that runs a reader's statements."""
    place = ["--lake", str(lake.root)]

    def invoke(command: object, *arguments: str) -> object:
        return CliRunner().invoke(command, [*arguments, *place], catch_exceptions=False)  # type: ignore[arg-type]

    yield "sql", lambda text: invoke(sql, text)
    yield "sql --allow-files", lambda text: invoke(sql, "--allow-files", text)
    yield "sql --parquet", lambda text: invoke(sql, "--parquet", str(tmp_path / "rows.parquet"), text)
    (tmp_path / "dbt_project.yml").write_text("name: p\nversion: '1'\nprofile: p\n")
    inside = ["--project-dir", str(tmp_path)]
    yield "show", lambda text: invoke(cli, "show", *inside, "--limit", "-1", "--inline", text)
    yield "show --limit", lambda text: invoke(cli, "show", *inside, "--inline", text)
    yield "tokenizer", lambda text: invoke(tokenizer, "train", "t", "--from", text)
    yield "attributes", lambda text: invoke(attributes, "write", "t", "--from", text)
    yield "python", lambda text: cuvee.connect(lake.root, project=tmp_path, quiet=True).sql(text)


def test_no_hostile_statement_changes_a_byte(read: Lake, tmp_path: Path) -> None:
    assert len(HOSTILE) >= 30
    before = state(read.root)
    for name, way in ways(read, tmp_path):
        for statement in HOSTILE if name in ("sql", "python") else HOSTILE[::6]:
            if name == "python" and statement.startswith(("set ", "pragma ")):
                continue  # who runs Python may change settings
            with pytest.raises(CuveeError):
                way(filled(statement, read))
                pytest.fail(f"{name}: {statement}")
        assert state(read.root) == before, name


def test_no_hostile_statement_is_a_query(read: Lake) -> None:
    """What is put into another query: --from and --inline."""
    reader = read.reader()
    for statement in HOSTILE:
        with pytest.raises((CuveeError, duckdb.Error)):
            check_query(reader, filled(statement, read))
            pytest.fail(statement)


def test_the_scheduled_files_would_be_removed_by_what_is_refused(read: Lake) -> None:
    """The fixture's files are there to be lost: DuckLake's own function lists them on a connection for reading only."""
    found = read.reader().execute("from ducklake_cleanup_old_files('lake', cleanup_all => true, dry_run => true)")
    assert found.fetchall()


@pytest.mark.parametrize(
    "statement",
    [
        "select 1",
        "(select 1)",
        "from raw.documents",
        "values (1)",
        "table raw.documents",
        "with x as (select 1) select * from x",
        "explain select 1",
        "explain analyze select 1",
        "explain (format json) select 1",
        "explain (select 1)",
        "explain create temp table t as select 1",
        "use lake.raw; from documents; use lake",
        "set schema = 'raw'",
        "set variable x = (select 1); select getvariable('x')",
        "set threads = 2; reset threads; set global threads = 1",
        "set TimeZone = 'Europe/Berlin'; set time zone 'UTC'",
        "show tables",
        "describe raw.documents",
        "summarize raw.documents",
        "pivot (select 1 as a, 'q' as b) on b using sum(a)",
        "unpivot (select 1 as a, 2 as b) on a, b",
        "create temp table t as from raw.documents; insert into t from raw.documents; update t set text = '';"
        " delete from t where text = ''; alter table t add column c int; truncate t; drop table t",
        "create or replace temporary table t (a int primary key); insert or ignore into temp.t values (1);"
        " drop table if exists temp.main.t",
        "create temp view v as select 1; from v; drop view v",
        "create temp macro twice(a) as 2 * a; select twice(2)",
        "select 'copy x to y', 'ducklake_cleanup_old_files(1)', $$query(1)$$ -- query(1)",
        "select query.a from (select 1 as a) as query",
        "from ducklake_snapshots('lake')",
        "from lake.snapshots()",
        "from duckdb_settings()",
        "pragma table_info('raw.documents')",
        "from query_table('raw.documents')",
    ],
)
def test_questions_pass(read: Lake, statement: str) -> None:
    done = CliRunner().invoke(sql, [statement, "--lake", str(read.root)], catch_exceptions=False)
    assert done.exit_code == 0


def test_other_files_are_read_with_leave_only(read: Lake, tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("a\n7\n")
    with closing(sqlite3.connect(tmp_path / "x.sqlite")) as other:
        other.executescript("create table t (a integer); insert into t values (7)")
    for query in (f"from '{file}'", f"from read_csv('{file}')", f"from sqlite_scan('{tmp_path}/x.sqlite', 't')"):
        place = ["--lake", str(read.root), "--json"]
        with pytest.raises(CuveeError, match="--allow-files"):
            CliRunner().invoke(sql, [query, *place], catch_exceptions=False)
        allowed = CliRunner().invoke(sql, [query, "--allow-files", *place], catch_exceptions=False)
        assert re.sub(r"\s", "", allowed.stdout) == '[{"a":7}]'


#: Table functions that change nothing. Those of a new DuckDB belong here, or into REFUSED.
HARMLESS = r"""
    duckdb_\w+|pragma_\w+|parquet_\w+|read_\w+|test_\w+|generate_series|glob|histogram|histogram_values
    |icu_calendar_names|json_each|json_tree|pg_timezone_names|query_table|range|repeat|repeat_row|sniff_csv|summary|unnest
    |which_secret|sqlite_scan
    |ducklake_(current_snapshot|last_committed_snapshot|list_files|options|settings|snapshots|table_changes
    |table_deletions|table_info|table_insertions)
"""


def test_every_table_function_is_known(read: Lake) -> None:
    rows = read.reader().execute(
        "select distinct function_name from duckdb_functions() where function_type like 'table%'"
    )
    names = {name for (name,) in rows.fetchall()}
    assert names >= {"ducklake_cleanup_old_files", "query", "checkpoint"}
    assert not {name for name in names - REFUSED if not re.fullmatch(HARMLESS, name, re.VERBOSE)}


@st.composite
def spellings(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(sorted(REFUSED)))
    upper = draw(st.integers(0, 2 ** len(name) - 1))
    name = "".join(letter.upper() if upper >> place & 1 else letter for place, letter in enumerate(name))
    name = draw(st.sampled_from((name, f'"{name}"', f"system.main.{name}", f'system . main."{name}"')))
    blank = st.lists(st.sampled_from((" ", "\n", "\t", "/* ( */", "--(\n", "\u00a0", "\u2003", "\u3000")), max_size=3)
    before, between = ("".join(draw(blank)) for _ in range(2))
    return f"select * from{before or ' '}{name}{between}('lake')"


@settings(max_examples=100)
@given(spellings())
def test_no_spelling_of_a_function_passes(text: str) -> None:
    with closing(duckdb.connect()) as connection:
        try:
            connection.extract_statements(text)
        except duckdb.Error:
            return  # DuckDB does not understand it either
        with pytest.raises(RefusedStatementError):
            check(connection, text)


@settings(max_examples=200)
@given(st.text(alphabet=st.sampled_from("select from();'\"$-/*e\n\u00a0x1,.")))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with closing(duckdb.connect()) as connection, suppress(duckdb.Error, UsageError):
        check(connection, text)


def test_a_locked_connection_stays_locked(read: Lake) -> None:
    cursor = read.reader()
    lock(cursor, read.data)
    for statement in ("set lock_configuration = false", "set enable_external_access = true", "from '/etc/hostname'"):
        with pytest.raises(duckdb.Error):
            cursor.execute(statement)
