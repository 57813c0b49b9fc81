"""Tables as CSV, Arrow and ORC, archives of files, compression, and what a first record may look like."""

from __future__ import annotations

import bz2
import csv
import io
import json
import lzma
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.orc as orc
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.warehouse.ingest.helpers import assert_consistent
from warehouse.ingest.formats.delimited import delimiter_of, read_delimited
from warehouse.ingest.formats.detection import detect
from warehouse.ingest.records import IngestOptions

ROWS = [{"id": f"r{number}", "text": f"text {number} — ünï", "n": number} for number in range(5)]
TEXTS = sorted(row["text"] for row in ROWS)
JSONL = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


def texts(ask: Any) -> list[str]:
    return sorted(text for (text,) in ask("select text from raw.occurrences join raw.documents using (doc_id)"))


def packed_by_arrow(kind: str) -> bytes:
    return pa.Codec(kind).compress(JSONL, asbytes=True)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.jsonl.bz2", bz2.compress(JSONL[:50]) + bz2.compress(JSONL[50:])),
        ("x.xz", lzma.compress(JSONL)),
        ("x.jsonl.lz4", packed_by_arrow("lz4")),
        ("utf16.jsonl", JSONL.decode().encode("utf-16")),
        ("utf32.dat", JSONL.decode().encode("utf-32")),
        ("be.jsonl.bz2", bz2.compress(b"\xfe\xff" + JSONL.decode().encode("utf-16-be"))),
    ],
)
def test_what_is_compressed_or_recoded_gives_the_same_records(lake, read, ask, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    report = read(tmp_path / name)
    assert (texts(ask), report.rejected) == (TEXTS, 0)
    assert_consistent(lake)


def test_a_long_window_of_zstandard_is_read(read, ask, tmp_path):
    settings = zstandard.ZstdCompressionParameters(window_log=31, enable_ldm=True, write_content_size=False)
    with (tmp_path / "x.zst").open("wb") as file:
        packer = zstandard.ZstdCompressor(compression_params=settings)
        with packer.stream_writer(file) as writer:
            writer.write(JSONL)
    assert zstandard.get_frame_parameters((tmp_path / "x.zst").read_bytes()).window_size == 1 << 31
    read(tmp_path / "x.zst")
    assert texts(ask) == TEXTS


@pytest.mark.parametrize("kind", ["file", "stream", "feather", "orc", "save_to_disk"])
def test_arrow_and_orc_give_the_rows(lake, read, ask, tmp_path, kind):
    table = pa.Table.from_pylist(ROWS)
    path = tmp_path / "train"
    if kind == "feather":
        feather.write_feather(table, path, compression="zstd")
    elif kind == "orc":
        orc.write_table(table, path)
    elif kind == "save_to_disk":
        datasets = pytest.importorskip("datasets")
        datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)}).save_to_disk(str(path))
    else:
        make = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
        with make(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    report = read(path)
    assert (texts(ask), report.rejected, report.count("ingested")) == (TEXTS, 0, 1)
    assert ask("select list(metadata->>'n' order by position), max(source_id) from raw.occurrences") == [
        (["0", "1", "2", "3", "4"], "r4")
    ]
    assert ask("select distinct source from raw.occurrences") == [
        ("train/train" if kind == "save_to_disk" else "train",)
    ]
    assert_consistent(lake)


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_a_cut_arrow_file_is_told(read, tmp_path, kind):
    table = pa.Table.from_pylist(ROWS * 100)
    sink = io.BytesIO()
    with (pa.ipc.new_file if kind == "file" else pa.ipc.new_stream)(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=100)
    (tmp_path / "x.arrow").write_bytes(sink.getvalue()[: len(sink.getvalue()) // 2])
    report = read(tmp_path / "x.arrow")
    assert report.rejected == 1
    assert report.rows in (0, 100, 200)


def archive(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, content in files.items():
                packed.writestr(name, content)
        return path
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as packed:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_an_archive_gives_the_records_of_its_files(lake, read, ask, tmp_path, name):
    files = {
        "a/one.jsonl": b'{"text": "a"}\noops\n{"text": "b", "n": 1}\n',
        "a/two.jsonl.bz2": bz2.compress(b'{"text": "c"}'),
        "page.md": b"# d",
        "x.csv": b"text,n\ne,1\n",
        "image.png": b"\x89PNG\r\n\x1a\n\0\0\0",
        ".hidden": b"no",
    }
    path = archive(tmp_path / name, files)
    report = read(path)
    assert texts(ask) == ["# d", "a", "b", "c", "e"]
    found = ask("select position, metadata->>'member', metadata->>'n', source from raw.occurrences order by 1")
    assert [row[1] for row in found] == ["a/one.jsonl", "a/one.jsonl", "a/two.jsonl.bz2", "page.md", "x.csv"]
    assert found[1][:3] == (3, "a/one.jsonl", "1")
    assert {row[3] for row in found} == {"x"}
    rejects = ask("select position, reason from raw.rejects order by 1")
    assert [position for position, _ in rejects] == [0, 2]
    assert rejects[0][1] == "binary: it holds NUL bytes, in the file image.png"
    assert "binary: it holds NUL bytes" in report.reasons
    assert_consistent(lake)
    assert read(path).count("unchanged") == 1


def test_a_webdataset_shard_gives_a_record_a_sample(lake, read, ask, tmp_path):
    files = {
        "000/a.json": b'{"url": "u", "w": 7}',
        "000/a.txt": "ä caption".encode(),
        "000/a.jpg": b"\xff\xd8\xff\0",
        "000/b.txt": b"only text",
        "000/c.json": b'{"text": "in the JSON", "id": "own"}',
        "000/c.cls": b"3",
        "000/d.json": b"[1]",
        "000/d.txt": b"no",
    }
    report = read(archive(tmp_path / "shard.tar", files))
    assert ask(
        "select text, source_id, url, metadata->>'w', (metadata->>'$.files.jpg')::int from raw.occurrences"
        " join raw.documents using (doc_id) order by 1"
    ) == [
        ("in the JSON", "own", None, None, None),
        ("only text", "000/b.txt", None, None, None),
        ("ä caption", "000/a", "u", "7", 4),
    ]
    assert report.reasons == {"no sample: its JSON is no object": 1}
    assert_consistent(lake)


@pytest.mark.parametrize("name", ["x.zip", "x.tar"])
def test_a_damaged_archive_keeps_what_came_before(read, ask, tmp_path, name):
    noise = bytes(range(1, 256)) * 40
    path = archive(tmp_path / name, {"a.jsonl": JSONL, "b.txt": noise.decode("latin-1").encode(), "c.jsonl": JSONL * 9})
    content = bytearray(path.read_bytes())
    if name == "x.tar":
        del content[len(content) // 2 :]
    else:
        content[60:70] = b"\0" * 10
    path.write_bytes(content)
    report = read(path)
    assert report.rejected >= 1
    assert any("damaged or cut off" in reason for reason in report.reasons)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "Git LFS pointer"),
        (b"Obj\x01\x04\x16avro.schema", "Avro"),
        (b"7z\xbc\xaf\x27\x1c\0\0", "7z"),
        ("text without a mark".encode("utf-16-le"), "UTF-16 text without a byte order mark"),
    ],
)
def test_what_is_not_read_is_refused_by_what_it_is(read, tmp_path, content, reason):
    (tmp_path / "train.data").write_bytes(content)
    (found,) = read(tmp_path / "train.data").reasons
    assert reason in found


def test_programs_that_are_zip_archives_are_refused(read, tmp_path):
    report = read(archive(tmp_path / "x.zip", {"[Content_Types].xml": b"<a/>", "word/document.xml": b"<b/>"}))
    assert report.reasons == {"an Office document: extract its text first": 1}


LONG, OTHER = (json.dumps({"text": each * 200_000}) for each in "xy")


@pytest.mark.parametrize(
    ("content", "count"),
    [
        (LONG + "\n" + OTHER + "\n", 2),
        (LONG, 1),
        ('{"tree": ' + "[" * 300 + "]" * 300 + ', "text": "deep"}\n{"text": "b"}', 2),
        ('{"text": NaN}\n{"text": "b"}\n', 1),
        ('{"text": "\\ud800"}\n{"text": "b"}\n', 1),
        ('{"text": oops}\n{"text": "b"}\n{"text": "c"}\n', 2),
        ('[{"text": "a"}, {"text": "b"}]', 2),
        ("[\n  " + LONG + ",\n  " + OTHER + "\n]\n", 2),
        ('{\n  "text": "a"\n}\n', 1),
        ('{\n  "n": 1\n}\n{\n  "text": "a"\n}', 1),
        ('\ufeff{"text": "a"}\n', 1),
    ],
)
@pytest.mark.parametrize("name", ["dump", "dump.txt", "dump.jsonl.part"])
def test_records_are_told_by_content_whatever_the_name(tmp_path, content, count, name):
    from warehouse.ingest.formats.jsonl import read_json, read_jsonl

    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    kind = detect(path).format
    assert kind in ("jsonl", "json")
    reader = read_jsonl if kind == "jsonl" else read_json
    assert sum(len(batch.digests) for batch in reader(path, "s", IngestOptions())) == count


@pytest.mark.parametrize(
    "content", ["{\n  color: red\n}", '{"a": 1', "[link](x) and", "[1, 2]", '{\n  "name": "x"\n}\n', "{% if x %}"]
)
def test_text_that_only_looks_like_records_is_text(tmp_path, content):
    (tmp_path / "x.cfg").write_text(content)
    assert detect(tmp_path / "x.cfg").format == "text"


# CSV


def rows_of(path: Path, **options: Any) -> tuple[list[tuple[int, str, str]], list[tuple[int, str]]]:
    """Return position, text and metadata of all rows, and position and reason of the rejects."""
    found, rejects = [], []
    for batch in read_delimited(path, "s", IngestOptions(**options)):
        metadata = batch.occurrences["metadata"].to_pylist()
        found += zip(
            batch.occurrences["position"].to_pylist(), batch.documents["text"].to_pylist(), metadata, strict=True
        )
        rejects += [(each.position, each.reason) for each in batch.rejects]
    return found, rejects


cells = st.lists(
    st.sampled_from(["a", '"', ",", "\t", "\n", "é", " ", "'", "\\", "#", "\0", "NULL", "中", "|", ";"]), max_size=6
).map("".join)


@settings(max_examples=60)
@given(
    st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(cells, min_size=n, max_size=n), min_size=1, max_size=12)),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([",", "\t"]),
    st.booleans(),
)
def test_a_table_has_the_rows_that_python_reads(tmp_path_factory, rows, ending, delimiter, quoted):
    path = tmp_path_factory.mktemp("csv") / ("x.csv" if delimiter == "," else "x.tsv")
    names = ["text", "b", "c", "d"][: len(rows[0])]
    content = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
    csv.writer(content, delimiter=delimiter, lineterminator=ending, quoting=quoting).writerows([names, *rows])
    path.write_bytes(content.getvalue().encode())
    expected = list(csv.reader(io.StringIO(content.getvalue(), newline=""), delimiter=delimiter))[1:]
    found, rejects = rows_of(path)
    wanted = [(line, row) for line, row in enumerate(expected, 2) if row and row[0]]
    assert [(position, text) for position, text, _ in found] == [(line, row[0]) for line, row in wanted]
    for (_, _, metadata), (_, row) in zip(found, wanted, strict=True):
        kept = json.loads(metadata or "{}")
        assert [kept[name] or "" for name in names[1:]] == row[1:]
    assert {reason for _, reason in rejects} <= {"text is null"}


