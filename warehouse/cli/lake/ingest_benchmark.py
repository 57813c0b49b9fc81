"""cuvee ingest --benchmark: which texts of the records were found, and what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from udfs.errors import UsageError
from warehouse.cli.output import Output
from warehouse.ingest.benchmark_files import Benchmark, BenchmarkFile, TextField, look_through
from warehouse.ingest.inputs import Input
from warehouse.ingest.records import IngestOptions
from warehouse.ingest.run import FileReport, IngestReport, ingest
from warehouse.lake.lake import Lake

#: So many files are listed one by one.
_LISTED = 20


def benchmark_source(name: str) -> str:
    """Return the source of a benchmark's documents. Raises UsageError for a name that cannot be one."""
    if name.startswith("benchmarks/"):
        raise UsageError(f"--benchmark {name} says benchmarks/ twice", hint=f"write --benchmark {name[11:]}")
    source = f"benchmarks/{name}"
    if not all(part.strip() == part != "" for part in name.split("/")):
        raise UsageError(f"{name!r} cannot be the name of a benchmark", hint="such as gsm8k or mmlu/physics")
    return source


def run(
    lake: Lake, inputs: Sequence[Input], fields: str | None, options: IngestOptions, out: Output
) -> list[FileReport]:
    """Ingest each text field of the files, print what was found, and return the files that could not be read.

    A field of a file is an ingest of its own: a file's id is made of its content and of the fields that were read.
    """
    wanted = tuple(dict.fromkeys(name.strip() for name in (fields or "").split(",") if name.strip()))
    benchmark = look_through(inputs, wanted)
    passes = benchmark.passes()
    total = sum(_size(entry) for entries in passes.values() for entry in entries)
    reports: dict[str, IngestReport] = {}
    with out.progress("ingesting", total, "MB") as progress:
        for path, entries in passes.items():
            reading = replace(options, text_field=path, sparse=True)
            reports[path] = ingest(lake, entries, reading, lambda size, name: progress.advance(size / 1e6, name))
    _print(benchmark, reports, str(options.source), out)
    return [file for report in reports.values() for file in report.files if file.outcome == "unreadable"]


def _size(entry: Input) -> float:
    return entry.path.stat().st_size / 1e6 if entry.path.is_file() else 0.0


def _print(benchmark: Benchmark, reports: dict[str, IngestReport], source: str, out: Output) -> None:
    rows = [_row(benchmark, file, each, reports) for file in benchmark.files for each in file.chosen(benchmark.wanted)]
    left_out = {} if benchmark.wanted else _left_out(benchmark)
    without = [file.entry.name for file in benchmark.files if not file.chosen(benchmark.wanted)]
    if out.as_json:
        return out.json(
            {
                "source": source,
                "text_fields": _names(benchmark),
                "fields": rows,
                "left_out": left_out,
                "files_left_out": {**benchmark.ignored, **dict.fromkeys(without, "no text field")},
                "occurrences": sum(report.rows for report in reports.values()),
                "documents": sum(report.documents for report in reports.values()),
                "rejected": sum(report.rejected for report in reports.values()),
                "forgotten": sum(report.forgotten for report in reports.values()),
                "reasons": dict(_reasons(reports).most_common()),
                "notes": dict(_notes(reports).most_common()),
            }
        )
    out.text(f"text fields: {', '.join(_names(benchmark))}")
    if left_out:
        listed = ", ".join(f"{name} ({reason})" for name, reason in left_out.items())
        out.text(f"left out: {listed}; --text-field reads such a field")
    shown = rows if len(rows) <= _LISTED else _by_field(rows)
    out.rows(tuple(shown[0]), [tuple(row.values()) for row in shown])
    ignored = [f"{name} ({reason})" for name, reason in benchmark.ignored.items()]
    ignored += [f"{name} (no text field)" for name in without]
    if ignored:
        more = f" and {len(ignored) - _LISTED} more" if len(ignored) > _LISTED else ""
        out.text(f"{len(ignored):,} file{'s' * (len(ignored) != 1)} left out: {', '.join(ignored[:_LISTED])}{more}")
    return _print_sums(rows, reports, source, out)


def _print_sums(rows: list[dict[str, object]], reports: dict[str, IngestReport], source: str, out: Output) -> None:
    out.counts(("rejected", "reason"), _reasons(reports))
    out.counts(("values", "note"), _notes(reports))
    if known := sum("ingested" not in str(row["outcome"]) for row in rows):
        out.text(f"{known:,} of {len(rows):,} fields of files: already in the lake")
    if not any(report.count("ingested") for report in reports.values()):
        return out.text("nothing new")
    counts = [(each.rows, each.documents, each.rejected) for each in reports.values()]
    texts, documents, rejected = map(sum, zip(*counts, strict=True))
    out.text(f"{source}: {texts:,} texts, {documents:,} new documents, {rejected:,} rejected")
    if missing := sum(_number(row["without"]) for row in rows):
        out.text(f"{missing:,} times a record has no such field or an empty one; it has no text there to compare")
    if forgotten := sum(report.forgotten for report in reports.values()):
        out.text(f"{forgotten:,} texts left out: they were forgotten")
    if rejected:
        out.note('what was rejected, and why: cuvee sql "select * from raw.rejects join raw.files using (file_id)"')
    return None


def _row(
    benchmark: Benchmark, file: BenchmarkFile, each: TextField, reports: dict[str, IngestReport]
) -> dict[str, object]:
    """Sum up a field of a file over the elements of its lists."""
    found = [report for path in each.paths for report in reports[path].files if report.path == file.entry.place]
    return {
        "file": Path(file.entry.name).name,
        "field": each.name,
        "records": file.records,
        "without": file.records - each.records,
        "texts": sum(report.rows for report in found),
        "duplicates": sum(report.duplicates for report in found),
        "rejected": sum(report.rejected for report in found),
        "outcome": ", ".join(sorted({report.outcome for report in found})),
    }


def _by_field(rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Sum up the rows of many files for each field."""
    found: dict[object, list[dict[str, object]]] = {}
    for row in rows:
        found.setdefault(row["field"], []).append(row)
    counts = ("records", "without", "texts", "duplicates", "rejected")
    return [
        {"field": name, "files": len(each)} | {count: sum(_number(row[count]) for row in each) for count in counts}
        for name, each in found.items()
    ]


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _names(benchmark: Benchmark) -> list[str]:
    """Name the fields; a list with the most texts that a record has in it."""
    longest: dict[str, int] = {}
    for file in benchmark.files:
        for each in file.chosen(benchmark.wanted):
            longest[each.name] = max(longest.get(each.name, 0), each.longest)
    return [f"{name} (up to {n} texts a record)" if n else name for name, n in longest.items()]


def _left_out(benchmark: Benchmark) -> dict[str, str]:
    """Return the fields left out of every file that has them, or only of some: then with their number."""
    found: dict[str, list[str]] = {}
    for file in benchmark.files:
        for name, reason in file.left_out().items():
            found.setdefault(name, []).append(reason)
    files = len(benchmark.files)
    several = "" if files == 1 else " in {} of {} files"
    return {name: reasons[0] + several.format(len(reasons), files) for name, reasons in found.items()}


def _reasons(reports: dict[str, IngestReport]) -> Counter[str]:
    return sum((report.reasons for report in reports.values()), Counter[str]())


def _notes(reports: dict[str, IngestReport]) -> Counter[str]:
    return sum((report.notes for report in reports.values()), Counter[str]())
