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
    from udfs.tokens.tokenizer import Tokenizer
    from warehouse.export.packing import Method
    from warehouse.export.write import ExportCallback, ExportResult
    from warehouse.lake.lake import Lake


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
@click.option("--out", "destination", required=True, metavar="DIR|URL", help="Where to: a folder, s3://…, gs://…, …")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["tokens", "text"]),
    default="tokens",
    show_default=True,
    help="Packed token sequences, or one text per sample.",
)
@click.option("--label", "labels", multiple=True, metavar="COLUMN", help="For text: a column of the mixture to add.")
@click.option("--tokenizer", metavar="NAME", help="For tokens: a tokenizer of the lake (cuvee tokenizer list).")
@click.option(
    "--sequence-length",
    type=click.IntRange(min=2),
    default=1024,
    show_default=True,
    metavar="N",
    help="For tokens: tokens in a sample, at most.",
)
@click.option(
    "--packing",
    type=click.Choice(["concatenate", "best-fit", "documents"]),
    default="concatenate",
    show_default=True,
    help="For tokens: fill samples; split no document that fits into one; or no two documents in one.",
)
@click.option(
    "--min-length", type=click.IntRange(min=1), default=1, metavar="N", help="Of a document's further chunks."
)
@click.option("--bos", metavar="TOKEN", help="Put before each document  [default: none]")
@click.option("--eos", metavar="TOKEN", help="Put after each document, or 'none'  [default: the end of text]")
@click.option("--column", default="input_ids", show_default=True, metavar="NAME", help="The tokens' column.")
@click.option("--lengths", is_flag=True, help="Add the column lengths: of the documents in each sample.")
@click.option("--copies", is_flag=True, help="Write documents as often as they are seen, instead of repeating streams.")
@click.option("--compression", metavar="NAME[:LEVEL]", help="Of shards: zstd, gz, bz2, br, snappy  [default: none]")
@click.option("--seed", type=int, default=17, show_default=True, help="Orders documents; the mixture's, if it has one.")
@lake_option
@output_options
def mixture(
    name: str,
    destination: str,
    kind: str,
    labels: tuple[str, ...],
    tokenizer: str | None,
    sequence_length: int,
    packing: Method,
    min_length: int,
    bos: str | None,
    eos: str | None,
    column: str,
    lengths: bool,
    copies: bool,
    compression: str | None,
    seed: int,
    lake_dir: Path | None,
    out: Output,
) -> None:
    """Write the mixture MIXTURE, a model with doc_id, component, copies and n_tokens, to a folder or a URL.

    It gets one MDS folder per component and number of copies, indexes over them, a manifest, the streams block of a
    Composer recipe, and the table of which documents each sample holds. Doing it again does nothing.

        cuvee export baseline --out exports/baseline --tokenizer demo --sequence-length 1024
    """
    from warehouse.export.packing import TextSamples, TokenSequences
    from warehouse.export.store import ShardOptions
    from warehouse.export.write import ExportRequest
    from warehouse.export.write import export as export_mixture

    lake = open_lake(lake_dir)
    how: TextSamples | TokenSequences = TextSamples()
    if kind == "text":
        _refuse(tokens={"--tokenizer": tokenizer, "--bos": bos, "--eos": eos, "--lengths": lengths})
    else:
        if labels:
            raise UsageError("--label goes with --format text")
        bpe = _tokenizer(lake, tokenizer)
        end = bpe.end_of_text if eos is None else None if eos == "none" else _token(bpe, eos)
        begin = _token(bpe, bos) if bos else None
        how = TokenSequences(
            bpe,
            sequence_length,
            method=packing,
            column=column,
            bos=begin,
            eos=end,
            lengths=lengths,
            min_length=min_length,
        )
    request = ExportRequest(
        mixture=name,
        out=destination,
        packing=how,
        tokenizer=tokenizer if kind == "tokens" else None,
        seed=seed,
        options=ShardOptions(compression=compression),
        labels=labels,
        copies=copies,
    )
    done = export_mixture(lake, request, export_progress(out))
    _report(done, out)


