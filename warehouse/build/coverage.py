"""Count after a build how many documents each of Cuvée's checks has looked at, so that none passes unseen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlglot
from sqlglot import exp

from warehouse.graph.loaded_project import LoadedProject
from warehouse.lake.benchmarks import IS_BENCHMARK
from warehouse.lake.quoting import quote
from warehouse.project.package import NAME

if TYPE_CHECKING:
    import duckdb

#: The macros whose models are mixtures.
_MIXTURES = {f"{NAME}.mixture", f"{NAME}.published_mixture", f"{NAME}.published_probe"}


@dataclass(frozen=True, slots=True)
class Coverage:
    """Numbers of documents. None where the model that would say it is not in the lake."""

    in_lake: int
    benchmark_only: int
    documents: int | None
    labelled: int | None
    counted: int | None
    estimated: int | None
    benchmarks: int | None
    compared: int | None
    short_items: int | None
    held_out: int | None
    in_mixtures: int | None
    in_large_bands: int | None = None  # compared with some of those that may be near duplicates

    def lines(self) -> list[str]:
        """Return the summary, as a build prints it."""
        last = []
        if self.in_large_bands:
            last.append(
                f"near duplicates: {self.in_large_bands:,} documents are in bands of more than 50, and were"
                " compared with the 50 of each that rank first"
            )
        if self.documents is None:
            return last
        left = self.in_lake - self.benchmark_only - self.documents
        out = [f"{self.benchmark_only:,} only benchmark items"] * bool(self.benchmark_only)
        out += [f"{left:,} left out (documents_where)"] * (left > 0)
        first = f"documents: {self.documents:,} of {self.in_lake:,} in the lake" + (
            f"; {', '.join(out)}" if out else ""
        )
        rest = [_of("labelled", self.labelled, self.documents)]
        if self.counted is not None and self.estimated is not None:
            rest.append(_of("tokens counted", self.counted, self.documents))
            rest += [f"tokens estimated {self.estimated:,}"] * bool(self.estimated)
        if self.benchmarks == 0:
            rest.append("compared with benchmarks 0 (none is loaded)")
        else:
            rest.append(_of("compared with benchmarks", self.compared, self.documents))
            if self.short_items:
                few = "item is" if self.short_items == 1 else "items are"
                rest.append(f"{self.short_items:,} {few} too short to look for (short_benchmark_items)")
        rest += [_of("held out", self.held_out, self.documents), _of("in mixtures", self.in_mixtures, self.documents)]
        return [first, "  " + ", ".join(each for each in rest if each), *last]


def _of(what: str, found: int | None, documents: int) -> str:
    if found is None:
        return f"{what}: not built"
    return f"{what} {found:,}" + (f" ({documents - found:,} not)" if what != "held out" and found < documents else "")


def coverage(project: LoadedProject) -> Coverage | None:
    """Count the documents that each check has seen. None for a project that does not use Cuvée's package."""
    known = project.renderer.project
    if NAME not in known.packages:
        return None
    project.database.refresh()
    cursor, places = project.database.cursor, {}
    for name in (
        "documents", "document_labels", "document_tokens", "document_contamination", "short_benchmark_items",
        "held_out", "compared_pairs",
    ):  # fmt: skip
        node = known.find(name, None, NAME, enabled=project.renderer.is_enabled)
        if node is not None and project.renderer.is_enabled(node):
            relation = project.renderer.found_at(node)
            if project.database.relation_type(relation.schema, relation.identifier):
                places[name] = relation.render()
    mixtures = [
        step.relation.render()
        for step in project.graph.steps.values()
        if step.rendered and step.relation and step.kind == "table" and _MIXTURES & step.rendered.macros.keys()
        if project.database.relation_type(step.relation.schema, step.relation.identifier)
    ]
    return _count(cursor, places, mixtures)


def _count(cursor: duckdb.DuckDBPyConnection, places: dict[str, str], mixtures: list[str]) -> Coverage:
    """Count in one query. Each of ``places`` is the relation of a model by its name."""
    parts = {
        "in_lake": "select count(*) from raw.documents",
        "benchmark_only": (
            f"select count(*) from (select doc_id from raw.occurrences group by doc_id having bool_and({IS_BENCHMARK}))"
        ),
        "benchmarks": f"select count(distinct source) from raw.occurrences where {IS_BENCHMARK}",
    }
    if "compared_pairs" in places:
        parts["in_large_bands"] = f"select count(*) from {places['compared_pairs']} where crowd is not null"
    if "short_benchmark_items" in places:
        parts["short_items"] = f"select count(*) from {places['short_benchmark_items']}"
    documents = places.get("documents")
    if documents is not None:
        inside = f"doc_id in (select doc_id from {documents})"
        parts["documents"] = f"select count(distinct doc_id) from {documents}"
        for name, model, more in (
            ("labelled", "document_labels", "label is not null"),
            ("counted", "document_tokens", "not estimated"),
            ("estimated", "document_tokens", "estimated"),
            ("compared", "document_contamination", "true"),
            ("held_out", "held_out", "true"),
        ):
            if model in places and _has(cursor, places[model], more):
                parts[name] = f"select count(distinct doc_id) from {places[model]} where {more} and {inside}"
        if mixtures:
            union = " union ".join(f"select doc_id from {mixture}" for mixture in mixtures)
            parts["in_mixtures"] = f"select count(*) from ({union}) where {inside}"
    row = cursor.execute(
        "select " + ", ".join(f"({query}) as {quote(name)}" for name, query in parts.items())
    ).fetchone()
    assert row is not None
    return Coverage(**{**dict.fromkeys(Coverage.__dataclass_fields__), **dict(zip(parts, row, strict=True))})


def _has(cursor: duckdb.DuckDBPyConnection, relation: str, condition: str) -> bool:
    """Return whether a relation, which may be a model of the user's, has the columns of a condition."""
    wanted = {column.name for column in sqlglot.parse_one(condition, dialect="duckdb").find_all(exp.Column)}
    found = {row[0] for row in cursor.execute(f"describe select * from {relation}").fetchall()}
    return wanted | {"doc_id"} <= found
