"""manifest.json reads back as written, and says what is wrong where something is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from udfs.errors import UsageError
from warehouse.export.manifest import ExportComponent, Manifest, ManifestError, Stream

STREAM = Stream("code", "code/all", repeat=2, samples=5, tokens=40, documents=3, dropped_tokens=1, checksum="00")
MANIFEST = Manifest(
    export_id="e",
    mixture="blend",
    fingerprint="f",
    snapshot_id=7,
    format="tokens",
    column="input_ids",
    tokenizer="demo",
    tokenizer_fingerprint="t",
    vocab_size=400,
    end_of_text=0,
    sequence_length=8,
    seed=17,
    components={"code": ExportComponent(3, 7, 90, 1.0, 100, 3)},
    streams=(STREAM, replace(STREAM, path="code/more", repeat=1, samples=2, tokens=16)),
    sql=None,
    samples_checksum="11",
    exported_at="2026-01-01T00:00:00+00:00",
)


def test_reads_back_what_was_written(tmp_path: Path) -> None:
    MANIFEST.write(tmp_path)
    assert Manifest.read(tmp_path) == MANIFEST


def test_totals_count_repeats() -> None:
    assert (MANIFEST.samples, MANIFEST.tokens) == (12, 96)


@pytest.mark.parametrize("canonical", [1, 2, 8])
@pytest.mark.parametrize(("nodes", "ranks"), [(1, 1), (1, 2), (1, 8), (2, 3), (8, 4)])
@pytest.mark.parametrize("samples", [97, 500, 1001])
def test_padding_is_what_streaming_does(samples: int, nodes: int, ranks: int, canonical: int) -> None:
    from streaming.base.partition import get_partitions

    manifest = replace(MANIFEST, streams=(replace(STREAM, repeat=1, samples=samples),), num_canonical_nodes=canonical)
    for algorithm in ("orig", "relaxed"):
        for workers, batch in ((1, 1), (2, 4)):
            ids = get_partitions(algorithm, samples, canonical, nodes, ranks, workers, batch)
            assert (ids >= 0).sum() - samples == manifest.padding(nodes, ranks)
    with pytest.raises(UsageError, match="3 nodes and 2 canonical nodes"):
        replace(manifest, num_canonical_nodes=2).padding(nodes=3)


def test_manifests_of_before_are_read() -> None:
    content = json.loads(MANIFEST.to_json())
    for name in ("packing", "bos", "boundaries", "num_canonical_nodes"):
        del content[name]
    for stream in content["streams"]:
        del stream["units"]
    assert Manifest.parse(content) == MANIFEST


def test_a_later_field_is_skipped_and_a_later_layout_refused() -> None:
    content = json.loads(MANIFEST.to_json())
    assert Manifest.parse({**content, "colour": "red"}) == MANIFEST
    with pytest.raises(ManifestError, match="newer Cuvée"):
        Manifest.parse({**content, "version": 2})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": "17"}, "manifest.seed must be int"),
        ({"seed": True}, "manifest.seed must be int"),
        ({"streams": {}}, "manifest.streams must be a list"),
        ({"streams": []}, "no streams"),
        ({"components": {"code": {"documents": 1}}}, "manifest.components.code lacks copies, tokens"),
        ({"components": {}}, "component 'code', which the manifest does not have"),
    ],
)
def test_wrong_fields_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        Manifest.parse({**json.loads(MANIFEST.to_json()), **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "../elsewhere"}, "leaves the export"),
        ({"path": "/tmp"}, "leaves the export"),
        ({"repeat": 0}, "repeat 0"),
        ({"samples": None}, r"streams\[0\].samples must be int, not null"),
    ],
)
def test_wrong_streams_are_refused(change: dict[str, Any], message: str) -> None:
    content = json.loads(MANIFEST.to_json())
    content["streams"][0].update(change)
    with pytest.raises(ManifestError, match=message):
        Manifest.parse(content)


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not an export"):
        Manifest.read(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ManifestError, match=r"manifest\.json: not valid JSON"):
        Manifest.read(tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(ManifestError, match="must be an object"):
        Manifest.read(tmp_path)
