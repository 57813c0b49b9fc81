"""Parquet, Essential-Web, MDS, web archives, text files, the environment; and every file of the shared test data."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.helpers import ROOT, doc_id
from tests.warehouse.ingest.helpers import assert_consistent, essential_web
from warehouse.ingest.formats.detection import detect_content
from warehouse.ingest.formats.environment import package_files
from warehouse.ingest.formats.essential_web import FINGERPRINT
from warehouse.ingest.inputs import environment_inputs
from warehouse.ingest.records import IngestOptions
from warehouse.ingest.run import ingest


def test_parquet_columns_become_metadata(lake, read, ask, tmp_path):
    table = pa.table(
        {
            "id": pa.array([7, 8, 9]),
            "text": pa.array(["ä\x00b", None, ""], pa.large_string()),
            "date": pa.array([0, 1, 2], pa.timestamp("ms")),
            "metadata": [{"url": "u", "n": 1}, None, None],
            "score": [1.5, float("nan"), float("inf")],
            "raw": [b"\xff", b"", None],
        }
    )
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=2)
    read(tmp_path / "x.parquet")
    rows = ask(
        "select text, source_id, url, published_at::varchar, metadata::varchar, position from raw.occurrences"
        " join raw.documents using (doc_id)"
    )
    assert [(*row[:4], json.loads(row[4]), row[5]) for row in rows] == [
        ("ä\x00b", "7", "u", "1970-01-01 00:00:00+00", {"n": 1, "score": 1.5, "raw": "\\xFF"}, 1)
    ]
    assert ask("select position, reason from raw.rejects order by 1") == [(2, "text is null"), (3, "text is empty")]
    assert_consistent(lake)


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.binary(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_any_text_type_gives_the_same_documents(read, ask, tmp_path, kind):
    texts = ["a", "ü" * 1000, "a", "b\r\n"]
    array = pa.array(texts).dictionary_encode() if pa.types.is_dictionary(kind) else pa.array(texts).cast(kind)
    pq.write_table(pa.table({"text": array, "float": pa.array(np.ones(4, np.float16))}), tmp_path / "x.parquet")
    report = read(tmp_path / "x.parquet")
    assert (report.rows, report.documents) == (4, 3)
    assert {row[0] for row in ask("select doc_id from raw.documents")} == {doc_id(text) for text in texts}
    assert ask("select distinct metadata::varchar from raw.occurrences") == [('{"float":1.0}',)]


def test_bad_utf8_in_parquet_rejects_the_row_only_where_it_is_the_text(lake, read, ask, tmp_path):
    def strings(values: list[bytes]) -> pa.Array:
        return pa.Array.from_buffers(pa.string(), len(values), pa.array(values, pa.binary()).buffers())

    table = pa.table({"text": strings([b"a", b"\xff", b"c"]), "other": strings([b"x", b"y", b"\xfe"])})
    pq.write_table(table, tmp_path / "x.parquet")
    report = read(tmp_path / "x.parquet")
    assert ask("select text, metadata::varchar from raw.documents join raw.occurrences using (doc_id) order by 1") == [
        ("a", '{"other":"x"}'),
        ("c", '{"other":"\\\\xfe"}'),
    ]
    assert ask("select position, raw from raw.rejects") == [(2, b"\xff")]
    assert report.notes == {"column 'other' is not UTF-8: its bytes became escapes": 1}
    assert_consistent(lake)


def test_a_broken_row_group_is_skipped(lake, read, ask, tmp_path):
    table = pa.table({"text": [f"{n} {'x' * 50}" for n in range(3000)]})
    path = tmp_path / "x.parquet"
    pq.write_table(table, path, row_group_size=1000, compression="zstd", use_dictionary=False)
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    content = bytearray(path.read_bytes())
    middle = column.data_page_offset + column.total_compressed_size // 2
    content[middle : middle + 200] = b"\0" * 200
    path.write_bytes(content)
    report = read(path)
    assert report.rows == 2000
    assert ask("select min(position), max(position), count(distinct position) from raw.rejects") == [(1001, 2000, 1000)]
    [(reason,)] = ask("select distinct reason from raw.rejects")
    assert reason.startswith("rows 1,001 to 2,000: unreadable Parquet")
    assert report.rejected == 1000
    assert_consistent(lake)


def test_essential_web_labels_land_in_the_store(lake, read, ask, tmp_path):
    rows = [
        {"free_decimal_correspondence": ("005.1", "641.563.2"), "document_type_v1": ("-1", "")},
        {"document_type_v2": ("", "3")},
    ]
    table = essential_web(rows)
    pq.write_table(pa.concat_tables([table, table]), tmp_path / "train-00000-of-03291.parquet")
    read(tmp_path / "train-00000-of-03291.parquet")
    assert ask("select source, source_id, url, count(*) from raw.occurrences group by all order by 2") == [
        ("train", "-5", "https://example.org/0", 2),
        ("train", "-6", "https://example.org/1", 2),
    ]
    stored = ask(
        "select status, free_decimal_correspondence, document_type_v1, document_type_v2, labeler, fingerprint"
        " from labels.eai order by doc_id = (select doc_id from raw.documents where text = 'document 1')"
    )
    none = {"primary": "1", "secondary": None}
    assert stored == [
        (
            "ok",
            {"primary": "005.1", "secondary": "641.563.2"},
            {"primary": "-1", "secondary": None},
            none,
            "essential_web",
            FINGERPRINT,
        ),
        ("partial", none, none, {"primary": None, "secondary": "3"}, "essential_web", FINGERPRINT),
    ]
    metadata = json.loads(ask("select metadata::varchar from raw.occurrences")[0][0])
    assert metadata["quality_signals"]["fasttext"] == {"dclm": 0.5, "english": None}
    assert metadata["source_domain"] == "example.org"
    assert "eai_taxonomy" not in metadata
    pq.write_table(table, tmp_path / "more.parquet")
    read(tmp_path / "more.parquet")
    assert ask("select count(*) from labels.eai") == [(2,)]
    assert ask("select count(*) from labels.eai_long where code = '005.1'") == [(1,)]
    assert_consistent(lake)


def test_an_mds_folder_is_one_input(lake, read, ask, shared_data):
    pytest.importorskip("warehouse.mds")
    report = read(shared_data / "mds")
    assert {(Path(file.path).name, file.format, file.rows) for file in report.files} >= {
        ("text_plain", "mds", 120),
        ("text_zstd_sha1_xxh64", "mds", 120),
    }
    assert ask("select count(*), count(distinct doc_id) from raw.occurrences") == [(240, 120)]
    assert_consistent(lake)


def test_an_mds_shard_without_text_does_not_hide_the_others(read, ask, tmp_path):
    streaming = pytest.importorskip("streaming")
    columns = [{"tokens": "bytes"}, {"text": "str"}, {"text": "int"}, {"text": "str", "n": "int"}]
    samples = [{"tokens": b"x"}, {"text": "one"}, {"text": 5}, {"text": "two", "n": 1}]
    shards: list[dict[str, object]] = []
    for number, (kinds, sample) in enumerate(zip(columns, samples, strict=True)):
        with streaming.MDSWriter(out=str(tmp_path / str(number)), columns=kinds) as writer:
            writer.write(sample)
        (shard,) = json.loads((tmp_path / str(number) / "index.json").read_text())["shards"]
        shard["raw_data"]["basename"] = f"shard.{number:05}.mds"
        folder = tmp_path / "mixed"
        folder.mkdir(exist_ok=True)
        (tmp_path / str(number) / "shard.00000.mds").rename(folder / f"shard.{number:05}.mds")
        shards.append(shard)
    (folder / "index.json").write_text(json.dumps({"version": 2, "shards": shards}))
    read(folder)
    assert ask("select text from raw.documents order by 1") == [("one",), ("two",)]
    assert [row[0] for row in ask("select position from raw.rejects order by 1")] == [1, 3]


def test_an_mds_folder_of_tokens_is_rejected(read, ask, tmp_path):
    mds = pytest.importorskip("streaming")
    with mds.MDSWriter(out=str(tmp_path / "tokens"), columns={"input_ids": "ndarray:uint16:8"}) as writer:
        writer.write({"input_ids": np.arange(8, dtype=np.uint16)})
    read(tmp_path / "tokens")
    [(reason,)] = ask("select reason from raw.rejects")
    assert reason == (
        "MDS without text: no column 'text'; it has input_ids; choose one with --text-field;"
        " --tokenizer makes text of tokens"
    )


def test_warc_and_wet_give_the_same_page(read, ask, shared_data):
    read(shared_data / "web" / "warc" / "whirlwind.warc.gz", shared_data / "web" / "warc" / "whirlwind.warc.wet.gz")
    pages = ask(
        "select distinct url, text ilike '%Escopete%', text ilike '%<p>%' from raw.occurrences"
        " join raw.documents using (doc_id)"
    )
    assert pages == [("https://an.wikipedia.org/wiki/Escopete", True, False)]


def test_a_cut_warc_gives_the_pages_before_the_cut(lake, read, ask, shared_data, tmp_path):
    content = (shared_data / "web" / "warc" / "dolma-sample-0000.warc.gz").read_bytes()
    (tmp_path / "x.warc.gz").write_bytes(content[: len(content) * 2 // 3])
    report = read(tmp_path / "x.warc.gz")
    assert report.rows > 3
    assert {cut for (cut,) in ask("select reason like '%cut off%' from raw.rejects")} == {True}
    assert_consistent(lake)


def test_text_files_share_the_source_of_their_folder(lake, read, ask, tmp_path):
    folder = tmp_path / "notes"
    (folder / "sub").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("hidden")
    (folder / "a.md").write_bytes(b"\xef\xbb\xbf# T\xc3\xbctle\r\n")
    (folder / "sub" / "b.py").write_text("{1}")
    (folder / "empty.txt").touch()
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    (folder / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0")
    (folder / "utf16.txt").write_bytes("text".encode("utf-16"))
    report = read(folder)
    assert ask("select source, source_id, text from raw.occurrences join raw.documents using (doc_id) order by 2") == [
        ("notes", "a.md", "# Tütle\r\n"),
        ("notes", "sub/b.py", "{1}"),
        ("notes", "utf16.txt", "text"),
    ]
    assert report.reasons == {"not UTF-8": 1, "binary: it holds NUL bytes": 1}
    assert_consistent(lake)


@pytest.mark.parametrize(
    ("start", "name", "expected"),
    [
        (b'{"text": "x"}\n{"te', "dump", "jsonl"),
        (b'{"text": "x', "dump.jsonl", "jsonl"),
        (b"{\n  color: red\n}", "style.css", "text"),
        (b"PAR1\x15", "data.txt", "parquet"),
        (b"WARC/1.0\r\n", "x.txt", "warc"),
        (b"filedesc://x", "x", "arc"),
        (b"PK\x03\x04\0\0", "x.docx", "unknown"),
        (b"PK\x03\x04\0\0", "x.zip", "zip"),
        (b"plain words", "words", "text"),
        (b"[1, 2]", "x.json", "json"),
        (b"\xff\xfe{\0", "x.json", "jsonl"),
    ],
)
def test_formats_are_told_by_content(start, name, expected):
    assert detect_content(start, name).format == expected


def test_sources_with_odd_names_survive(lake, read, ask, tmp_path):
    names = [
        "a/b=c %20",
        "007",
        "it's",
        "ünï",
        "..",
        "a\nb",
        "*?[x]",
        "null",
        "NULL",
        "__HIVE_DEFAULT_PARTITION__",
        "名" * 300,
    ]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps({"text": n, "source": n}) + "\n" for n in names))
    read(tmp_path / "x.jsonl")
    rows = ask("select source, text from raw.occurrences join raw.documents using (doc_id)")
    assert sorted(rows) == sorted((name, name) for name in names)


def test_more_sources_than_open_partitions(lake, read, ask, tmp_path):
    (tmp_path / "x.jsonl").write_text(
        "".join(json.dumps({"text": str(n), "source": f"s{n % 150}"}) + "\n" for n in range(600))
    )
    read(tmp_path / "x.jsonl")
    assert ask("select count(*), count(distinct source) from raw.occurrences") == [(600, 150)]
    assert_consistent(lake)


def test_the_environment_is_chosen_by_md5_and_bounded(lake, ask):
    small, large = package_files(300_000), package_files(600_000)
    assert {file.url for file in small} < {file.url for file in large}
    assert sum(file.bytes for file in small) <= 300_000
    assert all(file.url.startswith(f"pkg:pypi/{file.package}@") for file in large)
    report = ingest(lake, environment_inputs(600_000), IngestOptions())
    assert report.rows + report.rejected == len(large)
    assert ask("select distinct source from raw.occurrences") == [("pypi",)]
    [(complete,)] = ask(
        "select bool_and((metadata->>'package') <> '' and (metadata->>'version') <> '' and (metadata->>'path') <> ''"
        " and (metadata->>'kind') in ('source', 'documentation', 'licence', 'description')) from raw.occurrences"
    )
    assert complete
    assert ingest(lake, environment_inputs(600_000), IngestOptions()).count("unchanged") == len(large)
    assert_consistent(lake)


@pytest.mark.parametrize("folder", ["hostile", "parquet", "mds", "web/warc"])
def test_every_file_of_the_test_data_is_ingested_or_rejected(shared_data, tmp_path, folder):
    def cuvee(*arguments: str) -> subprocess.CompletedProcess[str]:
        script = "from warehouse.cli.main import main; main()"
        command = [sys.executable, "-c", script, *arguments, "--lake", str(tmp_path / "lake")]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)

    cuvee("init")
    strict = cuvee("ingest", str(shared_data / folder), "--strict")
    assert strict.returncode == 1
    done = cuvee("ingest", str(shared_data / folder), "--json")
    assert done.returncode == 0
    assert "Traceback" not in done.stderr + strict.stderr
    assert "panicked" not in done.stderr + strict.stderr
    result = json.loads(done.stdout)
    for file in result["files"]:
        assert file["outcome"] in ("ingested", "unchanged", "copy"), file
    again = json.loads(cuvee("ingest", str(shared_data / folder), "--json").stdout)
    assert (again["ingested"], again["occurrences"], again["rejected"]) == (0, 0, 0)


def test_json_test_suite(read, ask, shared_data):
    """Python's json accepts what JSON's own test suite says it must; the reasons tell bad JSON from no text."""
    suite = shared_data / "hostile" / "JSONTestSuite" / "test_parsing"
    read(suite)
    rows = ask("select path, list(reason) from raw.files left join raw.rejects using (file_id) group by 1")
    for path, reasons in rows:
        kind = Path(path).name[0]
        bad = [reason for reason in reasons if reason and ("bad JSON" in reason or "not UTF-8" in reason)]
        if kind == "y":
            assert not bad, (path, reasons)
        if kind == "n":
            assert bad, (path, reasons)
