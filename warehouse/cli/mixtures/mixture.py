"""cuvee mixture: what a mixture got of what it asked, and how two mixtures differ."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from warehouse.cli.output import Output, lake_option, open_lake, output_options

if TYPE_CHECKING:
    import duckdb

#: How many characters wide a share of one is.
_BAR = 20


@click.group()
def mixture() -> None:
    """Show what a mixture has of what it asked; compare two mixtures.

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
    if found.problem:
        out.note(found.problem)


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


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:7.2%} {'█' * round(share * _BAR)}".rstrip()


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _nats(value: float) -> str:
    return f"{value:.4f} nats" if value != float("inf") else "infinite"
