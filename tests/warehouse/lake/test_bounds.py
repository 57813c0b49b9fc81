"""Filters find the rows of the files, whatever values are in the files and in whatever order they come."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from warehouse.cli.main import cli
from warehouse.lake.lake import Lake
from warehouse.lake.maintenance import check, compact
from warehouse.lake.parquet import rows_of

LONG = "y" * 5000
texts = st.one_of(
    st.none(),
    st.sampled_from([LONG, LONG + "z", "", "b", "\0", "zz", "\U0010ffff", "a'b"]),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=3),
)
numbers = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))
floats = st.one_of(st.none(), st.floats(allow_nan=False))
moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))
times = st.one_of(st.none(), moments.map(lambda moment: moment.replace(tzinfo=UTC)))
rows = st.lists(st.tuples(texts, numbers, floats, times), min_size=1, max_size=6)
SCHEMA = pa.schema([("a", pa.string()), ("n", pa.int64()), ("x", pa.float64()), ("t", pa.timestamp("us", "UTC"))])


def add(lake: Lake, values: list[tuple[object, ...]], group: int) -> Path:
    """Add one file of rows, in row groups of ``group`` rows; return a copy of it."""
    kept = lake.root / f"{lake.snapshot()}.parquet"
    pq.write_table(pa.table(list(map(list, zip(*values, strict=True))), schema=SCHEMA), kept, row_group_size=group)
    with lake.staging() as staging:
        path = shutil.copy(kept, staging.file("main.t"))
        with lake.commit("add") as commit:
            commit.add("main.t", [path])
    return kept


@settings(max_examples=6, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.lists(st.tuples(rows, st.integers(1, 3)), min_size=2, max_size=4))
def test_each_filter_finds_the_rows_of_the_plain_files(
    lake: Lake, files: list[tuple[list[tuple[object, ...]], int]]
) -> None:
    with lake.commit("empty") as commit:
        commit.sql("create or replace table lake.main.t (a varchar, n bigint, x double, t timestamptz)")
    plain = rows_of(*[add(lake, values, group) for values, group in files])
    cursor = lake.cursor()
    values = [row for found, _ in files for row in found]
    for column, index in (("a", 0), ("n", 1), ("x", 2), ("t", 3)):
        for value in list({row[index] for row in values if row[index] not in (None, "\0")})[:2]:
            for sign in ("=", "<>", "<", "<=", ">", ">="):
                query = f"select count(*) from {{}} where {column} {sign} ?"
                expected = cursor.execute(query.format(plain), [value]).fetchall()
                assert cursor.execute(query.format("lake.main.t"), [value]).fetchall() == expected, (column, sign)
        extremes = f"select min({column}), max({column}), count({column}) from {{}}"
        assert (
            cursor.execute(extremes.format("lake.main.t")).fetchall()
            == cursor.execute(extremes.format(plain)).fetchall()
        )


def record(**fields: object) -> str:
    return json.dumps(fields) + "\n"


def ingest(lake: Lake, path: Path, *options: str) -> None:
    done = CliRunner().invoke(cli, ["ingest", str(path), "--lake", str(lake.root), *options])
    assert done.exit_code == 0, done.output + str(done.exception)


def test_a_long_url_in_the_first_file_is_found_after_a_second_one(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(record(text="one", url=f"http://y/{LONG}", id=LONG))
    (tmp_path / "b.jsonl").write_text(record(text="two", url="http://a/", id="b"))
    for name in ("a", "b"):
        ingest(lake, tmp_path / f"{name}.jsonl")
    cursor = lake.cursor()
    assert check(lake, contents=True).faults == ()
    for condition in ("url like 'http://y%'", "url > 'http://b'", "starts_with(url, 'http://y')", "source_id > 'c'"):
        assert cursor.sql(f"select count(*) from raw.occurrences where {condition}").fetchall() == [(1,)], condition


def test_earlier_snapshots_keep_rows_that_compaction_left_out(lake: Lake) -> None:
    with lake.commit("rows") as commit:
        commit.sql("create table lake.main.t as select i as n from range(10) as r(i)")
    before = lake.snapshot()
    with lake.commit("delete") as commit:
        commit.sql("delete from lake.main.t where n < 9")
    compact(lake)
    past = f"select count(*) from lake.main.t at (version => {before}) where n = 2"
    assert lake.cursor().sql(past).fetchall() == [(1,)]


def older(lake: Lake) -> None:
    """Make a lake as version 0.9 wrote them: no triggers, and bounds of the last file for the whole table."""
    with contextlib.closing(sqlite3.connect(lake.catalog)) as catalog, catalog:
        names = catalog.execute("select name from sqlite_master where type = 'trigger'").fetchall()
        assert names
        for (name,) in names:
            catalog.execute(f"drop trigger {name}")
        catalog.execute(
            "update ducklake_table_column_stats set extra_stats = null, min_value = 'a', max_value = 'b'"
            " where column_id in (select column_id from ducklake_column where column_name = 'doc_id')"
        )


SCRIPT = """
import sys
from pathlib import Path
from warehouse.lake.lake import Lake
from tests.warehouse.lake.test_bounds import older
older(Lake(Path(sys.argv[1])))
"""


def test_a_lake_with_wrong_bounds_is_mended_when_it_is_opened(tmp_path: Path) -> None:
    import subprocess
    import sys

    from tests.helpers import CUVEE, ROOT

    root = tmp_path / "lake"
    (tmp_path / "a.jsonl").write_text(record(text="one"))
    for command in (["init", "--lake", root], ["ingest", tmp_path / "a.jsonl", "--lake", root]):
        subprocess.run([*CUVEE, *map(str, command)], check=True, capture_output=True)
    subprocess.run([sys.executable, "-c", SCRIPT, str(root)], check=True, cwd=ROOT)
    lake = Lake.open(root)
    cursor = lake.cursor()
    ((doc_id,),) = cursor.sql("select doc_id from raw.documents").fetchall()
    assert cursor.execute("select count(*) from raw.documents where doc_id = ?", [doc_id]).fetchall() == [(1,)]


@pytest.mark.parametrize("source", ["null", "NULL", "名" * 82])
def test_any_source_is_kept(lake: Lake, tmp_path: Path, source: str) -> None:
    folder = tmp_path / source
    folder.mkdir()
    (folder / "part-00000-c000.jsonl").write_text(record(text="by its folder"))
    (folder / "000_00001.jsonl").write_text(record(text="by its folder, too"))
    ingest(lake, folder)
    (tmp_path / "x.jsonl").write_text(record(text="by the option"))
    ingest(lake, tmp_path / "x.jsonl", "--source", source)
    found = lake.cursor().sql("select source, count(*) from raw.occurrences group by 1").fetchall()
    assert found == [(source, 3)]


def test_a_lake_of_an_earlier_version_is_written_to(tmp_path: Path) -> None:
    """Occurrences were partitioned by source, and files had no counts of what is passed over."""
    (tmp_path / "a.jsonl").write_text(record(text="one"))
    (tmp_path / "b.jsonl").write_text(record(text="two") + record(text="three", source="null"))
    before = Lake.create(tmp_path / "lake")
    with before.commit("as the last version made it") as commit:
        for name in ("not_pages", "other_status", "not_html", "empty"):
            commit.sql(f"alter table lake.raw.files drop column {name}")
    with before.commit("as the last version made it") as commit:
        commit.sql("alter table lake.raw.occurrences set partitioned by (source)")
        commit.sql(
            "insert into lake.raw.documents select left(sha256('old'), 32), 'old', 3, 'f';"
            "insert into lake.raw.occurrences (doc_id, file_id, source, position)"
            " select left(sha256('old'), 32), 'f', 'kitchen', 1"
        )
    lake = Lake.open(tmp_path / "lake")
    ingest(lake, tmp_path / "a.jsonl")
    ingest(lake, tmp_path / "b.jsonl")
    found = lake.cursor().sql("select source, text from raw.occurrences join raw.documents using (doc_id) order by 2")
    assert found.fetchall() == [("kitchen", "old"), ("a", "one"), ("null", "three"), ("b", "two")]


def test_hive_folders_are_fields_of_the_records(lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "corpus" / "lang=en" / "day=2024-01-01"
    folder.mkdir(parents=True)
    (folder / "part-0.jsonl").write_text(record(text="one") + record(text="two", lang="de"))
    pq.write_table(pa.table({"text": ["three"]}), folder / "part-1.parquet")
    ingest(lake, tmp_path / "corpus")
    found = (
        lake.cursor()
        .sql(
            "select source, metadata ->> 'lang', metadata ->> 'day'"
            " from raw.occurrences join raw.documents using (doc_id) order by text"
        )
        .fetchall()
    )
    day = "2024-01-01"
    assert found == [("corpus", "en", day), ("corpus", "en", day), ("corpus", "de", day)]


def test_many_sources_are_one_file(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("".join(record(text=f"text {i}", source=f"s{i}") for i in range(500)))
    ingest(lake, tmp_path / "x.jsonl")
    assert {table.name: table.files for table in lake.tables()}["raw.occurrences"] == 1
    counts = lake.cursor().sql("select count(*), count(distinct source) from raw.occurrences").fetchall()
    assert counts == [(500, 500)]


def test_check_finds_narrow_bounds_and_a_changed_text(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(record(text="one"))
    ingest(lake, tmp_path / "a.jsonl")
    (file,) = (lake.data / "raw" / "documents").glob("*.parquet")
    table = pq.ParquetFile(file).read()
    pq.write_table(table.set_column(1, "text", pa.array(["two"])), file)
    assert check(lake).faults == ()
    assert "is another one" in check(lake, contents=True).faults[0].problem
    cursor = lake.cursor()
    cursor.execute(
        "update __ducklake_metadata_lake.ducklake_table_column_stats set min_value = '~' where min_value is not null"
        " and column_id = (select min(column_id) from __ducklake_metadata_lake.ducklake_column"
        " where column_name = 'first_file_id') and table_id = (select min(table_id)"
        " from __ducklake_metadata_lake.ducklake_table where table_name = 'documents')"
    )
    assert "first_file_id for the table leave out" in check(lake).faults[0].problem
