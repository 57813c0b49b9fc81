"""What is next to a text costs no document: numbers, times, odd columns, damaged pages; and 10,000 records."""

from __future__ import annotations

import contextlib
import decimal
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.warehouse.ingest.helpers import assert_consistent
from warehouse.ingest import exact_json
from warehouse.ingest.formats.jsonl import add_json
from warehouse.ingest.record_builder import RecordBuilder
from warehouse.ingest.records import IngestOptions
from warehouse.ingest.times import timestamp

HUGE = 340282366920938463463374607431768211456


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


@pytest.mark.parametrize("levels", [253, 254, 255, 300, 1000, 1022])
def test_deep_json_next_to_the_text_is_kept(lake, read, ask, tmp_path, levels):
    (tmp_path / "x.jsonl").write_text(f'{{"text": "a", "tree": {deep(levels)}, "s": "ü"}}\n{{"text": "b"}}\n')
    report = read(tmp_path / "x.jsonl")
    assert (report.rows, report.rejected) == (2, 0)
    [(kept,)] = ask("select metadata::varchar from raw.occurrences where metadata is not null")
    assert kept == f'{{"tree":{deep(levels)},"s":"ü"}}'
    assert ask("select metadata->>'s' from raw.occurrences where metadata is not null") == [("ü",)]
    assert_consistent(lake)


def test_json_that_is_too_deep_is_one_reject(read, ask, tmp_path):
    (tmp_path / "x.jsonl").write_text(f'{{"text": "a", "tree": {deep(5000)}}}\n{{"text": "b"}}\n')
    assert read(tmp_path / "x.jsonl").rows == 1
    assert ask("select reason from raw.rejects") == [("bad JSON: nested in more than 1,024 levels",)]


@pytest.mark.parametrize("number", [2**63, 2**64 - 1, 2**64, -(2**63) - 1, HUGE, -HUGE, 10**400])
def test_whole_numbers_keep_their_digits(read, ask, tmp_path, number):
    giant = {"text": "y" * 17_000_000, "id": number, "n": number}
    records = [{"text": "x", "id": number, "n": [number], "f": 1e300}, {"text": "z", "metadata": {"n": number}}, giant]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    read(tmp_path / "x.jsonl", id_field="id")
    assert ask(
        "select source_id, metadata->>'$.n[0]', metadata->>'n', metadata->>'f' from raw.occurrences order by position"
    ) == [
        (str(number), str(number), f"[{number}]", "1e300"),
        (None, None, str(number), None),
        (str(number), None, str(number), None),
    ]


@pytest.mark.parametrize("pad", ["", "y" * 17_000_000])
def test_nan_next_to_the_text_becomes_null_and_is_counted(read, ask, tmp_path, pad):
    line = f'{{"text": "x{pad}", "score": NaN, "l": [-Infinity, 1], "n": 1e999, "i": {HUGE}}}\n'
    (tmp_path / "x.jsonl").write_text(line)
    report = read(tmp_path / "x.jsonl")
    assert report.notes == {"NaN or Infinity became null": 1}
    kept = ask("select metadata::varchar from raw.occurrences")
    assert kept == [(f'{{"score":null,"l":[null,1],"n":1e999,"i":{HUGE}}}',)]


