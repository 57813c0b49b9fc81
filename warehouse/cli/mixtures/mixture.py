"""cuvee mixture: what a mixture got of what it asked, what one would get, and how two mixtures differ."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from udfs.amounts import parse_count, parse_share
from udfs.errors import UsageError, did_you_mean
from warehouse.cli.output import Amount, Output, lake_option, open_lake, output_options
from warehouse.cli.project_options import ProjectOptions, reading_options

if TYPE_CHECKING:
    import duckdb

#: How many characters wide a share of one is.
_BAR = 20


@click.group()
def mixture() -> None:
    """Show what a mixture has of what it asked; try shares; compare two mixtures.

    Any model with doc_id, component, copies and n_tokens is a mixture.

        cuvee mixture show upsampled
    """


@mixture.command()
@click.argument("name", metavar="MIXTURE")
@lake_option
@output_options
def show(name: str, lake_dir: Path | None, out: Output) -> None:
    """Show a mixture's components: shares asked and got, tokens, epochs, documents, shortfalls.

    What was asked is known of mixtures that the macro mixture made; available is what their pool has now.

        cuvee mixture show upsampled
    """
    from warehouse.mixtures.report import show as shown

    with _reading(lake_dir) as cursor:
        found = shown(cursor, name)
    if out.as_json:
        out.json({**asdict(found), "warnings": found.warnings()})
        return
    columns = (
        "component", "asked", "got", "available", "used", "epochs", "documents", "copies", "shortfall", "cause",
    )  # fmt: skip
    out.rows(
        columns,
        [
            (
                each.component, _share(each.share_asked), _share(each.share_got), _count(each.tokens_available),
                _count(each.tokens), f"{each.epochs:.2f}" if each.epochs is not None else "", _count(each.documents),
                _count(each.copies), _count(each.shortfall or None), each.cause or "",
            )
            for each in found.components
        ],
        title=f"{found.mixture}, snapshot {found.snapshot_id}",
    )  # fmt: skip
    out.text(
        f"{found.tokens:,} tokens in {found.copies:,} copies of {found.documents:,} documents,"
        f" fingerprint {found.fingerprint}"
    )
    for line in found.warnings():
        out.text(f"warning: {line}")
    _show_unused(found.unused, "train_pool", out)
    if found.estimated:
        out.text("tokens are estimated from bytes: no tokenizer is set (dbt_project.yml, vars: tokenizer)")
    if found.problem:
        out.note(found.problem)


@mixture.command(name="try")
@click.argument("shares", nargs=-1, required=True, metavar="COMPONENT=SHARE…")
@click.option(
    "--tokens", type=Amount("number of tokens", parse_count, "300M or 1.5B"), metavar="N",
    help="Tokens in all, e.g. 300M.  [default: no document twice]",
)  # fmt: skip
@click.option(
    "--max-epochs", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True,
    help="How often a document may be seen.",
)  # fmt: skip
@click.option("--from", "pool", default="train_pool", show_default=True, metavar="MODEL", help="The pool.")
@reading_options
@output_options
def try_(
    shares: tuple[str, ...], tokens: int | None, max_epochs: float, pool: str, project: ProjectOptions, out: Output
) -> None:
    """Say what a mixture of these shares would have. Builds nothing.

    A component that has too few tokens leaves the rest of its share to the others, as with shortfall='spill'.

        cuvee mixture try code=60% prose=40% --tokens 300M --max-epochs 4
    """
    from warehouse.graph.loaded_project import LakeDatabase, open_renderer
    from warehouse.mixtures.report import unused
    from warehouse.mixtures.trial import MixtureTrial, try_mixture

    lake = project.lake()
    trial = MixtureTrial(shares=_shares(shares), tokens=tokens, max_epochs=max_epochs, pool=pool)
    renderer = open_renderer(LakeDatabase(lake), project.project_dir, project.options(), say=out.note)
    with contextlib.closing(lake.reader()) as cursor:
        found = try_mixture(renderer, cursor, trial)
        left = unused(cursor, {each.component for each in found}, pool)
    if out.as_json:
        out.json({"components": [asdict(each) for each in found], "unused": left})
        return
    out.rows(
        ("component", "asked", "gets", "available", "tokens", "epochs", "shortfall"),
        [
            (
                each.component, _share(each.share_asked), _share(each.share_got), _count(each.available),
                _count(each.tokens), f"{each.epochs:.2f}", _count(each.shortfall or None),
            )
            for each in found
        ],
    )  # fmt: skip
    out.text(f"{sum(each.tokens for each in found):,} tokens")
    for each in found:
        if not each.available:
            hint = did_you_mean(each.component, left)
            out.text(f"warning: {pool} has no documents of the component {each.component}{f'; {hint}' if hint else ''}")
    _show_unused(left, pool, out)


def _shares(texts: tuple[str, ...]) -> dict[str, float]:
    """Parse COMPONENT=SHARE. Raises UsageError."""
    shares: dict[str, float] = {}
    for text in texts:
        component, _, amount = text.rpartition("=")
        try:
            share = parse_share(amount) if amount.endswith("%") else float(amount)
        except ValueError:
            share = -1.0
        if not component or not 0 <= share < float("inf"):
            raise UsageError(
                f"{text!r} is not COMPONENT=SHARE", hint="for example: code=60% prose=40%, or code=3 prose=2"
            )
        if component in shares:
            raise UsageError(f"the component {component} has two shares", hint="leave one out")
        shares[component] = share
    return shares


@mixture.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="[B]", required=False)
@lake_option
@output_options
def diff(a: str, b: str | None, lake_dir: Path | None, out: Output) -> None:
    """Show how mixture B differs from A: shares, documents in and out, divergence.

    NAME@12 is a mixture as it was in snapshot 12; a training run's id means the mixture it saw, and a run alone is
    compared with its trunk's. The divergence is KL(B‖A) in nats, over components and over each category of labels
    (documents' latest primary labels, weighted by tokens).

        cuvee mixture diff baseline upsampled
        cuvee mixture diff baseline@12 baseline
        cuvee mixture diff demo-upsampled-1
    """
    from warehouse.mixtures.comparison import compare

    with _reading(lake_dir) as cursor:
        found = compare(cursor, a, b)
    a, b = found.a, found.b
    if out.as_json:
        out.json(asdict(found))
        return
    out.rows(
        ("component", a, b if b != a else f"{b} again", "shift", "documents out", "in", "kept", "copies changed"),
        [
            (
                each.component, _share(each.share_a), _share(each.share_b), f"{each.share_b - each.share_a:+.2%}",
                _count(each.documents_out), _count(each.documents_in), _count(each.documents_kept),
                _count(each.copies_changed),
            )
            for each in found.components
        ],
    )  # fmt: skip
    same = found.fingerprint_a == found.fingerprint_b
    out.text(f"fingerprints {found.fingerprint_a} and {found.fingerprint_b}")
    out.text(f"KL({b}‖{a}) over components: {_nats(found.divergence)}{'; the mixtures are the same' if same else ''}")
    if found.labels:
        out.rows(
            ("labeler", "category", f"KL({b}‖{a})", f"labelled in {a}", f"in {b}"),
            [
                (
                    each.labeler,
                    each.category,
                    _nats(each.divergence),
                    f"{each.labelled_a:.1%}",
                    f"{each.labelled_b:.1%}",
                )
                for each in found.labels
            ],
        )


@contextlib.contextmanager
def _reading(lake_dir: Path | None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open one snapshot of the lake for reading."""
    with contextlib.closing(open_lake(lake_dir).reader()) as cursor:
        cursor.execute("begin transaction")
        yield cursor


def _show_unused(unused: Mapping[str, int], pool: str, out: Output) -> None:
    if unused:
        parts = ", ".join(f"{component} {tokens:,}" for component, tokens in unused.items())
        out.text(f"tokens of {pool} in no component of it: {parts}")


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:7.2%} {'█' * round(share * _BAR)}".rstrip()


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _nats(value: float) -> str:
    return f"{value:.4f} nats" if value != float("inf") else "infinite"
