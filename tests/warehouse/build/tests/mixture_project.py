"""A project with mixtures, and the tests of mixtures with what they find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.helpers import macros_only, write, write_jsonl
from warehouse.ingest.inputs import find_inputs
from warehouse.ingest.records import IngestOptions
from warehouse.ingest.run import ingest
from warehouse.lake.lake import Lake

#: Documents by name: a and b are ingested with licences, the others are not.
BLEND = "(values ('a', 'code', 3, 100), ('b', 'code', 1, 100), ('c', 'web', 1, 100), ('a', 'web', 1, 100))"
MODELS = {
    "blend": f"select * from {BLEND} t(doc_id, component, copies, n_tokens)",
    "trunk": "select * from (values ('c', 'code', 1, 50), ('d', 'web', 1, 50)) t(doc_id, component, copies, n_tokens)",
    "other": "select * from (values ('e', 'law', 1, 50)) t(doc_id, component, copies, n_tokens)",
    "wanted": "select * from (values ('code', 4), ('web', 2)) t(component, share)",
    "contaminated_documents": "select 'c' as doc_id",
    "found": "select doc_id from raw.documents",
}

#: Model, test, arguments, and how the rows found begin; None passes.
CASES: list[tuple[str, str, dict[str, Any], list[str] | None]] = [
    ("blend", "mixture_shares", {"shares": {"code": 2, "web": 1}}, None),
    ("blend", "mixture_shares", {"shares": "ref('wanted')", "within": 1e-9}, None),
    ("blend", "mixture_shares", {"shares": {"code": 0.68, "web": 0.32}}, ["code 0.68 0.66", "web 0.32 0.33"]),
    ("blend", "mixture_shares", {"shares": {"code": 0.68, "web": 0.32}, "within": 0.02}, None),
    ("blend", "mixture_shares", {"shares": {"code": 1, "law": 1}, "within": 0.4}, ["law 0.5 None", "web None 0.33"]),
    ("blend", "max_epochs", {"at_most": 4}, None),
    ("blend", "max_epochs", {"at_most": 3}, ["a 4"]),
    ("blend", "max_epochs", {"at_most": {"code": 3, "web": 1}}, None),
    ("blend", "max_epochs", {"at_most": {"code": 2}}, ["code a 3"]),
    ("blend", "max_shift", {"reference": "ref('trunk')", "at_most": 0.17, "at_most_kl": 0.06}, None),
    ("blend", "max_shift", {"reference": "ref('trunk')", "at_most": 0.16}, ["code 0.66", "web 0.33"]),
    ("blend", "max_shift", {"reference": "ref('trunk')", "at_most_kl": 0.05}, ["code 0.66", "web 0.33"]),
    ("blend", "max_shift", {"reference": "ref('other')", "at_most_kl": 100}, ["code 0.66", "law 0.0 1.0", "web 0.3"]),
    ("blend", "max_document_share", {"at_most": 0.5}, None),
    ("blend", "max_document_share", {"at_most": 0.4}, ["web a 100", "web c 100"]),
    ("blend", "disjoint_from", {"to": "ref('other')"}, None),
    ("blend", "disjoint_from", {"to": "ref('trunk')"}, ["c"]),
    ("blend", "no_contamination", {"contaminated": "ref('contaminated_documents')", "compared": "ref('blend')"}, ["c"]),
    (
        "blend",
        "no_contamination",
        {"contaminated": "ref('other')", "compared": "ref('trunk')"},
        ["a was not compared", "b was not compared"],
    ),
    ("trunk", "no_contamination", {"contaminated": "ref('other')", "compared": "ref('trunk')"}, None),
    ("found", "licence_allowed", {"allowed": ["mit", "CC0"], "unknown": "allow"}, [" GPL"]),
    ("found", "licence_allowed", {"allowed": ["mit", "CC0", "GPL"]}, [" None"]),
    ("found", "licence_allowed", {"allowed": ["MIT", "GPL"], "unknown": "allow"}, None),
]


def project(folder: Path, cases: list[tuple[str, str, dict[str, Any], Any]]) -> Path:
    """Write a project with some models, and tests called case_0, case_1 and so on."""
    tests: dict[str, list[Any]] = {}
    for number, (model, test, arguments, _) in enumerate(cases):
        tests.setdefault(model, []).append({f"cuvee.{test}": {"name": f"case_{number}", "arguments": arguments}})
    schema = {"models": [{"name": model, "data_tests": each} for model, each in tests.items()]}
    return write(
        folder / "p",
        {
            "dbt_project.yml": macros_only("p"),
            "models/schema.yml": yaml.safe_dump(schema),
            **{f"models/{name}.sql": sql for name, sql in MODELS.items()},
        },
    )


def give(lake: Lake, folder: Path) -> None:
    """Three documents: one under the GPL, one under MIT and, elsewhere, under the GPL, one without a licence."""
    records = [
        {"text": "One.", "license": "GPL"},
        {"text": "Two.", "license": "GPL", "id": "again"},
        {"text": "Two.", "license": "MIT"},
        {"text": "Three."},
    ]
    file = write_jsonl(folder / "documents.jsonl", records)
    ingest(lake, find_inputs([str(file)]), IngestOptions())