def test_odd_columns_cost_no_document(lake, read, ask, tmp_path):
    far = 253402300800 * 10**7
    columns = {
        "text": pa.array(["a", "b", None]),
        "fixed": pa.array([[1.5, float("nan")], None, None], pa.list_(pa.float32(), 2)),
        "map": pa.array([[("k", float("inf"))], None, None], pa.map_(pa.string(), pa.float64())),
        "far": pa.array([far, None, None], pa.timestamp("us", "UTC")),
        "seconds": pa.array([2**62, 0, None], pa.timestamp("s")),
        "ns": pa.array([1, 2, None], pa.timestamp("ns")),
        "day": pa.array([2**30, None, None], pa.date32()),
        "decimal": pa.array([decimal.Decimal("3" * 60), None, None], pa.decimal256(70, 0)),
        "id": pa.array([decimal.Decimal(HUGE // 100), None, None], pa.decimal128(38, 0)),
        "json": pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a": [1]}', '{"a', None])),
        "A": pa.array([1, 2, 3]),
        "a": pa.array([4, 5, 6]),
    }
    with pa.ipc.new_file(str(tmp_path / "x.arrow"), pa.table(columns).schema) as writer:
        writer.write_table(pa.table(columns))
    report = read(tmp_path / "x.arrow")
    assert (report.rows, report.rejected) == (2, 1)
    rows = ask("select source_id, metadata::varchar from raw.occurrences order by position")
    assert rows[0][0] == str(HUGE // 100)
    first, second = (json.loads(row[1]) for row in rows)
    assert first["fixed"] == [1.5, None]
    assert first["map"] == {"k": None}
    assert first["far"].startswith("82269-12-29")
    assert first["decimal"] == "3" * 60
    assert first["json"] == {"a": [1]}
    assert second["json"] == '{"a'
    assert (first["A"], first["a"], first["seconds"]) == (1, 4, str(2**62))
    assert first["ns"].endswith("000000001")
    assert sum(report.notes.values()) >= 4
    assert_consistent(lake)


@pytest.mark.parametrize("names", [["text", "n", "n"], ["text", "text", "n"]])
def test_two_columns_of_one_name(read, ask, tmp_path, names):
    table = pa.table([pa.array(["a"]), pa.array(["b"]), pa.array([3])], names=names)
    pq.write_table(table, tmp_path / "x.parquet")
    report = read(tmp_path / "x.parquet")
    if names.count("text") == 1:
        assert ask("select metadata::varchar from raw.occurrences") == [('{"n":"b","n:2":3}',)]
    else:
        assert report.reasons == {"2 columns are called 'text': give them names of their own": 1}


def with_checksums(path: Path, column: str) -> None:
    """Write two row groups with checksums of pages, and change a byte of a page in the second."""
    table = pa.table({"text": [f"text {n}" for n in range(200)], "extra": [f"extra {n}" for n in range(200)]})
    pq.write_table(
        table, path, row_group_size=100, compression="none", use_dictionary=False, write_page_checksum=True,
        column_encoding="PLAIN",
    )  # fmt: skip
    content = bytearray(path.read_bytes())
    at = content.index(b"%s 150" % column.encode())
    content[at] ^= 0x01
    path.write_bytes(content)


def test_a_page_that_fails_its_checksum_is_not_believed(lake, read, ask, tmp_path):
    with_checksums(tmp_path / "x.parquet", "text")
    report = read(tmp_path / "x.parquet")
    assert (report.rows, report.rejected) == (100, 100)
    assert "checksum" in ask("select distinct reason from raw.rejects")[0][0].lower()
    assert_consistent(lake)


def test_a_damaged_column_next_to_the_text_becomes_null(lake, read, ask, tmp_path):
    with_checksums(tmp_path / "x.parquet", "extra")
    report = read(tmp_path / "x.parquet")
    assert (report.rows, report.rejected) == (200, 0)
    assert report.notes == {"column 'extra' cannot be read: it became null": 100}
    assert ask("select count(metadata->>'extra') from raw.occurrences") == [(100,)]
    assert_consistent(lake)


def test_json_columns_of_mds_are_objects(read, ask, tmp_path):
    streaming = pytest.importorskip("streaming")
    with streaming.MDSWriter(out=str(tmp_path / "m"), columns={"text": "str", "meta": "json"}) as writer:
        writer.write({"text": "a", "meta": {"k": [1, {"n": HUGE}]}})
    read(tmp_path / "m")
    assert ask("select metadata->>'$.meta.k[1].n' from raw.occurrences") == [(str(HUGE),)]


TIMES = [
    ("2024-01-02T03:04:05Z", True),
    (1704164645, True),
    ("1704164645", True),
    (1704164645000, True),
    (1704164645.0, True),
    ("Tue, 02 Jan 2024 04:04:05 +0100", True),
    ("20240102030405", True),
    ("2024-01-02 03:04:05 UTC", True),
    ("last week", False),
    (2024, False),
    (True, False),
    (None, None),
]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize(("value", "readable"), TIMES)
def test_times_are_read_or_counted(read, ask, tmp_path, kind, value, readable):
    record = {"text": "x", "created": value}
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist([record]), tmp_path / "x.parquet")
        if value is True:
            return
    else:
        (tmp_path / "x.jsonl").write_text(json.dumps(record))
    report = read(tmp_path / f"x.{kind}")
    expected = "2024-01-02 03:04:05+00" if readable else None
    assert ask("select (published_at at time zone 'UTC')::varchar || '+00' from raw.occurrences") == [(expected,)]
    assert sum(report.notes.values()) == (readable is False)


@given(st.one_of(st.text(max_size=40), st.integers(), st.floats(), st.dates().map(str), st.datetimes().map(str)))
def test_no_value_breaks_the_reading_of_times(value):
    found = timestamp(value)
    assert found is None or found.tzinfo is not None


# Generated records

BIG = st.integers(-(10**40), 10**40)
PLAIN: Any = (
    st.none() | st.booleans() | BIG | st.floats() | st.text(max_size=20) | st.sampled_from(["\ud800", "\0", ""])
)
NAMES = st.sampled_from(["text", "id", "url", "source", "metadata", "date", "created", "license", "x", "", "a.b", "ü"])
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=3), inner, max_size=4)
)
RECORDS = st.dictionaries(NAMES, VALUES, max_size=8) | VALUES
COUNT = 10_000 if os.environ.get("CUVEE_PROVE") else 200


