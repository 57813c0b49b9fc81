"""An export's files: units' shards linked in order, indexes, which sample holds which documents, and the manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from udfs.errors import CuveeError
from warehouse.export import manifest as manifests
from warehouse.export.destinations import Destination
from warehouse.export.manifest import ExportComponent, Manifest, Stream
from warehouse.export.packing import Packing, TokenSequences
from warehouse.export.plan import ExportPlan
from warehouse.export.store import DOCUMENTS, ShardUnit, link, stored
from warehouse.mds.index import merge_indexes
from warehouse.mixtures.mixture import Level, Mixture


@dataclass(frozen=True, slots=True)
class ExportIdentity:
    """The id of an export and what it depends on. ``levels`` become its streams."""

    export_id: str
    levels: tuple[Level, ...]
    tokenizer: str | None
    seed: int


def written_out(levels: tuple[Level, ...]) -> tuple[Level, ...]:
    """Write each level that repeats as several levels that do not, each in a folder of its own."""
    return tuple(
        replace(level, path=level.path if copy == 1 else f"{level.path}-copy-{copy}", repeat=1)
        for level in levels
        for copy in range(1, level.repeat + 1)
    )


def assemble(
    mixture: Mixture,
    plan: ExportPlan,
    units: Mapping[str, ShardUnit],
    identity: ExportIdentity,
    draft: Path,
    destination: Destination,
) -> Manifest:
    """Build the export in the empty folder ``draft``; ``destination`` is where it is going to be read.

    Raises CuveeError if the mixture does not fill a single sequence.
    """
    by_copies = {level: [units[task.key] for task in plan.tasks if task.level == level] for level in mixture.levels}
    members = {
        level: found
        for level in identity.levels
        for of, found in by_copies.items()
        if (of.component, of.copies) == (level.component, level.copies)
    }
    streams = [_link_stream(draft, level, found) for level, found in members.items()]
    _write_samples(draft / manifests.SAMPLES, members)
    manifest = _manifest(mixture, plan.packing, identity, streams, manifests.checksum(draft / manifests.SAMPLES))
    for folder in {draft / Path(stream.path).parts[0] for stream in manifest.streams} | {draft}:
        merge_indexes(folder)
    (draft / manifests.STREAMS).write_text(streams_yaml(manifest, destination), encoding="utf-8")
    manifest.write(draft)
    return manifest


def streams_yaml(manifest: Manifest, destination: Destination) -> str:
    """Return the `streams:` block of a recipe. ``repeat`` is a whole number, so Streaming chooses nothing at random."""
    streams = {
        stream.path.replace("/", "-"): {**destination.stream(stream.path), "repeat": stream.repeat}
        for stream in manifest.streams
    }
    block = {"streams": streams, "num_canonical_nodes": manifest.num_canonical_nodes}
    return yaml.safe_dump(block, sort_keys=False, allow_unicode=True)


def _link_stream(draft: Path, level: Level, units: list[ShardUnit]) -> Stream:
    """Make one MDS folder over the shards of its units, each named by its checksum.

    So no shard is ever replaced by another of the same name, which Streaming's local copies would not notice.
    Streaming cannot open a dataset without samples, so a stream whose documents fill no sequence gets no folder; it is
    only counted.
    """
    entries: list[dict[str, Any]] = []
    folder = draft / level.path
    for unit in units:
        for entry in unit.shards():
            folder.mkdir(parents=True, exist_ok=True)
            source = unit.file(entry)
            name = f"shard.{stored(entry)['hashes']['sha256'][:16]}.mds"
            for key in ("raw_data", "zip_data"):
                if entry[key]:
                    ending = entry[key]["basename"].partition(".mds")[2]
                    entry[key] = {**entry[key], "basename": name + ending}
            link(source, folder / stored(entry)["basename"])
            entries.append(entry)
    index = folder / "index.json"
    if entries:
        index.write_text(json.dumps({"shards": entries, "version": 2}, sort_keys=True))
    return Stream(
        component=level.component,
        path=level.path,
        repeat=level.repeat,
        samples=sum(unit.samples for unit in units),
        tokens=sum(unit.tokens for unit in units),
        documents=sum(unit.documents for unit in units),
        dropped_tokens=sum(unit.dropped_tokens for unit in units),
        checksum=manifests.checksum(index) if entries else "",
        units=tuple(unit.key for unit in units),
    )


def _write_samples(path: Path, members: Mapping[Level, list[ShardUnit]]) -> None:
    """Write a row per document in a sample. Samples count over the streams, each once, in the manifest's order."""
    first, text, number = 0, pa.string(), pa.int64()
    schema = pa.schema(
        [("sample_id", number), ("component", text), ("stream", text), ("doc_id", text), ("n_tokens", number)]
    )
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for level, units in members.items():
            for unit in units:
                held = pq.ParquetFile(unit.folder / DOCUMENTS).read()
                rows = held.num_rows
                columns = [
                    pa.array(held["sample"].to_numpy() + first),
                    pa.repeat(level.component, rows),
                    pa.repeat(level.path, rows),
                    held["doc_id"],
                    held["n_tokens"],
                ]
                writer.write_table(pa.table(columns, schema.names).cast(schema))
                first += unit.samples


def _manifest(
    mixture: Mixture, packing: Packing, identity: ExportIdentity, streams: list[Stream], samples_checksum: str
) -> Manifest:
    whole = sum(amount.tokens for amount in mixture.components.values())
    components = {}
    for name, amount in mixture.components.items():
        own = [stream for stream in streams if stream.component == name]
        components[name] = ExportComponent(
            documents=amount.documents,
            copies=amount.copies,
            tokens=amount.tokens,
            share=amount.tokens / whole if whole else 0.0,
            exported_tokens=sum(stream.tokens * stream.repeat for stream in own),
            dropped_tokens=sum(stream.dropped_tokens * stream.repeat for stream in own),
            max_epochs=amount.max_epochs,
        )
    tokens = packing if isinstance(packing, TokenSequences) else None
    filled = tuple(stream for stream in streams if stream.samples)
    if not filled:
        length = tokens.sequence_length if tokens else 0
        raise CuveeError(
            f"no component of {mixture.name} fills one sequence of {length:,} tokens", hint="choose a smaller length"
        )
    return Manifest(
        export_id=identity.export_id,
        mixture=mixture.name,
        fingerprint=mixture.fingerprint,
        snapshot_id=mixture.snapshot_id,
        format="tokens" if tokens else "text",
        column=tokens.column if tokens else "text",
        tokenizer=identity.tokenizer,
        tokenizer_fingerprint=tokens.tokenizer.fingerprint if tokens else None,
        vocab_size=tokens.tokenizer.vocab_size if tokens else None,
        end_of_text=tokens.eos if tokens else None,
        sequence_length=tokens.sequence_length if tokens else None,
        seed=identity.seed,
        components=components,
        streams=filled,
        sql=mixture.sql,
        samples_checksum=samples_checksum,
        exported_at=datetime.now(UTC).isoformat(timespec="seconds"),
        packing=tokens.method if tokens else "documents",
        bos=tokens.bos if tokens else None,
        boundaries=tokens.boundaries if tokens else "samples",
    )
