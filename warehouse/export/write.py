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

from udfs.errors import CuveeError, UsageError
from warehouse.export import manifest as manifests
from warehouse.export.assemble import Identity, assemble, streams_yaml, written_out
from warehouse.export.destinations import Place, place_of
from warehouse.export.encode import write_units
from warehouse.export.manifest import Manifest
from warehouse.export.packing import Packing, Text
from warehouse.export.plan import Plan, make_plan
from warehouse.export.store import Options, ShardStore
from warehouse.lake.lake import Commit, Lake
from warehouse.mixtures.mixture import Level, Mixture, freeze


@dataclass(frozen=True, slots=True)
class Request:
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
    options: Options = field(default_factory=Options)
    labels: tuple[str, ...] = ()
    copies: bool = False


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export did. ``written`` of its ``units`` were new to the store; ``changed`` is False if all was there.

    ``streams`` is the block of a recipe.
    """

    manifest: Manifest
    place: Place
    changed: bool
    units: int
    written: int

    @property
    def folder(self) -> Path:
        """Where it is, if that is a folder."""
        return Path(str(self.place))

    @property
    def streams(self) -> str:
        """The `streams:` block of a recipe."""
        return streams_yaml(self.manifest, self.place)


class Watcher:
    """Is told how an export gets on; the command line shows it. This one keeps silent."""

    def note(self, line: str) -> None:
        """Say something."""

    @contextlib.contextmanager
    def reading(self, documents: int) -> Iterator[Callable[[int], None]]:
        """While documents are read and encoded; the function is told how many more are done."""
        yield lambda count: None


def export(lake: Lake, request: Request, watcher: Watcher | None = None) -> Exported:
    """Export a mixture to MDS.

    Exporting the same thing to the same folder again does nothing. A folder that holds an older export of the same
    mixture is replaced, anything else that is not empty is refused. If the process is killed, the units it finished
    stay in the store, and the next export goes on from there.

    Raises UsageError (unknown mixture, foreign folder), MixtureError, and CuveeError where the disk is too small.
    """
    watcher = watcher or Watcher()
    place = place_of(request.out)
    place.check(request.mixture)
    store = ShardStore(lake.root / "shards")
    with store.lock(lambda: watcher.note("another export is running; waiting for it")), contextlib.ExitStack() as stack:
        cursor = stack.enter_context(contextlib.closing(lake.reader()))
        cursor.execute("set memory_limit = '1GB'")
        cursor.execute("begin transaction")
        mixture = freeze(cursor, request.mixture, request.seed, request.labels)
        packing = request.packing
        if isinstance(packing, Text):
            packing = replace(packing, labels=mixture.labels)
        plan = make_plan(cursor, mixture, packing, request.options, store, request.seed)
        levels = written_out(mixture.levels) if request.copies else mixture.levels
        export_id = _export_id(mixture, packing, request.seed, levels, plan)
        identity = Identity(export_id, levels, request.tokenizer, request.seed)
        units = {part.key for part in plan.parts}
        if present := place.present(export_id):
            changed = _register(lake, present, place)
            return Exported(present, place, changed, len(units), 0)
        finished = dict(plan.done)
        times = {part: part.level.repeat if request.copies else 1 for part in plan.parts}
        place.check_room(lake.root, sum(part.bytes * count for part, count in times.items()))
        staging = stack.enter_context(lake.staging())
        if plan.missing:
            _check_disk(lake.root, sum(part.bytes for part in plan.missing.values()))
            with watcher.reading(sum(part.documents for part in plan.missing.values())) as advance:
                finished = write_units(cursor, plan, packing, request.options, store, staging.folder, advance)
        draft = stack.enter_context(place.draft(staging.folder))
        manifest = assemble(mixture, packing, plan, finished, identity, draft, place)
        place.publish(draft)
        _register(lake, manifest, place)
        return Exported(manifest, place, True, len(units), len(plan.missing))


def _export_id(mixture: Mixture, packing: Packing, seed: int, levels: tuple[Level, ...], plan: Plan) -> str:
    """Everything that decides what a reader of the export sees."""
    streams = [[level.path, level.repeat] for level in levels]
    keys = [part.key for part in plan.parts]
    identity = [mixture.name, mixture.fingerprint, packing.identity, seed, streams, keys]
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def _check_disk(folder: Path, size: int) -> None:
    """Room for the shards, and as much again for what is spilled before they are written."""
    needed = 2 * size + (64 << 20)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CuveeError(
            f"{folder} has {free >> 20:,} MiB free; this export may need {needed >> 20:,} MiB while it runs",
            hint="free some space (cuvee export gc removes shards that no export uses), or export less",
        )


def _register(lake: Lake, manifest: Manifest, place: Place) -> bool:
    """Tell the lake of an export and pin the snapshot it read, in one commit. False if that is already its last word.

    The newest row of a mixture is the one that training takes, so an export that replaces a newer one gets a new row.
    """
    last = (
        lake.cursor()
        .execute(
            "select export_id, path from exports.exports where mixture = ? order by exported_at desc limit 1",
            [manifest.mixture],
        )
        .fetchone()
    )
    if last == (manifest.export_id, str(place)):
        return False
    holder = f"export {manifest.mixture} {manifest.export_id[:8]}"
    extra = {"export_id": manifest.export_id}
    with lake.staging() as staging:
        files = []
        known = lake.cursor().execute("select 1 from exports.samples where export_id = ? limit 1", [manifest.export_id])
        if not known.fetchone():
            files.append(staging.file("exports.samples"))
            with place.reading() as reader:
                _write_rows(reader.get(reader.folder / manifests.SAMPLES), manifest.export_id, files[0])
        with lake.commit(f"export {manifest.mixture}", author="cuvee export", extra=extra) as commit:
            commit.add("exports.samples", files)
            _add_row(commit, manifest, place)
            pinned = "select 1 from cuvee.pins where snapshot_id = ? and holder = ?"
            if not commit.sql(pinned, [manifest.snapshot_id, holder]).fetchone():
                commit.pin(holder, manifest.snapshot_id)
    return True


def _add_row(commit: Commit, manifest: Manifest, place: Place) -> None:
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
        str(place),
        json.dumps(asdict(manifest), ensure_ascii=False),
        datetime.now(UTC),
    ]
    commit.sql(f"insert into exports.exports values ({', '.join('?' * len(row))})", row)


def units_in_use(lake: Lake) -> set[str]:
    """The units that manifests name of exports that the lake knows of and that are still where it says.

    An export at a URL that cannot be reached counts as being there.
    """
    used: set[str] = set()
    for path, export_id, text in (
        lake.cursor().execute("select path, export_id, manifest from exports.exports").fetchall()
    ):
        try:
            if place_of(path).manifest().export_id != export_id:
                continue
        except UsageError:
            continue
        except CuveeError:
            pass
        used.update(unit for stream in json.loads(text)["streams"] for unit in stream.get("units", ()))
    return used


def _write_rows(samples: Path, export_id: str, target: Path) -> None:
    """The rows of exports.samples: those of samples.parquet with the export's id in place of the stream."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = pq.ParquetFile(samples)
    text, number = pa.string(), pa.int64()
    schema = pa.schema(
        [("export_id", text), ("sample_id", number), ("component", text), ("doc_id", text), ("n_tokens", number)]
    )
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for batch in source.iter_batches(1 << 16):
            named = dict(zip(batch.schema.names, batch.columns, strict=True))
            named["export_id"] = pa.repeat(pa.scalar(export_id, text), batch.num_rows)
            writer.write_batch(pa.record_batch([named[name] for name in schema.names], schema=schema))