@st.composite
def lines(draw: Any) -> bytes:
    """Draw a line of JSON, some deep, some damaged."""
    record = draw(RECORDS)
    if isinstance(record, dict) and draw(st.booleans()):
        record["text"] = draw(st.text(min_size=1, max_size=30))
    line = json.dumps(record, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 9)) == 0:
        levels = draw(st.integers(200, 1200))
        line = b'{"text": "deep", "d": ' + b'{"a":[' * (levels // 2) + line + b"]}" * (levels // 2) + b"}"
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(line)))
        line = line[:at] + draw(st.binary(max_size=3)) + line[at:]
    return line.replace(b"\n", b" ")


@settings(max_examples=COUNT, suppress_health_check=list(HealthCheck))
@given(lines())
def test_every_generated_record_is_a_document_or_a_reject(line):
    builder = RecordBuilder(Path("x"), "x", IngestOptions())
    add_json(builder, line, 1)
    batch = builder.take()
    assert len(batch.digests) + len(batch.rejects) == bool(line.strip(b" \t\r\n"))
    for metadata in filter(None, batch.occurrences["metadata"].to_pylist()):
        with contextlib.suppress(orjson.JSONDecodeError):  # deeper than orjson reads with what is around it
            orjson.loads(metadata)
        found = json.loads(line, parse_float=str, parse_int=str) if len(line) < 2000 else None
        whole = [each for each in _scalars(found) if isinstance(each, str) and each.lstrip("-").isdecimal()]
        for number in whole:
            if len(number) > 20 and batch.documents["text"][0].as_py() != number:
                columns = batch.occurrences.to_pylist()[0]
                assert number in metadata or number == columns["source_id"] or _is_doubled(line), (number, metadata)


def _is_doubled(line: bytes) -> bool:
    """Tell whether an object names a field twice: the last one counts."""
    doubled = []

    def pairs(found: list[tuple[str, object]]) -> dict[str, object]:
        doubled.append(len({name for name, _ in found}) < len(found))
        return dict(found)

    json.loads(line, object_pairs_hook=pairs)
    return any(doubled)


def _scalars(value: object) -> list[object]:
    found, waiting = [], [value]
    while waiting:
        each = waiting.pop()
        waiting += each.values() if isinstance(each, dict) else each if isinstance(each, list) else []
        found += [] if isinstance(each, dict | list) else [each]
    return found


@pytest.mark.parametrize("seed", range(3 if os.environ.get("CUVEE_PROVE") else 1))
def test_generated_tables_are_documents_or_rejects(lake, read, tmp_path, seed):
    """Columns of every type with random bytes as values, in Parquet and in Arrow files."""
    rng = np.random.default_rng(seed)
    kinds = [
        pa.int64(), pa.uint64(), pa.float16(), pa.float64(), pa.timestamp("s"), pa.timestamp("ns"),
        pa.timestamp("us", "UTC"), pa.date32(), pa.time64("us"), pa.duration("ns"), pa.decimal128(20, 5), pa.bool_(),
        pa.list_(pa.float32()), pa.list_(pa.int16(), 3), pa.map_(pa.string(), pa.float64()), pa.null(),
    ]  # fmt: skip
    for number in range(12):
        rows = int(rng.integers(1, 40))
        columns: dict[str, pa.Array] = {"text": pa.array([f"{seed} {number} {row}" for row in range(rows)])}
        for kind in rng.choice(np.array(kinds, object), 4, replace=False):
            name = str(rng.choice(["date", "id", "url", "license", "source", "metadata", "x", "y"]))
            columns[name] = _random(rng, kind, rows)
        table = pa.table(columns)
        with pa.ipc.new_file(str(tmp_path / f"{number}.arrow"), table.schema) as writer:
            writer.write_table(table)
        report = read(tmp_path / f"{number}.arrow")
        assert (report.rows, report.rejected) == (rows, 0), (table.schema, report.reasons)
    assert_consistent(lake)


def _random(rng: np.random.Generator, kind: pa.DataType, rows: int) -> pa.Array:
    if kind == pa.null():
        return pa.nulls(rows)
    if pa.types.is_boolean(kind):
        return pa.array(rng.integers(0, 2, rows).astype(bool))
    if pa.types.is_decimal(kind):
        return pa.array([decimal.Decimal(int(each)).scaleb(-5) for each in rng.integers(-(2**62), 2**62, rows)], kind)
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(_random(rng, kind.value_type, rows * 3), 3)
    if pa.types.is_list(kind):
        return pa.ListArray.from_arrays(np.arange(rows + 1, dtype=np.int32), _random(rng, kind.value_type, rows))
    if pa.types.is_map(kind):
        keys = pa.array([f"k{row}" for row in range(rows)])
        return pa.MapArray.from_arrays(np.arange(rows + 1, dtype=np.int32), keys, _random(rng, pa.float64(), rows))
    raw = rng.integers(0, 256, rows * 8, dtype=np.uint8)
    return pa.Array.from_buffers(kind, rows, [None, pa.py_buffer(raw.tobytes())])


def test_exact_json_keeps_what_the_fast_way_gives():
    record = {"a": [1, -2.5, "x", None, True, {"b": []}], "ü": {}}
    assert exact_json.dumps(exact_json.loads(orjson.dumps(record))[0]) == orjson.dumps(record)
