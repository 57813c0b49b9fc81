"""cuvee convert-gguf: a GGUF file as a model folder."""

from __future__ import annotations

from pathlib import Path

import click

from udfs.labels.students.gguf import DTYPES
from warehouse.cli.output import Output, output_options


@click.command("convert-gguf")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", "folder", required=True, type=click.Path(path_type=Path), help="The folder to write; a new one.")
@click.option("--dtype", type=click.Choice(DTYPES), default=DTYPES[0], show_default=True, help="What weights become.")
@output_options
def convert_gguf(file: Path, folder: Path, dtype: str, out: Output) -> None:
    """Write the language model in a GGUF FILE as a folder that labelers can name: weights, tokenizer, chat template.

    cuvee convert-gguf SmolLM2-135M-Instruct.Q4_1.gguf --out models/smollm2
    """
    from udfs.labels.students.gguf import convert

    convert(file, folder, dtype)
    if out.as_json:
        out.json({"folder": str(folder), "dtype": dtype})
    else:
        out.note(f"wrote the model to {folder}")
