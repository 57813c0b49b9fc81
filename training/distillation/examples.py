"""Examples on disk: packed sequences that StreamingDataset reads, cited in the lake like any export.

    <run>/examples/
        manifest.json          as of an export; its mixture is ``distil:<recipe>``, its format ``examples``
        samples.parquet        sample_id, component, stream, doc_id, n_tokens: a row per document in a sequence
        labelled/              the MDS dataset

A sequence has ``tokens``, the ``lengths`` of the examples in it, one after the other, and their ``targets``, the same
number for each. Examples are whole, so no sequence is quite full.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import warehouse.export.manifest as manifests
from training.distillation.encoding import ExampleEncoder, Packer, Row
from training.distillation.labelled import Labelled
from training.distillation.recipe import Distillation
from training.recipe.exports import Export
from training.recipe.run_folders import whole_folder
from udfs.errors import CuveeError
from warehouse.export.manifest import ExportComponent, Manifest, Stream
from warehouse.lake.lake import Lake

COMPONENT = "labelled"
COLUMNS = {"tokens": "ndarray:int32", "lengths": "ndarray:int32", "targets": "ndarray:int32"}

#: Raised when the same documents, labels and settings are packed into other sequences.
_VERSION = 1

_FLUSH = 1 << 16


def export_id(recipe: Distillation, labelled: Labelled, tokenizer: Path) -> str:
    """Return 32 hex digits over all that decides the sequences. ``tokenizer`` is the student's tokenizer.json."""
    said = [path.read_bytes() for path in (tokenizer.with_name("tokenizer_config.json"),) if path.exists()]
    chat = hashlib.sha256(b"".join([tokenizer.read_bytes(), *said])).hexdigest()
    identity = [
        _VERSION, labelled.fingerprint, recipe.student.kind, recipe.taxonomy, chat, recipe.prompt.system,
        recipe.prompt.user, recipe.characters, recipe.max_tokens, recipe.sequence_length, recipe.seed,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]


def write(
    folder: Path,
    recipe: Distillation,
    labelled: Labelled,
    encoder: ExampleEncoder,
    identity: str,
    advance: Callable[[int], None],
) -> Export:
    """Write the sequences to ``folder``, or find that they are there. ``advance`` counts documents.

    A folder is there as a whole or not at all. Raises CuveeError if there is nothing to learn from.
    """
    if folder.exists():
        return Export(folder, Manifest.read(folder))
    from streaming import MDSWriter

    def sequences() -> Iterator[Row]:
        packer = Packer(recipe.sequence_length)
        for keys, copies, texts, verdicts in labelled.batches():
            for key, times, example in zip(keys, copies, encoder.encode(keys, texts, verdicts), strict=True):
                if example is None:
                    continue
                samples.documents += 1
                yield from filter(None, (packer.add(key, example) for _ in range(times)))
            advance(len(keys))
        yield from packer.rest()

    with whole_folder(folder) as aside:
        aside.mkdir(parents=True)
        target = str(aside / COMPONENT)
        with _Samples(aside / manifests.SAMPLES) as samples, MDSWriter(out=target, columns=COLUMNS) as writer:
            for row in sequences():
                writer.write(_arrays(row))
                samples.add(row)
        if not samples.count:
            raise CuveeError(f"none of the {labelled.documents:,} labelled documents has anything to read in it")
        manifest = _manifest(aside, recipe, labelled, identity, samples)
        manifest.write(aside)
    return Export(folder, manifest)


def _manifest(folder: Path, recipe: Distillation, labelled: Labelled, identity: str, samples: _Samples) -> Manifest:
    component = ExportComponent(
        documents=samples.documents,
        copies=samples.copies,
        tokens=samples.tokens,
        share=1.0,
        exported_tokens=samples.tokens,
        dropped_tokens=0,
    )
    stream = Stream(
        component=COMPONENT,
        path=COMPONENT,
        repeat=1,
        samples=samples.count,
        tokens=samples.tokens,
        documents=samples.documents,
        dropped_tokens=0,
        checksum=manifests.checksum(folder / COMPONENT / "index.json"),
    )
    return Manifest(
        export_id=identity,
        mixture=f"distil:{recipe.name}",
        fingerprint=labelled.fingerprint,
        snapshot_id=labelled.snapshot_id,
        format="examples",
        column="tokens",
        tokenizer=recipe.student.tokenizer,
        tokenizer_fingerprint=None,
        vocab_size=None,
        end_of_text=None,
        sequence_length=recipe.sequence_length,
        seed=recipe.seed,
        components={COMPONENT: component},
        streams=(stream,),
        sql=None,
        samples_checksum=manifests.checksum(folder / manifests.SAMPLES),
        exported_at=datetime.now(UTC).isoformat(),
    )


def _arrays(row: Row) -> dict[str, Any]:
    import numpy as np

    return {
        "tokens": np.array([token for example in row.examples for token in example.tokens], np.int32),
        "lengths": np.array([len(example.tokens) for example in row.examples], np.int32),
        "targets": np.array([target for example in row.examples for target in example.targets], np.int32),
    }


class _Samples:
    """Writes samples.parquet, and counts."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        text, number = pa.string(), pa.int64()
        names = ("sample_id", "component", "stream", "doc_id", "n_tokens")
        self._schema = pa.schema(list(zip(names, (number, text, text, text, number), strict=True)))
        self._writer: Any = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[Mapping[str, Any]] = []
        self.count = self.documents = self.copies = self.tokens = 0

    def __enter__(self) -> _Samples:
        return self

    def __exit__(self, *error: object) -> None:
        self._flush()
        self._writer.close()

    def add(self, row: Row) -> None:
        """Note the documents of the next sequence."""
        for document, example in zip(row.documents, row.examples, strict=True):
            size = len(example.tokens)
            place = {"sample_id": self.count, "component": COMPONENT, "stream": COMPONENT}
            self._rows.append({**place, "doc_id": document, "n_tokens": size})
            self.copies += 1
            self.tokens += size
        self.count += 1
        if len(self._rows) >= _FLUSH:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema))
        self._rows = []


def register(lake: Lake, export: Export) -> None:
    """Tell the lake of the examples, once, and pin the snapshot that they were read from."""
    manifest = export.manifest
    path = str(export.folder.resolve())
    known = lake.reader().execute("select path from exports.exports where export_id = ?", [manifest.export_id])
    paths = [row[0] for row in known.fetchall()]
    if path in paths:
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    with lake.staging() as staging:
        rows = pq.ParquetFile(export.folder / manifests.SAMPLES).read().drop_columns("stream")
        file = staging.file("exports.samples")
        ids = pa.array([manifest.export_id] * rows.num_rows, pa.string())
        pq.write_table(rows.add_column(0, "export_id", ids), file, compression="zstd")
        with lake.commit(f"examples of {manifest.mixture}", author="cuvee distil") as commit:
            commit.add("exports.samples", [] if paths else [file])
            row = [
                manifest.export_id, manifest.mixture, manifest.fingerprint, manifest.snapshot_id, manifest.format,
                manifest.tokenizer, manifest.sequence_length, manifest.samples, manifest.tokens, path,
                manifest.to_json(), datetime.now(UTC),
            ]  # fmt: skip
            commit.sql(f"insert into exports.exports values ({', '.join('?' * len(row))})", row)
            commit.pin(f"export {manifest.mixture} {manifest.export_id[:8]}", manifest.snapshot_id)
