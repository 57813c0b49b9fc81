"""A tiny sweep for the tests of training: a recipe, and small exports as `cuvee export` leaves them.

The exports are written with Streaming's own writer and cited in a lake.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.export.manifest import ExportComponent, Manifest, Stream
from warehouse.lake.lake import Lake


@dataclass(frozen=True, slots=True)
class Part:
    """One component of an export: its sequences, how often all are repeated, and how many get one more copy."""

    sequences: np.ndarray
    repeat: int = 1
    more: int = 0


def write_export(
    lake: Lake,
    folder: Path,
    mixture: str,
    parts: Mapping[str, Part],
    *,
    vocabulary: int,
    tokenizer: str = "t",
    export_id: str | None = None,
) -> Manifest:
    """Write an export with streams ``<component>/all`` and ``<component>/more`` and enter it into the lake.

    Each sample holds one document, ``<component>-<row>``, so that a test can go from samples to rows.
    """
    from streaming import MDSWriter

    streams: list[Stream] = []
    samples: list[tuple[int, str, str]] = []
    length = next(iter(parts.values())).sequences.shape[1]
    for component, part in parts.items():
        for name, repeat, rows in (("all", part.repeat, part.sequences), ("more", 1, part.sequences[: part.more])):
            if not len(rows):
                continue
            target = folder / component / name
            with MDSWriter(
                columns={"input_ids": f"ndarray:uint16:{length}"}, out=str(target), size_limit=1 << 16
            ) as writer:
                for row, tokens in enumerate(rows):
                    samples.append((len(samples), component, f"{component}-{row}"))
                    writer.write({"input_ids": tokens.astype(np.uint16)})
            streams.append(
                Stream(component, f"{component}/{name}", repeat, len(rows), rows.size, len(rows), 0, "unused")
            )
    copies = {component: part.repeat * len(part.sequences) + part.more for component, part in parts.items()}
    manifest = Manifest(
        export_id=export_id or f"{mixture}-export",
        mixture=mixture,
        fingerprint=f"{mixture}-fingerprint",
        snapshot_id=lake.snapshot(),
        format="tokens",
        column="input_ids",
        tokenizer="t",
        tokenizer_fingerprint=tokenizer,
        vocab_size=vocabulary,
        end_of_text=0,
        sequence_length=length,
        seed=17,
        components={
            component: ExportComponent(
                len(part.sequences), copies[component], copies[component] * length, 0.0, copies[component] * length, 0
            )
            for component, part in parts.items()
        },
        streams=tuple(streams),
        sql=None,
        samples_checksum="unused",
        exported_at=datetime.now(UTC).isoformat(),
    )
    manifest.write(folder)
    _enter(lake, folder, manifest, samples)
    return manifest


def _enter(lake: Lake, folder: Path, manifest: Manifest, samples: Sequence[tuple[int, str, str]]) -> None:
    moment = datetime.now(UTC)
    with lake.staging() as staging:
        file = staging.file("exports.samples")
        ids, components, documents = zip(*samples, strict=True)
        table = pa.table(
            {
                "export_id": [manifest.export_id] * len(samples),
                "sample_id": pa.array(ids, pa.int64()),
                "component": list(components),
                "doc_id": list(documents),
                "n_tokens": pa.array([manifest.sequence_length] * len(samples), pa.int64()),
            }
        )
        pq.write_table(table, file)
        with lake.commit("export", author="test") as commit:
            commit.add("exports.samples", [file])
            commit.sql(
                "insert into exports.exports values (?, ?, ?, ?, 'tokens', 't', ?, ?, ?, ?, ?, ?)",
                [
                    manifest.export_id,
                    manifest.mixture,
                    manifest.fingerprint,
                    manifest.snapshot_id,
                    manifest.sequence_length,
                    manifest.samples,
                    manifest.tokens,
                    str(folder.resolve()),
                    manifest.to_json(),
                    moment,
                ],
            )


def language(seed: int, count: int, length: int = 32, vocabulary: int = 64) -> np.ndarray:
    """Sequences of a made-up language (seed % 10) that a tiny model learns in a few batches.

    Each token follows its predecessor by one of two steps that the language allows for it.
    """
    steps = np.random.default_rng(seed % 10).integers(1, vocabulary, size=(vocabulary, 2))
    random = np.random.default_rng(seed)
    tokens = np.empty((count, length), np.int64)
    tokens[:, 0] = random.integers(0, vocabulary, count)
    choices = random.integers(0, 2, (count, length))
    for position in range(1, length):
        before = tokens[:, position - 1]
        tokens[:, position] = (before + steps[before, choices[:, position]]) % vocabulary
    return tokens


RECIPE = """\
name: tiny
model: {layers: 2, hidden: 64, intermediate: 64, heads: 1, sliding_window: 8}
trunk: {mixture: baseline, tokens: 8192, warmup: 1024, learning_rate: 3e-3}
anneal: {tokens: 8192, schedule: linear}
arms: {control: baseline, upsampled: upsampled}
control: control
seeds: [1, 2]
evaluation: {mixture: held_out}
batch_tokens: 512
microbatch: 8
checkpoints: {every: 2048}
"""


def write_exports(lake: Lake, folder: Path) -> None:
    """Exports of three mixtures of two languages: `common`, and `rare`, which `upsampled` repeats."""
    common, rare = language(1, 150), language(2, 30)
    write_export(lake, folder / "baseline", "baseline", {"common": Part(common), "rare": Part(rare)}, vocabulary=64)
    upsampled = {"common": Part(common[:60]), "rare": Part(rare, repeat=3, more=10)}
    write_export(lake, folder / "upsampled", "upsampled", upsampled, vocabulary=64)
    held_out = {"common": Part(language(11, 24)), "rare": Part(language(12, 24))}
    write_export(lake, folder / "held_out", "held_out", held_out, vocabulary=64)
