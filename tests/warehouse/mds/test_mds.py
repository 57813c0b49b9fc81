"""MDS: byte for byte what Streaming's MDSWriter writes, and every encoding read back."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.errors import UsageError
from warehouse.mds.encodings import DTYPES
from warehouse.mds.index import MDSError, MDSIndex, find_folders, merge_indexes
from warehouse.mds.reader import read_folder
from warehouse.mds.shared_memory import exclusive_start
from warehouse.mds.writer import ShardWriter

TEXTS = ["", "a", "naïve 東京 \U0001f37e", "x" * 5000, '{"not": "json"}', "line\nline", "\x00"]


def official(folder: Path, columns: dict[str, str], samples: list[dict[str, Any]], **options: Any) -> None:
    from streaming import MDSWriter

    with MDSWriter(columns=columns, out=str(folder), **options) as writer:
        for sample in samples:
            writer.write(sample)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_identical(
    tmp_path: Path,
    columns: dict[str, str],
    samples: list[dict[str, Any]],
    batches: list[pa.RecordBatch],
    **options: Any,
) -> None:
    official(tmp_path / "theirs", columns, samples, **options)
    with ShardWriter(tmp_path / "ours", columns, **options) as writer:
        for batch in batches:
            writer.write(batch)
    theirs, ours = files(tmp_path / "theirs"), files(tmp_path / "ours")
    assert ours.keys() == theirs.keys()
    for name in theirs:
        assert ours[name] == theirs[name], name


def rows(batches: list[pa.RecordBatch]) -> list[dict[str, Any]]:
    return [row for batch in batches for row in batch.to_pylist()]


@pytest.mark.parametrize("size_limit", [None, 1 << 26, 6000, 900])
@pytest.mark.parametrize("batch_size", [1, 3, 1000])
def test_text_is_identical_however_it_is_cut(tmp_path: Path, size_limit: int | None, batch_size: int) -> None:
    samples = [{"id": str(number), "text": TEXTS[number % len(TEXTS)] * (number % 4)} for number in range(100)]
    batches = pa.Table.from_pylist(samples).to_batches(max_chunksize=batch_size)
    columns = {"text": "str", "id": "str"}
    assert_identical(tmp_path, columns, samples, batches, size_limit=size_limit, hashes=["sha1", "xxh64"])


@pytest.mark.parametrize("compression", ["zstd", "zstd:1", "zstd:19", "bz2:3", "br:5", "snappy"])
def test_compressed_shards_are_identical(tmp_path: Path, compression: str) -> None:
    samples = [{"text": TEXTS[number % len(TEXTS)] + str(number)} for number in range(60)]
    batch = pa.RecordBatch.from_pylist(samples)
    assert_identical(
        tmp_path, {"text": "str"}, samples, [batch], compression=compression, size_limit=20_000, hashes=["sha256"]
    )


def test_gzip_differs_by_nothing_but_the_time_in_its_head(tmp_path: Path) -> None:
    samples = [{"text": text} for text in TEXTS]
    official(tmp_path / "theirs", {"text": "str"}, samples, compression="gz:6")
    for name in ("ours", "again"):
        with ShardWriter(tmp_path / name, {"text": "str"}, compression="gz:6") as writer:
            writer.write(pa.RecordBatch.from_pylist(samples))
    theirs, ours = files(tmp_path / "theirs"), files(tmp_path / "ours")
    assert gzip.decompress(ours["shard.00000.mds.gz"]) == gzip.decompress(theirs["shard.00000.mds.gz"])
    assert ours == files(tmp_path / "again")
    assert ours["index.json"] == theirs["index.json"]


@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_every_number_is_identical(tmp_path: Path, dtype: str) -> None:
    if dtype.startswith("float"):
        values = np.array([0, -1.5, 3.25, np.inf, -np.inf, np.nan, 65504], dtype)
    else:
        limits = np.iinfo(dtype)
        values = np.array([limits.min, 0, 1, limits.max], dtype)
    samples = [{"a": value, "b": "x" * row} for row, value in enumerate(values)]
    batch = pa.record_batch({"a": pa.array(values), "b": [sample["b"] for sample in samples]})
    assert_identical(tmp_path, {"a": dtype, "b": "str"}, samples, [batch])
    (read,) = read_folder(tmp_path / "ours")
    assert read["a"].type == pa.from_numpy_dtype(values.dtype)
    np.testing.assert_array_equal(read["a"].to_numpy(zero_copy_only=False), values)


def test_int_takes_any_integer_and_refuses_what_does_not_fit(tmp_path: Path) -> None:
    samples = [{"n": value} for value in (-(1 << 63), 0, (1 << 63) - 1)]
    assert_identical(tmp_path, {"n": "int"}, samples, [pa.RecordBatch.from_pylist(samples)])
    small = pa.record_batch({"n": pa.array([1, 300], pa.int16())})
    with ShardWriter(tmp_path / "wide", {"n": "int"}) as writer:
        writer.write(small)
    with pytest.raises(MDSError, match="'n' as uint8"), ShardWriter(tmp_path / "narrow", {"n": "uint8"}) as writer:
        writer.write(small)


def test_numbers_as_text_are_identical_and_read_back_unrounded(tmp_path: Path) -> None:
    samples = [
        {"i": number, "f": value, "d": Decimal(text)}
        for number, value, text in [(0, 0.1, "1.10"), (-(1 << 60), 1e300, "-0.05"), (7, -2.0, "123456789.12")]
    ]
    batch = pa.record_batch(
        {
            "i": [sample["i"] for sample in samples],
            "f": [sample["f"] for sample in samples],
            "d": pa.array([str(sample["d"]) for sample in samples]),
        }
    )
    assert_identical(tmp_path, {"i": "str_int", "f": "str_float", "d": "str_decimal"}, samples, [batch])
    assert rows(list(read_folder(tmp_path / "ours")))[1] == {"d": "-0.05", "f": "1e+300", "i": str(-(1 << 60))}
    decimals = pa.record_batch({"d": pa.array([Decimal("1.10"), Decimal("-0.05")])})
    with ShardWriter(tmp_path / "decimals", {"d": "str_decimal"}) as writer:
        writer.write(decimals)
    assert [row["d"] for row in rows(list(read_folder(tmp_path / "decimals")))] == ["1.10", "-0.05"]


def test_json_is_identical_from_values_and_from_text(tmp_path: Path) -> None:
    values = [{"a": 1, "b": [1.5, None]}, {"a": 2, "b": []}, {"a": -1, "b": [0.0]}]
    samples = [{"m": value} for value in values]
    assert_identical(tmp_path, {"m": "json"}, samples, [pa.RecordBatch.from_pylist(samples)])
    texts = pa.record_batch({"m": [json.dumps(value) for value in values]})
    with ShardWriter(tmp_path / "texts", {"m": "json"}) as writer:
        writer.write(texts)
    assert files(tmp_path / "texts") == files(tmp_path / "ours")
    assert [json.loads(row["m"]) for row in rows(list(read_folder(tmp_path / "ours")))] == values


@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_fixed_arrays_are_identical(tmp_path: Path, dtype: str) -> None:
    values = np.arange(5 * 2 * 3).astype(dtype).reshape(5, 2, 3)
    flat = values.reshape(5, 6)
    samples = [{"a": flat[row], "b": values[row], "c": row} for row in range(5)]
    two = pa.FixedSizeListArray.from_arrays(pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 3), 2)
    one = pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), 6)
    batch = pa.record_batch({"a": one, "b": two, "c": np.arange(5)})
    columns = {"a": f"ndarray:{dtype}:6", "b": f"ndarray:{dtype}:2,3", "c": "int"}
    assert_identical(tmp_path, columns, samples, [batch.slice(0, 2), batch.slice(2)])
    (read,) = read_folder(tmp_path / "ours")
    assert read["a"].to_pylist() == one.to_pylist()
    assert read["b"].to_pylist() == two.to_pylist()


@pytest.mark.parametrize("encoding", ["ndarray:uint16", "ndarray"])
def test_lists_of_any_length_are_identical(tmp_path: Path, encoding: str) -> None:
    lengths = [1, 255, 256, 3, 65535, 65536, 2]
    samples = [{"t": np.arange(length).astype(np.uint16), "u": f"{length}"} for length in lengths]
    lists = pa.array([sample["t"] for sample in samples], pa.list_(pa.uint16()))
    batch = pa.record_batch({"t": lists, "u": [sample["u"] for sample in samples]})
    assert_identical(tmp_path, {"t": encoding, "u": "str"}, samples, [batch.slice(0, 3), batch.slice(3)])
    (read,) = read_folder(tmp_path / "ours")
    assert read["t"].type == pa.large_list(pa.uint16())
    assert read["t"].to_pylist() == lists.to_pylist()


def test_arrays_of_mixed_shapes_read_as_structs_and_write_back_the_same(tmp_path: Path) -> None:
    samples = [
        {"a": np.arange(6, dtype=np.int32).reshape(2, 3)},
        {"a": np.arange(4, dtype=np.float64)},
        {"a": np.ones((1, 1, 300), np.uint8)},
    ]
    official(tmp_path / "theirs", {"a": "ndarray"}, samples)
    (read,) = read_folder(tmp_path / "theirs")
    first = read["a"][0].as_py()
    assert (first["dtype"], first["shape"]) == ("int32", [2, 3])
    assert first["values"] == samples[0]["a"].tobytes()
    with ShardWriter(tmp_path / "ours", {"a": "ndarray"}) as writer:
        writer.write(read)
    assert files(tmp_path / "ours") == files(tmp_path / "theirs")


@pytest.mark.parametrize(
    "encoding",
    ["pil", "png", "jpeg", "jpeg_array", "jpegarray", "list[pil]", "list[jpeg]", "list[png]", "bytes"],
)
def test_images_and_bytes_are_payloads_as_stored(tmp_path: Path, encoding: str) -> None:
    from PIL import Image

    image = Image.new("RGB", (3, 2), (10, 20, 30))
    value: Any = b"\x00\xff" if encoding == "bytes" else image
    if encoding.startswith("jpeg"):
        image.save(tmp_path / "image.jpeg")
        value = Image.open(tmp_path / "image.jpeg")
    if encoding in ("jpeg_array", "jpegarray"):
        value = [(tmp_path / "image.jpeg").read_bytes()] * 2
    elif encoding.startswith("list"):
        value = [value, value]
    samples = [{"x": value, "n": number} for number in range(3)]
    columns = {"x": encoding, "n": "int"}
    official(tmp_path / "theirs", columns, samples)
    (read,) = read_folder(tmp_path / "theirs")
    assert pa.types.is_large_binary(read["x"].type)
    with ShardWriter(tmp_path / "ours", columns) as writer:
        writer.write(read)
    assert files(tmp_path / "ours") == files(tmp_path / "theirs")


def test_every_encoding_of_streaming_is_known_but_the_unsafe_one() -> None:
    from streaming.base.format.mds.encodings import get_mds_encodings

    from warehouse.mds.encodings import parse

    known = {name for name in get_mds_encodings() if name != "pkl"}
    assert {parse(name).name for name in known} == known
    with pytest.raises(UsageError, match="runs the code"):
        parse("pkl")


def test_reads_what_the_official_writer_wrote(shared_data: Path) -> None:
    root = shared_data / "mds" / "streaming-writer"
    expected = json.loads((root / "expected_order.json").read_text())
    folders = find_folders(root)
    assert [folder.name for folder in folders] == ["text_plain", "text_zstd_sha1_xxh64"]
    for folder in folders:
        found = rows(list(read_folder(folder)))
        assert [{"id": row["id"], "n_chars": row["n_chars"]} for row in found] == expected
        assert all(len(row["text"]) == row["n_chars"] for row in found)


def test_a_first_sample_over_the_limit_makes_no_empty_shard(tmp_path: Path) -> None:
    batch = pa.record_batch({"text": ["x" * 1000, "y"]})
    with ShardWriter(tmp_path / "out", {"text": "str"}, size_limit=600) as writer:
        writer.write(batch)
    assert [shard.samples for shard in MDSIndex.read(tmp_path / "out").shards] == [1, 1]


def test_large_shards_are_read_in_bounded_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [{"text": f"{number} " + "x" * 300} for number in range(100)]
    with ShardWriter(tmp_path / "out", {"text": "str"}, compression="zstd") as writer:
        writer.write(pa.RecordBatch.from_pylist(samples))
    monkeypatch.setattr("warehouse.mds.reader.BATCH", 1000)
    monkeypatch.setattr("warehouse.mds.files.IN_MEMORY", 1000)
    batches = list(read_folder(tmp_path / "out"))
    assert len(batches) > 30
    assert rows(batches) == samples


# Finding folders


def dataset(folder: Path, texts: list[str]) -> None:
    with ShardWriter(folder, {"text": "str"}) as writer:
        writer.write(pa.record_batch({"text": texts}))


def merge(root: Path, folders: list[Path], keep: int = 99) -> None:
    shards = []
    for folder in folders:
        for shard in json.loads((folder / "index.json").read_text())["shards"]:
            path = folder / shard["raw_data"]["basename"]
            parts = path.relative_to(root).parts[-keep:]
            shards.append({**shard, "raw_data": {**shard["raw_data"], "basename": "/".join(parts)}})
    (root / "index.json").write_text(json.dumps({"version": 2, "shards": shards}))


@pytest.mark.parametrize("keep", [99, 2])
def test_merged_indexes_do_not_read_shards_twice(tmp_path: Path, keep: int) -> None:
    """keep=2 is what the official merge writes for nested folders: paths that are wrong."""
    leaves = [tmp_path / "train" / source for source in ("books/0", "books/1", "web/0")]
    for number, leaf in enumerate(leaves):
        dataset(leaf, [f"text {number}"])
    merge(tmp_path / "train", leaves, keep)
    assert find_folders(tmp_path) == leaves
    assert [row["text"] for folder in find_folders(tmp_path) for row in rows(list(read_folder(folder)))] == [
        "text 0",
        "text 1",
        "text 2",
    ]


def test_a_merged_index_without_indexes_below_is_read(tmp_path: Path) -> None:
    leaves = [tmp_path / "a" / "b", tmp_path / "c"]
    for leaf in leaves:
        dataset(leaf, [leaf.name])
    merge(tmp_path, leaves)
    for leaf in leaves:
        (leaf / "index.json").unlink()
    assert find_folders(tmp_path) == [tmp_path]
    assert [row["text"] for row in rows(list(read_folder(tmp_path)))] == ["b", "c"]


def test_nested_folders_merge_where_the_official_merge_loses_them(tmp_path: Path) -> None:
    """Components, each with nested parts: an index per part, per component, and over all."""
    from streaming import StreamingDataset
    from streaming.base.util import merge_index

    leaves = [tmp_path / "train" / part for part in ("books/books_0000", "books/books_0001", "web/a/b/web_0000")]
    for leaf in leaves:
        with ShardWriter(leaf, {"text": "str"}, compression="zstd", hashes=["sha1"]) as writer:
            writer.write(pa.record_batch({"text": [f"{leaf.name} {number}" for number in range(3)]}))
    merge_index([str(leaf / "index.json") for leaf in leaves], str(tmp_path / "train"))
    official = json.loads((tmp_path / "train" / "index.json").read_text())["shards"]
    assert not all((tmp_path / "train" / shard["zip_data"]["basename"]).exists() for shard in official)
    assert merge_indexes(tmp_path / "train" / "books") == 2
    assert merge_indexes(tmp_path / "train") == 3
    assert merge_indexes(tmp_path / "train") == 3, "a merged index is no part of the next"
    expected = [f"{leaf.name} {number}" for leaf in leaves for number in range(3)]
    for folder, texts in ((tmp_path / "train", expected), (tmp_path / "train" / "books", expected[:6])):
        assert [row["text"] for batch in read_folder(folder) for row in batch.to_pylist()] == texts
    with exclusive_start():
        dataset = StreamingDataset(remote=str(tmp_path / "train"), local=str(tmp_path / "local"), batch_size=1)
    assert [dataset[number]["text"] for number in range(len(dataset))] == expected
    assert find_folders(tmp_path / "train") == leaves
    with pytest.raises(UsageError, match="no MDS folders below"):
        merge_indexes(leaves[0])


def test_other_tools_index_files_are_no_mds(tmp_path: Path) -> None:
    for name, content in {"web": '{"pages": []}', "list": "[1]", "broken": "{"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.json").write_text(content)
    assert find_folders(tmp_path) == []


# Round trip

NUMBERS = {
    "int": st.integers(-(1 << 63), (1 << 63) - 1),
    "uint16": st.integers(0, (1 << 16) - 1),
    "int8": st.integers(-128, 127),
    "float32": st.floats(width=32, allow_nan=False),
    "float64": st.floats(allow_nan=False),
}
VALUES: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "str": (pa.large_string(), st.text(st.characters(exclude_categories=("Cs",)))),
    "bytes": (pa.large_binary(), st.binary()),
    "json": (pa.large_string(), st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps)),
    "ndarray:int32": (pa.large_list(pa.int32()), st.lists(st.integers(-9, 9), min_size=1, max_size=300)),
    "ndarray:uint8:3": (pa.list_(pa.uint8(), 3), st.lists(st.integers(0, 255), min_size=3, max_size=3)),
    **{
        name: (pa.from_numpy_dtype(np.dtype("int64" if name == "int" else name)), values)
        for name, values in NUMBERS.items()
    },
}


@settings(max_examples=60)
@given(data=st.data())
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    encodings = data.draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4))
    count = data.draw(st.integers(1, 30))
    columns = {f"c{number}": encoding for number, encoding in enumerate(encodings)}
    arrays = {
        name: pa.array(data.draw(st.lists(VALUES[encoding][1], min_size=count, max_size=count)), VALUES[encoding][0])
        for name, encoding in columns.items()
    }
    batch = pa.record_batch(arrays)
    options = {
        "compression": data.draw(st.sampled_from([None, "zstd", "gz", "snappy"])),
        "size_limit": data.draw(st.sampled_from([None, 500, 5000])),
    }
    cut = data.draw(st.integers(0, count))
    folder = tmp_path_factory.mktemp("mds") / "out"
    with ShardWriter(folder, columns, **options) as writer:
        writer.write(batch.slice(0, cut))
        writer.write(batch.slice(cut))
    assert rows(list(read_folder(folder))) == rows([batch])
