"""Arguments and texts that the commands of training share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from warehouse.cli.output import Output

recipe_argument = click.argument("recipe_path", metavar="RECIPE", type=click.Path(path_type=Path))
folder_option = click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for checkpoints and logs  [default: runs/<name of the recipe>]",
)
trust_option = click.option(
    "--trust", is_flag=True, help="Read checkpoints even if they may run code: you trust whoever made them."
)


def show_curve(points: Sequence[tuple[int, float]], highest: float, title: str, out: Output) -> None:
    """Print a learning rate at every tenth of ``points`` (tokens, rate), with bars up to the ``highest`` rate."""
    rows = [(f"{tokens:,}", f"{rate:.3e}", "█" * round(30 * rate / (highest or 1.0))) for tokens, rate in points[::10]]
    out.rows(("tokens", "learning rate", ""), rows, title=title)
