"""The final table as a picture: what each arm did to each held-out component, with its spread over the seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.recipe.recipe import Recipe

FILE = "comparison.svg"


def draw(recipe: Recipe, columns: Sequence[str], rows: Sequence[Sequence[Any]], folder: Path) -> Path:
    """Draw the differences from the control that ``results.table`` found, as an SVG in ``folder``.

    A panel per component; a place per window and learning rate, a colour per arm. Bars reach half a spread to both
    sides. matplotlib comes with mosaicml-streaming.
    """
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = recipe.name  # the same table gives the same file
    from matplotlib import pyplot

    table = [dict(zip(columns, row, strict=True)) for row in rows]
    components = list(dict.fromkeys(row["component"] for row in table))
    arms = [name.removesuffix(f" - {recipe.control}") for name in columns if name.endswith(f" - {recipe.control}")]
    figure, axes = pyplot.subplots(1, len(components), figsize=(3.2 * len(components) + 1, 3.4), squeeze=False)
    for axis, component in zip(axes[0], components, strict=True):
        places = [row for row in table if row["component"] == component]
        for number, arm in enumerate(arms):
            found = [
                (place + (number - (len(arms) - 1) / 2) * 0.12, row)
                for place, row in enumerate(places)
                if row[f"{arm} - {recipe.control}"] is not None
            ]
            axis.errorbar(
                [place for place, _ in found],
                [row[f"{arm} - {recipe.control}"] for _, row in found],
                [row[f"spread {arm}"] / 2 for _, row in found],
                fmt="o",
                capsize=3,
                label=arm,
            )
        axis.axhline(0, color="grey", linewidth=0.8)
        axis.set_xticks(range(len(places)), [_place(row) for row in places])
        axis.set_xlim(-0.5, len(places) - 0.5)
        axis.set_title(component)
    axes[0][0].set_ylabel(f"held-out loss less {recipe.control}'s, nats")
    axes[0][-1].legend(fontsize="small")
    figure.tight_layout()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path


def _place(row: dict[str, Any]) -> str:
    window = f"{100 * row['window']:g}%" if row.get("window") is not None else ""
    rate = f"{row['learning rate']:g}" if row.get("learning rate") is not None else ""
    return "\n".join(part for part in (window, rate) if part) or "anneal"
