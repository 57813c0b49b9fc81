"""cuvee ingest --labels: what was read, and what could not be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from udfs.labels.labelers.labeler_registry import LabelerRegistry
from udfs.labels.taxonomies.taxonomies import EAI, Taxonomies
from warehouse.cli.output import Output
from warehouse.ingest.inputs import Input
from warehouse.ingest.labels.external_labeler import ExternalLabeler, LabelsReport, external_labeler
from warehouse.ingest.labels.label_files import ingest_labels
from warehouse.ingest.records import IngestOptions
from warehouse.lake.lake import Lake
from warehouse.project.package import project_folders

#: As many reasons are listed, the most frequent first.
_LISTED = 10


def new_labeler(project: Path, name: str, taxonomy: str | None) -> ExternalLabeler:
    """Return the labeler that gave the labels. Raises UsageError for an unknown taxonomy or a taken name."""
    folders = project_folders(project)
    return external_labeler(name, Taxonomies(folders).get(taxonomy or EAI), list(LabelerRegistry(folders).files()))


def run(lake: Lake, inputs: Sequence[Input], who: ExternalLabeler, options: IngestOptions, out: Output) -> None:
    """Read the labels and print what became of them."""
    total = sum(entry.path.stat().st_size for entry in inputs if entry.path.is_file()) / 1e6
    with out.progress("reading labels", total, "MB") as progress:
        reports = ingest_labels(lake, inputs, who, options, lambda size, name: progress.advance(size / 1e6, name))
    if out.as_json:
        return out.json([_as_dict(report) for report in reports])
    new = [report for report in reports if not report.unchanged]
    if known := len(reports) - len(new):
        out.text(f"{known:,} file{'s' * (known != 1)}: already in the lake")
    if not new:
        return out.text("nothing new")
    columns = ("file", "documents", "ok", "partial", "unparsed", "rejected", "overruled")
    out.rows(columns, [_row(report) for report in new])
    reasons: Counter[str] = Counter()
    hints: dict[str, str] = {}
    for report in new:
        reasons += report.reasons
        hints |= report.hints
    if reasons:
        rows = [(count, reason, hints.get(reason)) for reason, count in reasons.most_common(_LISTED)]
        out.rows(("count", "reason", "hint"), rows)
    count = sum(each.answers for each in new)
    out.text(f"labels of {count:,} document{'s' * (count != 1)} in {who.store}, by the labeler {who.name}")
    if unknown := sum(each.unknown for each in new):
        out.note(f"{unknown:,} of the documents are not in the lake; their labels wait for them")
    if any(each.rejected for each in new):
        out.note('rows without a document: cuvee sql "select * from raw.rejects join raw.files using (file_id)"')
    return None


def _row(report: LabelsReport) -> tuple[object, ...]:
    statuses = (report.statuses[name] for name in ("ok", "partial", "unparsed"))
    return Path(report.path).name, report.answers, *statuses, report.rejected, report.overruled


def _as_dict(report: LabelsReport) -> dict[str, object]:
    return {
        "path": report.path,
        "unchanged": report.unchanged,
        "documents": report.answers,
        "statuses": dict(report.statuses),
        "rejected": report.rejected,
        "overruled": report.overruled,
        "not_in_lake": report.unknown,
        "reasons": [
            {"reason": reason, "count": count, "hint": report.hints.get(reason)}
            for reason, count in report.reasons.most_common()
        ],
    }
