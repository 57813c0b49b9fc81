"""An export: freeze the mixture, write the units that are missing, link them into a folder, tell the lake."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from udfs.errors import CuveeError, UsageError
from warehouse.export import manifest as manifests
from warehouse.export.assemble import ExportIdentity, assemble, streams_yaml, written_out
from warehouse.export.destinations import Destination, parse_destination
from warehouse.export.encode import write_units
from warehouse.export.manifest import Manifest
from warehouse.export.packing import Packing, TextSamples
from warehouse.export.plan import ExportPlan, make_plan
from warehouse.export.store import ShardOptions, ShardStore
from warehouse.lake.commit import Commit
from warehouse.lake.lake import Lake
from warehouse.mixtures.mixture import Level, Mixture, freeze


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What is to be exported, how, and to where. ``tokenizer`` is the name under which the lake knows it.

    ``out`` is a folder or a URL. ``seed`` orders documents; with the seed of the mixture, exports that differ in a
    share have most shards in common. ``labels`` are further columns of the mixture for samples of text. ``copies``
    writes documents as often as they are to be seen, instead of telling Streaming to repeat them.
    """

    mixture: str
    out: Path | str
    packing: Packing
    tokenizer: str | None = None
    seed: int = 17
    options: ShardOptions = field(default_factory=ShardOptions)
    labels: tuple[str, ...] = ()
    copies: bool = False


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What an export did. ``written`` of its ``units`` were new to the store; ``changed`` is False if all was there.

    ``streams`` is the block of a recipe.
    """

    manifest: Manifest
    destination: Destination
    changed: bool
    units: int
    written: int

    @property
    def folder(self) -> Path:
        """Where it is, if that is a folder."""
        return Path(str(self.destination))

    @property
    def streams(self) -> str:
        """The `streams:` block of a recipe."""
        return streams_yaml(self.manifest, self.destination)


class ExportCallback:
    """Receives progress events of an export. The base class ignores them."""

    def note(self, line: str) -> None:
        """Receive a line for the user."""

    @contextlib.contextmanager
    def reading(self, documents: int) -> Iterator[Callable[[int], None]]:
        """Receive how many documents will be read. The function that it yields is told how many more are done."""
        yield lambda count: None


def export(lake: Lake, request: ExportRequest, callback: ExportCallback | None = None) -> ExportResult:
    """Export a mixture to MDS.

    Exporting the same thing to the same folder again does nothing. A folder that holds an older export of the same
    mixture is replaced, anything else that is not empty is refused. If the process is killed, the units it finished
    stay in the store, and the next export goes on from there.

    Raises UsageError (unknown mixture, a folder with something else), MixtureError, and CuveeError where the disk is
    too small.
    """
    callback = callback or ExportCallback()
    destination = parse_destination(request.out)
    destination.check(request.mixture)
    store = ShardStore(lake.root / "shards")
    waiting = "another export is running; waiting for it"
    with store.lock(lambda: callback.note(waiting)), contextlib.ExitStack() as stack:
        cursor = stack.enter_context(contextlib.closing(lake.reader()))
        cursor.execute("set memory_limit = '1GB'")
        cursor.execute("begin transaction")
        mixture = freeze(cursor, request.mixture, request.seed, request.labels)
        packing = request.packing
        if isinstance(packing, TextSamples):
            packing = replace(packing, labels=mixture.labels)
        plan = make_plan(cursor, mixture, packing, request.options, store, request.seed)
        levels = written_out(mixture.levels) if request.copies else mixture.levels
        export_id = _export_id(mixture, packing, request.seed, levels, plan)
        identity = ExportIdentity(export_id, levels, request.tokenizer, request.seed)
        units = {task.key for task in plan.tasks}
        if present := destination.present(export_id):
            changed = _register(lake, present, destination)
            return ExportResult(present, destination, changed=changed, units=len(units), written=0)
        finished = dict(plan.done)
        times = {task: task.level.repeat if request.copies else 1 for task in plan.tasks}
        destination.check_free_space(lake.root, sum(task.bytes * count for task, count in times.items()))
        staging = stack.enter_context(lake.staging())
        if plan.missing:
            _check_disk(lake.root, sum(task.bytes for task in plan.missing.values()))
            with callback.reading(sum(task.documents for task in plan.missing.values())) as advance:
                finished = write_units(cursor, plan, store, staging.folder, advance)
        draft = stack.enter_context(destination.draft(staging.folder))
        manifest = assemble(mixture, plan, finished, identity, draft, destination)
        destination.publish(draft)
        _register(lake, manifest, destination)
        return ExportResult(manifest, destination, changed=True, units=len(units), written=len(plan.missing))


def _export_id(mixture: Mixture, packing: Packing, seed: int, levels: tuple[Level, ...], plan: ExportPlan) -> str:
    """Digest everything that decides what a reader of the export sees."""
    streams = [[level.path, level.repeat] for level in levels]
    keys = [task.key for task in plan.tasks]
    identity = [mixture.name, mixture.fingerprint, packing.identity, seed, streams, keys]
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def _check_disk(folder: Path, size: int) -> None:
    """Check that there is room for the shards, and as much again for what is spilled before they are written."""
    needed = 2 * size + (64 << 20)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CuveeError(
            f"{folder} has {free >> 20:,} MiB free; this export may need {needed >> 20:,} MiB while it runs",
            hint="free some space (cuvee export gc removes shards that no export uses), or export less",
        )


def _register(lake: Lake, manifest: Manifest, destination: Destination) -> bool:
    """Record an export in the lake and pin the snapshot it read. Return False if it was the last one already.

    The newest row of a mixture is the one that training takes, so an export that replaces a newer one gets a new row.
    """
    newest = "select export_id, path from exports.exports where mixture = ? order by exported_at desc limit 1"
    last = lake.cursor().execute(newest, [manifest.mixture]).fetchone()
    if last == (manifest.export_id, str(destination)):
        return False
    holder = f"export {manifest.mixture} {manifest.export_id[:8]}"
    extra = {"export_id": manifest.export_id}
    with lake.staging() as staging:
        files = []
        known = lake.cursor().execute("select 1 from exports.samples where export_id = ? limit 1", [manifest.export_id])
        if not known.fetchone():
            files.append(staging.file("exports.samples"))
            with destination.reading() as reader:
                _write_rows(reader.get(reader.folder / manifests.SAMPLES), manifest.export_id, files[0])
        with lake.commit(f"export {manifest.mixture}", author="cuvee export", extra=extra) as commit:
            commit.add("exports.samples", files)
            _add_row(commit, manifest, destination)
            pinned = "select 1 from cuvee.pins where snapshot_id = ? and holder = ?"
            if not commit.sql(pinned, [manifest.snapshot_id, holder]).fetchone():
                commit.pin(holder, manifest.snapshot_id)
    return True


def _add_row(commit: Commit, manifest: Manifest, destination: Destination) -> None:
    row = [
        manifest.export_id,
        manifest.mixture,
        manifest.fingerprint,
        manifest.snapshot_id,
        manifest.format,
        manifest.tokenizer,
        manifest.sequence_length,
        manifest.samples,
        manifest.tokens,
        str(destination),
        json.dumps(asdict(manifest), ensure_ascii=False),
        datetime.now(UTC),
    ]
    commit.sql(f"insert into exports.exports values ({', '.join('?' * len(row))})", row)


def units_in_use(lake: Lake) -> set[str]:
    """Return the units that manifests name, of exports that are still where the lake says.

    An export at a URL that cannot be reached counts as being there.
    """
    used: set[str] = set()
    exports = lake.cursor().execute("select path, export_id, manifest from exports.exports").fetchall()
    for path, export_id, text in exports:
        try:
            if parse_destination(path).manifest().export_id != export_id:
                continue
        except UsageError:
            continue
        except CuveeError:
            pass
        used.update(unit for stream in json.loads(text)["streams"] for unit in stream.get("units", ()))
    return used


def _write_rows(samples: Path, export_id: str, target: Path) -> None:
    """Write the rows of exports.samples: those of samples.parquet with the export's id in place of the stream."""
    text, number = pa.string(), pa.int64()
    schema = pa.schema(
        [("export_id", text), ("sample_id", number), ("component", text), ("doc_id", text), ("n_tokens", number)]
    )
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for batch in pq.ParquetFile(samples).iter_batches(1 << 16):
            named = dict(zip(batch.schema.names, batch.columns, strict=True))
            named["export_id"] = pa.repeat(pa.scalar(export_id, text), batch.num_rows)
            writer.write_batch(pa.record_batch([named[name] for name in schema.names], schema=schema))
