"""MDS that cannot be read or written: damage is told with shard and sample, and what does not fit is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from udfs.errors import UsageError
from warehouse.mds.index import MDSError, MDSIndex, find_folders
from warehouse.mds.reader import read_folder
from warehouse.mds.writer import ShardWriter


@pytest.fixture
def healthy(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    with ShardWriter(folder, {"text": "str", "meta": "json", "n": "int"}, size_limit=2000, hashes=["sha1"]) as writer:
        writer.write(
            pa.record_batch(
                {"text": [f"text {n} " + "é" * n for n in range(60)], "meta": ['{"a": 1}'] * 60, "n": range(60)}
            )
        )
    assert len(MDSIndex.read(folder).shards) > 2
    return folder


def rehash(folder: Path) -> None:
    """Make the index fit the shards again, hashes left out, so that only the damage inside is left to find."""
    index = json.loads((folder / "index.json").read_text())
    for shard in index["shards"]:
        path = folder / shard["raw_data"]["basename"]
        shard["raw_data"].update(bytes=path.stat().st_size, hashes={})
    (folder / "index.json").write_text(json.dumps(index))


def read_error(folder: Path, **options: Any) -> MDSError:
    with pytest.raises(MDSError) as caught:
        list(read_folder(folder, **options))
    return caught.value


def test_a_flipped_bit_is_found_by_the_hash(healthy: Path) -> None:
    shard = healthy / "shard.00001.mds"
    data = bytearray(shard.read_bytes())
    data[-3] ^= 1
    shard.write_bytes(data)
    error = read_error(healthy)
    assert error.path == shard
    assert "sha1" in error.message
    assert "damaged" in error.message


def test_truncation_and_absence_name_the_shard(healthy: Path) -> None:
    shard = healthy / "shard.00001.mds"
    shard.write_bytes(shard.read_bytes()[:-10])
    assert "truncated" in read_error(healthy).message
    shard.unlink()
    error = read_error(healthy)
    assert error.path == shard
    assert "No such file" in error.message


def test_bad_utf8_and_bad_json_name_the_sample(healthy: Path) -> None:
    shard = healthy / "shard.00000.mds"
    intact = shard.read_bytes()
    shard.write_bytes(intact.replace("text 7 é".encode(), b"text 7 \xff\xfe"))
    rehash(healthy)
    error = read_error(healthy)
    assert (error.path, error.sample) == (shard, 7)
    assert "UTF-8" in error.message
    head, middle, tail = intact.partition(b'{"a": 1}' + (3).to_bytes(8, "little"))
    shard.write_bytes(head + middle.replace(b"}", b"]") + tail)
    error = read_error(healthy)
    assert (error.path, error.sample) == (shard, 3)
    assert "JSON" in error.message


def test_wrong_offsets_and_sizes_name_the_sample(healthy: Path) -> None:
    shard = healthy / "shard.00000.mds"
    rehash(healthy)
    intact = shard.read_bytes()
    data = bytearray(intact)
    data[4 + 4 * 5 : 4 + 4 * 6] = (1 << 30).to_bytes(4, "little")
    shard.write_bytes(data)
    error = read_error(healthy)
    assert (error.path, error.sample) == (shard, 4)
    data = bytearray(intact)
    begin = int.from_bytes(intact[4 + 4 * 2 : 4 + 4 * 3], "little")
    data[begin : begin + 4] = (77).to_bytes(4, "little")
    shard.write_bytes(data)
    error = read_error(healthy)
    assert (error.path, error.sample) == (shard, 2)
    assert "its columns need" in error.message


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 10**6), value=st.integers(0, 255), cut=st.integers(0, 40))
def test_damage_is_an_error_or_harmless_but_never_a_crash(
    healthy: Path, tmp_path_factory: pytest.TempPathFactory, position: int, value: int, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("damaged") / "data"
    shutil.copytree(healthy, folder)
    shard = folder / "shard.00000.mds"
    data = bytearray(shard.read_bytes())
    data[position % len(data)] = value
    shard.write_bytes(data[: len(data) - cut])
    rehash(folder)
    try:
        list(read_folder(folder))
    except MDSError as error:
        assert error.path is not None


@pytest.mark.parametrize("compression", ["zstd", "gz", "bz2", "br", "snappy"])
def test_damaged_compression_names_the_shard(tmp_path: Path, compression: str) -> None:
    with ShardWriter(tmp_path / "out", {"text": "str"}, compression=compression) as writer:
        writer.write(pa.record_batch({"text": ["", "naïve 東京", "x" * 5000]}))
    (shard,) = (tmp_path / "out").glob("*.mds.*")
    data = bytearray(shard.read_bytes())
    data[: len(data) // 2] = bytes(len(data) // 2)
    shard.write_bytes(data)
    assert read_error(tmp_path / "out").path == shard


def test_indexes_that_cannot_be_used_say_why(healthy: Path) -> None:
    index = healthy / "index.json"
    good = json.loads(index.read_text())

    def broken(**changes: Any) -> str:
        index.write_text(json.dumps({**good, "shards": [{**good["shards"][0], **changes}]}))
        return str(read_error(healthy))

    assert "version 3" in broken(version=3)
    assert "'csv'" in broken(format="csv")
    assert "pkl is refused" in broken(column_encodings=["pkl", "int", "str"])
    assert "ndarray:complex64" in broken(column_encodings=["ndarray:complex64", "int", "str"])
    assert "outside" in broken(raw_data={**good["shards"][0]["raw_data"], "basename": "../secret"})
    assert "samples" in broken(samples=7)
    index.write_text("{")
    assert "cannot read the index" in str(read_error(healthy))
    assert find_folders(healthy) == [healthy]


# Refusals when writing


@pytest.mark.parametrize(
    ("encoding", "column", "message"),
    [
        ("str", pa.array(["a", None]), "sample 1: column 'x' is NULL"),
        ("str", pa.array([1, 2]), "type int64"),
        ("ndarray:uint16:2", pa.array([[1, 2]], pa.list_(pa.int64(), 2)), "holds int64"),
        ("ndarray:uint16:2", pa.array([[1, 2], [1]], pa.list_(pa.uint16())), "sample 1: column 'x': shape (1,)"),
        ("ndarray:uint16", pa.array([[1], []], pa.list_(pa.uint16())), "sample 1: column 'x': an empty array"),
        ("ndarray:uint16", pa.array([[1, None]], pa.list_(pa.uint16())), "NULL inside"),
        ("int", pa.array([b"12345678", b"1234567"]), "sample 1: column 'x': 7 bytes"),
    ],
)
def test_values_that_do_not_fit_are_refused(tmp_path: Path, encoding: str, column: pa.Array, message: str) -> None:
    with ShardWriter(tmp_path / "out", {"x": encoding}) as writer:
        with pytest.raises(MDSError) as caught:
            writer.write(pa.record_batch({"x": column}))
        assert message in str(caught.value)


def test_options_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    for options, message in [
        ({"compression": "zst"}, "did you mean zstd"),
        ({"compression": "zstd:99"}, "levels of zstd"),
        ({"hashes": ["sha999"]}, "no hash"),
        ({"size_limit": "5gb"}, "less than 4 GiB"),
        ({"size_limit": "many"}, "not a size"),
    ]:
        with pytest.raises(UsageError, match=message):
            ShardWriter(tmp_path / "out", {"x": "str"}, **options)
    with pytest.raises(UsageError, match="no encoding 'string'"):
        ShardWriter(tmp_path / "out", {"x": "string"})
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out" / "file").touch()
    with pytest.raises(UsageError, match="not empty"):
        ShardWriter(tmp_path / "out", {"x": "str"})
