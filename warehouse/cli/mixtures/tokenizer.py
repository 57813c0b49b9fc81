"""cuvee tokenizer: train, add and list tokenizers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from warehouse.cli.output import Output, lake_option, open_lake, output_options

if TYPE_CHECKING:
    from warehouse.mixtures.tokenizers import TokenizerRow


@click.group()
def tokenizer() -> None:
    """Train byte-level BPE tokenizers, add those of others, and list them.

    cuvee tokenizer list
    """


@tokenizer.command()
@click.argument("name")
@click.option(
    "--from", "source", required=True, metavar="MODEL|SQL", help="What to train on: a relation with a column doc_id."
)
@click.option("--vocab-size", default=8192, show_default=True, help="Entries at most, bytes included.")
@click.option("--max-characters", default=100_000_000, show_default=True, help="Stop reading at about this many.")
@click.option("--force", is_flag=True, help="Replace a different tokenizer of this name.")
@lake_option
@output_options
def train(
    name: str, source: str, vocab_size: int, max_characters: int, force: bool, lake_dir: Path | None, out: Output
) -> None:
    """Train the tokenizer NAME on documents of the lake. The same documents always give the same tokenizer.

    cuvee tokenizer train demo --from train_documents --vocab-size 8192
    """
    from warehouse.mixtures.tokenizers import TokenizerCorpus
    from warehouse.mixtures.tokenizers import train as train_tokenizer

    lake = open_lake(lake_dir)
    with out.progress("read", unit="characters") as progress:
        corpus = TokenizerCorpus(source, max_characters)
        trained, new = train_tokenizer(lake, name, corpus, vocab_size, force=force, progress=progress.advance)
    _show(trained, new, f"trained, from {trained.documents:,} documents", out)


@tokenizer.command()
@click.argument("name")
@click.argument("place", metavar="FOLDER|FILE|MODEL")
@click.option("--end-of-text", metavar="TOKEN", help="What ends a document  [default: the folder's eos_token]")
@click.option("--force", is_flag=True, help="Replace a different tokenizer of this name.")
@lake_option
@output_options
def add(name: str, place: str, end_of_text: str | None, force: bool, lake_dir: Path | None, out: Output) -> None:
    """Add the tokenizer.json of a folder, or of a model of the Hugging Face hub, as the tokenizer NAME.

    cuvee tokenizer add ettin models/ettin-decoder-17m
    """
    from warehouse.mixtures.tokenizers import add as add_tokenizer

    added, new = add_tokenizer(open_lake(lake_dir), name, place, end_of_text=end_of_text, force=force)
    _show(added, new, added.trained_on, out)


def _show(row: TokenizerRow, new: bool, origin: str, out: Output) -> None:
    if out.as_json:
        out.json(
            {
                "name": row.name,
                "fingerprint": row.fingerprint,
                "vocab_size": row.vocab_size,
                "documents": row.documents,
                "new": new,
            }
        )
    else:
        what = origin if new else "unchanged"
        out.text(f"{row.name}: {row.vocab_size:,} entries, {what}, fingerprint {row.fingerprint}")


@tokenizer.command("list")
@lake_option
@output_options
def list_(lake_dir: Path | None, out: Output) -> None:
    """Show the lake's tokenizers.

    cuvee tokenizer list --json
    """
    from warehouse.mixtures.tokenizers import tokenizers

    rows = [
        (row.name, row.vocab_size, row.documents, row.trained_on, f"{row.trained_at:%Y-%m-%d %H:%M}", row.fingerprint)
        for row in tokenizers(open_lake(lake_dir))
    ]
    out.rows(("name", "vocab_size", "documents", "trained_on", "trained_at", "fingerprint"), rows)