def _refuse(tokens: dict[str, object]) -> None:
    """Raise UsageError for options of tokens that an export of text was given."""
    for option, value in tokens.items():
        if value:
            raise UsageError(f"{option} goes with --format tokens")


def _tokenizer(lake: Lake, name: str | None) -> Tokenizer:
    from warehouse.mixtures.tokenizers import load, tokenizers

    if not name:
        known = ", ".join(each.name for each in tokenizers(lake))
        hint = f"the lake has {known}" if known else "train one: cuvee tokenizer train demo --from MODEL"
        raise UsageError("missing --tokenizer NAME", hint=hint)
    return load(lake, name)


def _token(tokenizer: Tokenizer, text: str) -> int:
    """Return the id of a token of the vocabulary. Raises UsageError."""
    from tokenizers import Tokenizer as Library

    library = Library.from_file(str(tokenizer.path))
    found: int | None = library.token_to_id(text)
    if found is None:
        special = [token.content for token in library.get_added_tokens_decoder().values()]
        raise UsageError(f"the tokenizer has no token {text!r}", hint=f"its special tokens are {', '.join(special)}")
    return found


def _report(done: ExportResult, out: Output) -> None:
    manifest = done.manifest
    if out.as_json:
        out.json(
            {
                "export_id": manifest.export_id,
                "mixture": manifest.mixture,
                "folder": str(done.destination),
                "changed": done.changed,
                "snapshot": manifest.snapshot_id,
                "samples": manifest.samples,
                "tokens": manifest.tokens,
                "units": done.units,
                "written": done.written,
                "streams": done.streams,
            }
        )
        return
    if not done.changed:
        out.text(
            f"{done.destination} has this export already: {manifest.samples:,} samples, {manifest.tokens:,} tokens"
        )
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
    out.text(done.streams)
    out.text(
        f"{manifest.samples:,} samples, {manifest.tokens:,} tokens in {done.destination}"
        f" (lake snapshot {manifest.snapshot_id}; {done.written} of {done.units} parts were new)"
    )


@export.command()
@click.argument("destination", metavar="DIR|URL")
@output_options
def verify(destination: str, out: Output) -> None:
    """Read an export back and compare every hash, sample and token with its manifest; exit 1 if one differs.

    StreamingDataset reads it too, where it is installed, and must find the same.

    cuvee export verify exports/baseline
    """
    from warehouse.export.destinations import parse_destination
    from warehouse.export.verify import verify as verify_export

    total = sum(stream.samples for stream in parse_destination(destination).manifest().streams)
    with out.progress("verify", total, "samples") as progress:
        found = verify_export(destination, progress.advance)
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
        raise CuveeError(f"{destination} is not what its manifest says", hint="write it again: cuvee export")


@export.command()
@lake_option
@output_options
def gc(lake_dir: Path | None, out: Output) -> None:
    """Remove shards from the lake's store that no export uses: none links them, and no manifest names them.

    cuvee export gc
    """
    from warehouse.export.store import ShardStore
    from warehouse.export.write import units_in_use

    lake = open_lake(lake_dir)
    store = ShardStore(lake.root / "shards")
    with store.lock(lambda: out.note("another export is running; waiting for it")):
        parts, freed = store.collect(units_in_use(lake))
    if out.as_json:
        out.json({"removed": parts, "bytes": freed})
    else:
        out.text(f"{parts:,} unused parts removed, {freed / 1e6:,.1f} MB freed")


def export_progress(out: Output) -> ExportCallback:
    """Make a callback that shows an export's progress."""
    from warehouse.export.write import ExportCallback

    class Shown(ExportCallback):
        def note(self, line: str) -> None:
            out.note(line)

        @contextmanager
        def reading(self, documents: int) -> Iterator[Callable[[int], None]]:
            with out.progress("export", documents, "documents") as progress:
                yield progress.advance

    return Shown()
