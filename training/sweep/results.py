"""What the lake has of a sweep's runs, and the table that compares them, also as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from training.recipe.exports import share
from training.recipe.recipe import Recipe
from training.sweep.sweep import Sweep
from warehouse.lake.lake import Lake

NOT_TOLD_APART = "not told apart"

#: The 97.5th percentile of Student's t with 1, 2, … degrees of freedom. More seeds than these take the last one, which
#: is 4 % more than the limit, 1.960.
_T_95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131),
    *(2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


def finished(lake: Lake, run_ids: Sequence[str]) -> set[str]:
    """Return those of the runs that are in the lake."""
    rows = lake.reader().execute("select run_id from runs.runs where run_id in (select unnest(?))", [list(run_ids)])
    return {row[0] for row in rows.fetchall()}


def losses(lake: Lake, run_ids: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return the last held-out loss per run and component, in nats per token."""
    rows = lake.reader().execute(
        "select run_id, component, arg_max(value, batch) from runs.metrics"
        " where name = 'held_out/loss' and run_id in (select unnest(?)) group by all order by 1, 2",
        [list(run_ids)],
    )
    found: dict[str, dict[str, float]] = {}
    for run_id, component, value in rows.fetchall():
        found.setdefault(run_id, {})[component] = value
    return found


def table(sweep: Sweep, found: Mapping[str, Mapping[str, float]]) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Return columns and rows of the final table: a row per held-out component, window and learning rate.

    Per arm the component's share in what it reads and its loss, mean over the seeds; for every arm but the control the
    difference from the control, its spread, its interval and a verdict (``compared``), and for an arm without a
    component those from the whole arm, too.
    """
    recipe = sweep.recipe
    if not recipe.variants and recipe.trunk:
        return ["component", "loss trunk"], list(found[sweep.runs[0].run_id].items())
    arms = list(dict.fromkeys(variant.arm for variant in recipe.variants))
    against = _against(recipe, arms)
    columns = [*(["window"] if recipe.windows else []), *(["learning rate"] if recipe.learning_rates else [])]
    columns += ["component", *(f"share {arm}" for arm in arms), *(["loss trunk"] if recipe.trunk else [])]
    columns += [f"loss {arm}" for arm in arms]
    columns += [column for arm, other in against for column in _columns(arm, other, recipe.control)]
    rows: list[tuple[Any, ...]] = []
    for window, rate in dict.fromkeys(variant.group for variant in recipe.variants):
        members = [run for run in sweep.runs if run.variant and run.variant.group == (window, rate)]
        by_arm = {arm: [run for run in members if run.arm == arm] for arm in arms}
        for component in sweep.held_out.components:
            measured = {arm: [found[run.run_id][component] for run in own] for arm, own in by_arm.items()}
            row: list[Any] = [window] if recipe.windows else []
            row += [rate] if recipe.learning_rates else []
            row.append(component)
            row += [round(share(sweep.readings(own[0]), component), 4) if own else None for own in by_arm.values()]
            row += [found[sweep.runs[0].run_id][component]] if recipe.trunk else []
            row += [fmean(values) if values else None for values in measured.values()]
            for arm, other in against:
                # None where the group lacks one of the two
                differences = [ours - theirs for ours, theirs in zip(measured[arm], measured[other], strict=False)]
                row += compared(differences)
            rows.append(tuple(row))
    return columns, rows


def _columns(arm: str, other: str, control: str) -> tuple[str, ...]:
    pair = arm if other == control else f"{arm} - {other}"
    return f"{arm} - {other}", f"spread {pair}", f"interval {pair}", f"verdict {pair}"


def compared(differences: Sequence[float]) -> list[Any]:
    """Return the mean of paired differences, their spread, half of the mean's interval, and a verdict.

    The spread is the largest less the smallest. The interval is Student's t, two-sided, 95 %, over the seeds; None for
    a single seed. The verdict is gained (all of the interval is below zero: a lower loss), lost, or not told apart.

    >>> compared([-0.20, -0.24, -0.22])[3], compared([-0.20, 0.10])[3]
    ('gained', 'not told apart')
    """
    if not differences:
        return [None, None, None, None]
    mean, spread = fmean(differences), max(differences) - min(differences)
    if len(differences) == 1:
        return [mean, spread, None, NOT_TOLD_APART]
    freedom = min(len(differences) - 1, len(_T_95))
    half = _T_95[freedom - 1] * stdev(differences) / len(differences) ** 0.5
    return [mean, spread, half, NOT_TOLD_APART if abs(mean) <= half else "gained" if mean < 0 else "lost"]


def _against(recipe: Recipe, arms: Sequence[str]) -> list[tuple[str, str]]:
    """Return which arm is compared with which: each with the control, and an incomplete one with the complete one."""
    pairs = [(arm, recipe.control) for arm in arms if arm != recipe.control]
    incomplete = dict.fromkeys((one.arm, one.complete) for one in recipe.variants if one.complete)
    return pairs + [(arm, complete) for arm, complete in incomplete if complete != recipe.control]


def draw(recipe: Recipe, columns: Sequence[str], rows: Sequence[Sequence[Any]], folder: Path) -> Path:
    """Draw the differences from the control that ``table`` found, as an SVG in ``folder``.

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
    path = folder / "comparison.svg"
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path


def _place(row: dict[str, Any]) -> str:
    window = f"{100 * row['window']:g}%" if row.get("window") is not None else ""
    rate = f"{row['learning rate']:g}" if row.get("learning rate") is not None else ""
    return "\n".join(part for part in (window, rate) if part) or "anneal"
