"""cuvee labels: the labelers, and what they have done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from udfs.labels.labelers.labeler_registry import LabelerRegistry
from warehouse.cli.output import Output, lake_option, open_lake, output_options, project_option
from warehouse.project.package import project_folders

if TYPE_CHECKING:
    from warehouse.ingest.labels.labelers import KnownLabeler


@click.command()
@project_option
@lake_option
@output_options
def labels(project_dir: Path, lake_dir: Path | None, out: Output) -> None:
    """List the labelers: their answers by status, tokens, speed.

    Those of the project, and those whose labels came from outside. Speed is in documents a second, while it worked.

        cuvee labels --json
    """
    from warehouse.ingest.labels.labelers import STATUSES, labelers
    from warehouse.lake.lake import LakeNotFoundError

    try:
        lake = open_lake(lake_dir)
    except LakeNotFoundError as error:
        if lake_dir is not None:
            raise
        out.note(f"{error.message}: nothing is labelled")
        lake = None
    found = labelers(lake, LabelerRegistry(project_folders(project_dir)))
    if out.as_json:
        return out.json([_as_dict(each) for each in found])
    columns = ("labeler", "taxonomy", "backend", *STATUSES, "tokens", "documents/s", "versions", "last")
    out.rows(columns, [_row(each) for each in found])
    for each in found:
        if each.problem:
            out.note(each.problem)
    return None


def _row(known: KnownLabeler) -> tuple[object, ...]:
    last = f"{known.versions[-1].last:%Y-%m-%d %H:%M}" if known.versions else None
    tokens = [version.tokens for version in known.versions if version.tokens is not None]
    return (
        known.name,
        known.taxonomy,
        "from outside" if known.external else known.backend,
        *(known.statuses if known.versions else (None,) * len(known.statuses)),
        sum(tokens) if tokens else None,
        known.speed,
        len(known.versions),
        last,
    )


def _as_dict(known: KnownLabeler) -> dict[str, object]:
    from warehouse.ingest.labels.labelers import STATUSES

    return {
        "labeler": known.name,
        "taxonomy": known.taxonomy,
        "backend": known.backend,
        "outside": known.external,
        "problem": known.problem,
        "answers": dict(zip(STATUSES, known.statuses, strict=True)),
        "documents_per_second": known.speed,
        "versions": [
            {
                "fingerprint": version.fingerprint,
                "answers": dict(zip(STATUSES, version.statuses, strict=True)),
                "tokens": version.tokens,
                "last": f"{version.last:%Y-%m-%dT%H:%M:%S%z}",
            }
            for version in known.versions
        ],
    }