@pytest.mark.parametrize(
    ("content", "found", "rejected"),
    [
        (b'text,b\n"a\nb",1\n"c",2,3\nd,4\n', [(2, "a\nb"), (4, "d")], [3]),
        (b'text,b\n"x"y,1\nz,2\n', [(3, "z")], [2]),
        (b"text,b\nok,1\n\xff\xfe,2\nz,3\n", [(2, "ok"), (4, "z")], [3]),
        (b'text,b\nok,1\n"open,2\nz,3\n', [(2, "ok")], [3]),
        (b'text,b\r\n"a\nb",1\nc,2\r\n', [(2, "a\nb"), (3, "c")], []),
        (b"text,b\rx,1\ry,2\r", [(2, "x"), (3, "y")], []),
        (b"\xef\xbb\xbftext\nx\ny", [(2, "x"), (3, "y")], []),
        (b"text\n", [], []),
    ],
)
def test_a_broken_row_is_one_reject_with_its_line(tmp_path, content, found, rejected):
    (tmp_path / "x.csv").write_bytes(content)
    rows, rejects = rows_of(tmp_path / "x.csv")
    assert [(position, text) for position, text, _ in rows] == found
    assert [position for position, _ in rejects] == rejected


def test_a_table_is_read_by_ingest(lake, read, ask, tmp_path):
    (tmp_path / "t.csv").write_text("id;body;b\n1;x, y;2\n")
    (tmp_path / "u.tsv.gz").write_bytes(__import__("gzip").compress(b"body\tid\nz\t5\n"))
    (tmp_path / "v.txt").write_text("body|id\nw|9\n")
    report = read(tmp_path / "t.csv", tmp_path / "u.tsv.gz", text_field="body")
    assert (texts(ask), report.rejected) == (["x, y", "z"], 0)
    assert ask("select source, source_id from raw.occurrences order by 1") == [("t", "1"), ("u", "5")]
    assert read(tmp_path / "v.txt", text_field="body", delimiter="|").rows == 1
    report = read(tmp_path / "t.csv")
    assert report.reasons == {"no column 'text'; it has id, body, b; choose one with --text-field": 1}
    assert_consistent(lake)


def test_the_delimiter_comes_from_the_header_and_the_name():
    found = [
        delimiter_of(Path(name), header) for name, header in (("x.csv", "a;b"), ("x.tsv", "a"), ("x.csv", '"a;b"'))
    ]
    assert found == [";", "\t", ","]
