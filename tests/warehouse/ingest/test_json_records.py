"""JSONL and JSON files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import orjson
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import doc_id, write_jsonl
from tests.warehouse.ingest.helpers import assert_consistent
from warehouse.ingest.formats.giant import decode_giant
from warehouse.ingest.formats.json_values import values
from warehouse.ingest.formats.jsonl import add_json, lines
from warehouse.ingest.record_builder import RecordBuilder, metadata_json
from warehouse.ingest.records import IngestOptions, StrictError, utf8_length


def test_a_dolma_record_fills_the_columns(lake, read, ask, tmp_path):
    record = {
        "id": "a1",
        "text": "héllo\r\n\x00wörld",
        "source": "books",
        "created": "2020-01-02T03:04:05Z",
        "added": "2024-01-01",
        "metadata": {"url": "https://example.org", "license": "CC-BY", "year": 1900, "added": 1},
    }
    read(write_jsonl(tmp_path / "shard.jsonl", [record]))
    row = ask(
        "select doc_id, text, n_chars, source, source_id, url, published_at::varchar, metadata::varchar, position"
        " from raw.occurrences join raw.documents using (doc_id)"
    )
    metadata = {"license": "CC-BY", "year": 1900, "added": "2024-01-01", "metadata": {"added": 1}}
    assert [(*row[0][:7], json.loads(row[0][7]), row[0][8])] == [
        (
            doc_id(record["text"]),
            record["text"],
            13,
            "books",
            "a1",
            "https://example.org",
            "2020-01-02 03:04:05+00",
            metadata,
            1,
        )
    ]
    assert_consistent(lake)


def test_fields_are_named_by_options_and_may_be_nested(read, ask, tmp_path):
    path = write_jsonl(tmp_path / "x.jsonl", [{"payload": {"body": "t", "n": 1}, "key": 7, "link": "u"}])
    read(path, text_field="payload.body", id_field="key", url_field="link", source="mine")
    assert ask("select source, source_id, url, metadata::varchar from raw.occurrences") == [
        ("mine", "7", "u", '{"payload":{"n":1}}')
    ]


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_compression_is_told_by_content(read, ask, tmp_path, suffix):
    plain = b'{"text": "one"}\n{"text": "two"}'
    first, second = plain[:20], plain[20:]
    packed = {
        "": plain,
        ".gz": gzip.compress(first) + gzip.compress(second) + b"\0" * 512,
        ".zst": zstandard.compress(first) + zstandard.compress(second),
    }[suffix]
    (tmp_path / "misnamed.dat").write_bytes(packed)
    (tmp_path / f"named.jsonl{suffix}").write_bytes(packed.replace(b"two", b"2wo") if not suffix else packed)
    read(tmp_path / "misnamed.dat")
    assert ask("select text from raw.documents order by 1") == [("one",), ("two",)]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b'{"text": "x"', "bad JSON: "),
        (b'{"text": "\xff"}', "not UTF-8: byte 0xff at offset 10"),
        (b'{"text": "\\ud800"}', "a lone surrogate has no form in UTF-8"),
        (b'{"body": "x", "n": 1}', "no field 'text'; it has body, n; choose one with --text-field"),
        (b'{"text": null}', "text is null, not a string"),
        (b'{"text": 5}', "text is a number, not a string"),
        (b'{"text": ""}', "text is empty"),
        (b'["text"]', "not a JSON object but an array"),
        (b'{"text": NaN}', "text is NaN or Infinity"),
        (b"[" * 100_000, "bad JSON: "),
    ],
)
def test_what_cannot_be_read_is_kept_and_the_rest_goes_on(lake, read, ask, tmp_path, record, reason):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"text": "before"}\n\n' + record + b'\r\n{"text": "after"}')
    report = read(path)
    (position, said, raw) = ask("select position, reason, raw from raw.rejects")[0]
    assert position == 3
    assert reason in said
    assert raw == (record + b"\r")[: 64 << 10]
    assert ask("select position from raw.occurrences order by 1") == [(1,), (4,)]
    assert (report.rows, report.rejected) == (2, 1)
    assert_consistent(lake)


def test_strict_commits_nothing_of_the_file_but_the_files_before_it(lake, read, ask, tmp_path):
    good = write_jsonl(tmp_path / "a.jsonl", [{"text": "x"}])
    bad = tmp_path / "b.jsonl"
    bad.write_bytes(b'{"text": "y"}\n{"text": 1}\n')
    with pytest.raises(StrictError, match=r"b\.jsonl:2: text is a number"):
        read(good, bad, strict=True)
    assert ask("select path from raw.files") == [(str(good),)]
    assert_consistent(lake)


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_a_cut_file_gives_what_came_before_the_cut(lake, read, ask, tmp_path, kind):
    plain = b"".join(b'{"text": "%d %s"}\n' % (n, str(n).encode() * 50) for n in range(20_000))
    packed = gzip.compress(plain) if kind == "gz" else zstandard.compress(plain)
    (tmp_path / f"x.jsonl.{kind}").write_bytes(packed[: len(packed) // 2])
    report = read(tmp_path / f"x.jsonl.{kind}")
    assert 0 < report.rows < 20_000
    [(position, reason)] = ask("select position, reason from raw.rejects")
    assert position == report.rows + 1
    assert "cut off" in reason
    assert_consistent(lake)


def test_a_corrupt_gzip_is_reported_where_it_breaks(read, ask, tmp_path):
    packed = bytearray(gzip.compress(b'{"text": "abc"}\n' * 100_000, mtime=0))
    packed[len(packed) // 2] ^= 0xFF
    (tmp_path / "x.jsonl.gz").write_bytes(packed)
    read(tmp_path / "x.jsonl.gz")
    assert "corrupt" in ask("select reason from raw.rejects")[0][0]


@pytest.mark.parametrize(
    ("content", "texts", "rejects"),
    [
        ('[{"text": "a,]}\\"["}, {"text": "b"}]', ['a,]}"[', "b"], 0),
        ('\ufeff[\n {"text": "a"},\n {"text": 3}\n]\n', ["a"], 1),
        ('{\n "text": "a",\n "x": [1, {"y": "}"}]\n}', ["a"], 0),
        ('{\n "text": "a"\n}\n{\n "text": "b"\n}', ["a", "b"], 0),
        ('{"text": "a"}', ["a"], 0),
        ("[]", [], 0),
        ('[{"text": "a"}', [], 1),
        ('[{"text": "a"},,{"text": "b"}]', ["a", "b"], 1),
        ('[{"text": "a"},]', ["a"], 1),
        ('[{"text": "a"}] {"text": "b"}', ["a"], 1),
        ("", [], 0),
    ],
)
def test_a_json_file_may_hold_an_array_or_printed_objects(read, ask, tmp_path, content, texts, rejects):
    (tmp_path / "x.json").write_text(content)
    report = read(tmp_path / "x.json")
    assert [text for (text,) in ask("select text from raw.documents order by 1")] == texts
    assert report.rejected == rejects


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_values_do_not_depend_on_where_blocks_end(size):
    content = json.dumps([{"text": 'a "quoted\\" [', "n": [1, {"b": "\\"}]}, "x", 5, None, []]).encode()
    blocks = [content[at : at + size] for at in range(0, len(content), size)]
    assert [orjson.loads(value) for value, _ in values(blocks, 1 << 20, 64)] == orjson.loads(content)


@given(st.binary(max_size=400), st.integers(1, 50))
def test_any_bytes_give_one_record_or_one_reject_a_line(content, size):
    builder = RecordBuilder(Path("x"), "x", IngestOptions())
    blocks = [content[at : at + size] for at in range(0, len(content), size)]
    split = [line for part in lines(blocks) for line in part]
    for position, line in enumerate(split, 1):
        add_json(builder, line, position)
    batch = builder.take()
    expected = [line for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip(b" \t\r\n")]
    if size >= 3:  # a byte order mark that is split over blocks does not occur: blocks are megabytes
        assert len(batch.digests) + len(batch.rejects) == len(expected)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["text", "id", "url", "source", "metadata", "date", "x", "y"]), json_values))
def test_every_record_is_taken_or_rejected_and_no_field_is_lost(record):
    raw = orjson.dumps(record)
    builder = RecordBuilder(Path("x"), "x", IngestOptions())
    add_json(builder, raw, 1)
    batch = builder.take()
    assert len(batch.digests) + len(batch.rejects) == 1
    if batch.digests:
        row = batch.occurrences.to_pylist()[0]
        kept = json.loads(row["metadata"] or "{}")
        for name in ("x", "y"):
            assert name not in record or kept[name] == record[name]
        assert batch.documents["text"][0].as_py() == record["text"]


@settings(max_examples=30)
@given(
    st.lists(st.sampled_from(["a", "é", "中", "😀", "\n", '"', "\\", "\x00", "word "]), min_size=1, max_size=30),
    st.integers(60_000, 200_000),
    st.booleans(),
)
def test_giant_records_are_decoded_like_small_ones(pieces, times, escaped):
    text = "".join(pieces) * times
    record = {"id": 1, "text": text, "tail": ["x" * 2_000_000, {"k": "v"}]}
    raw = json.dumps(record, ensure_ascii=escaped).encode()
    rest, data, _ = decode_giant(raw, "text")
    if data is None:
        assert rest == record
    else:
        assert bytes(data).decode() == text
        assert rest == {"id": 1, "tail": record["tail"]}
        assert utf8_length(data) == len(text)


@pytest.mark.parametrize("broken", [b"\\x", b"\\ud800", b"\xff", b"\n", b"\\"])
def test_a_giant_record_with_a_fault_is_refused(broken):
    raw = b'{"text": "' + b"a" * 3_000_000 + broken + b"a" * 3_000_000 + b'"}'
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(raw)
    with pytest.raises(orjson.JSONDecodeError):
        decode_giant(raw, "text")


def test_metadata_of_a_record_without_more_fields_is_null():
    assert metadata_json({}) is None
