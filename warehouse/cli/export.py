"""cuvee export: a mixture to MDS, and what there is to do with exports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from udfs.errors import CuveeError, UsageError
from warehouse.cli.output import Output, lake_option, open_lake, output_options

if TYPE_CHECKING:
    from warehouse.export.packing import Packing
    from warehouse.export.write import Exported, Watcher
    from warehouse.lake import Lake


class _MixtureByDefault(click.Group):
    """``cuvee export baseline`` means ``cuvee export mixture baseline``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["mixture", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_MixtureByDefault)
def export() -> None:
    """Write a mixture to MDS shards for StreamingDataset; verify exports, remove unused shards.

    cuvee export baseline --out exports/baseline --tokenizer demo --sequence-length 1024
    """


@export.command()
@click.argument("name", metavar="MIXTURE")
@click.option("--out", "folder", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Where to.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["tokens", "text"]),
    default="tokens",
    show_default=True,
    help="Packed token sequences, or one text per sample.",
)
@click.option("--tokenizer", metavar="NAME", help="For tokens: a tokenizer of the lake (cuvee tokenizer list).")
@click.option(
    "--sequence-length",
    type=click.IntRange(min=2),
    default=1024,
    show_default=True,
    metavar="N",
    help="For tokens: tokens in a sample.",
)
@click.option("--compression", metavar="NAME[:LEVEL]", help="Of shards: zstd, gz, bz2  [default: none]")
@click.option("--seed", type=int, default=17, show_default=True, help="Orders documents; the mixture's, if it has one.")
@lake_option
@output_options
def mixture(
    name: str,
    folder: Path,
    kind: str,
    tokenizer: str | None,
    sequence_length: int,
    compression: str | None,
    seed: int,
    lake_dir: Path | None,
    out: Output,
) -> None:
    """Write the mixture MIXTURE, a model with doc_id, component, copies and n_tokens, to a folder.

    The folder gets one MDS folder per component and number of copies, a manifest, the streams block of a Composer
    recipe, and the table of which documents each sample holds. Doing it again does nothing.

        cuvee export baseline --out exports/baseline --tokenizer demo --sequence-length 1024
    """
    from warehouse.export.store import Options
    from warehouse.export.write import Request
    from warehouse.export.write import export as export_mixture

    lake = open_lake(lake_dir)
    packing = _packing(lake, kind, tokenizer, sequence_length)
    name_used = tokenizer if kind == "tokens" else None
    request = Request(name, folder, packing, name_used, seed, Options(compression=compression))
    done = export_mixture(lake, request, _watcher(out))
    _report(done, out)


def _packing(lake: Lake, kind: str, tokenizer: str | None, sequence_length: int) -> Packing:
    from warehouse.export.packing import Text, Tokens

    if kind == "text":
        if tokenizer:
            raise UsageError("--tokenizer goes with --format tokens")
        return Text()
    if not tokenizer:
        from warehouse.tokenizers import tokenizers

        known = ", ".join(each.name for each in tokenizers(lake))
        hint = f"the lake has {known}" if known else "train one: cuvee tokenizer train demo --from MODEL"
        raise UsageError("tokens of which tokenizer? say --tokenizer NAME", hint=hint)
    from warehouse.tokenizers import load

    return Tokens(load(lake, tokenizer), sequence_length)


def _report(done: Exported, out: Output) -> None:
    manifest = done.manifest
    if out.as_json:
        out.json(
            {
                "export_id": manifest.export_id,
                "mixture": manifest.mixture,
                "folder": str(done.folder),
                "changed": done.changed,
                "snapshot": manifest.snapshot_id,
                "samples": manifest.samples,
                "tokens": manifest.tokens,
                "units": done.units,
                "written": done.written,
            }
        )
        return
    if not done.changed:
        out.text(f"{done.folder} has this export already: {manifest.samples:,} samples, {manifest.tokens:,} tokens")
        return
    rows = [
        (
            name,
            f"{part.share:.1%}",
            f"{part.exported_tokens:,}",
            f"{part.documents:,}",
            f"{part.copies:,}",
            f"{part.dropped_tokens:,}",
        )
        for name, part in manifest.components.items()
    ]
    out.rows(("component", "share", "tokens", "documents", "copies", "tail dropped"), rows)
    out.text(
        f"{manifest.samples:,} samples, {manifest.tokens:,} tokens in {done.folder}"
        f" (lake snapshot {manifest.snapshot_id}; {done.written} of {done.units} parts were new)"
    )


@export.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@output_options
def verify(folder: Path, out: Output) -> None:
    """Read an export back and compare every hash, sample and token with its manifest; exit 1 if one differs.

    cuvee export verify exports/baseline
    """
    from warehouse.export.manifest import Manifest
    from warehouse.export.verify import verify as verify_export

    total = sum(stream.samples for stream in Manifest.read(folder).streams)
    with out.progress("verify", total, "samples") as progress:
        found = verify_export(folder, progress.advance)
    if out.as_json:
        counts = {"samples": found.samples, "tokens": found.tokens}
        out.json({**counts, "read_by_streaming": found.official, "faults": found.faults})
    else:
        for fault in found.faults:
            out.text(fault)
        reader = (
            "read by Streaming and by Cuvée" if found.official else "read by Cuvée alone: Streaming is not installed"
        )
        out.text(f"{found.samples:,} samples, {found.tokens:,} tokens, {len(found.faults)} faults; {reader}")
    if found.faults:
        raise CuveeError(f"{folder} is not what its manifest says", hint="write it again: cuvee export")


@export.command()
@lake_option
@output_options
def gc(lake_dir: Path | None, out: Output) -> None:
    """Remove shards from the lake's store that no export uses.

    cuvee export gc
    """
    from warehouse.export.store import ShardStore

    store = ShardStore(open_lake(lake_dir).root / "shards")
    with store.lock(lambda: out.note("another export is running; waiting for it")):
        parts, freed = store.collect()
    if out.as_json:
        out.json({"removed": parts, "bytes": freed})
    else:
        out.text(f"{parts:,} unused parts removed, {freed / 1e6:,.1f} MB freed")


def _watcher(out: Output) -> Watcher:
    """Shows an export's progress."""
    from warehouse.export.write import Watcher

    class Shown(Watcher):
        def note(self, line: str) -> None:
            out.note(line)

        @contextmanager
        def reading(self, documents: int) -> Iterator[Callable[[int], None]]:
            with out.progress("export", documents, "documents") as progress:
                yield progress.advance

    return Shown()
