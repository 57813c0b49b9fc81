"""A project with four documents and one test of their labels."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import yaml

from tests.helpers import macros_only, write
from udfs.labels.taxonomies.taxonomies import Taxonomies
from warehouse.ingest.inputs import find_inputs
from warehouse.ingest.labels.external_labeler import external_labeler
from warehouse.ingest.labels.label_files import ingest_labels
from warehouse.ingest.records import IngestOptions
from warehouse.lake.lake import Lake

TAXONOMY = """
categories:
  - name: kind
    labels: [{code: x, label: News}, {code: y, label: Comment}]
  - name: desk
    labels: [{code: 1, label: Politics}, {code: 2, label: Sports}, {code: 3, label: Culture}]
  - name: free_decimal_correspondence
    labels: [{code: 51, label: Mathematics}, {code: 510, label: General}, {code: 513, label: Geometry},
        {code: 641, label: Cooking}, {code: 92, label: Lives}]
"""

COLUMNS = "doc_id,kind,kind_secondary,desk,free_decimal_correspondence"


def project(folder: Path, test: str) -> Path:
    """Write a project with four documents, and a test of their labels."""
    ((name, arguments),) = yaml.safe_load(test).items()
    schema = {
        "models": [{"name": "m", "data_tests": [{f"cuvee.{name}": {"arguments": {"taxonomy": "press", **arguments}}}]}]
    }
    return write(
        folder / "p",
        {
            "dbt_project.yml": macros_only("p"),
            "taxonomies/press.yml": TAXONOMY,
            "models/m.sql": "select lpad(n::varchar, 32, '0') as doc_id from range(1, 5) t(n)",
            "models/schema.yml": yaml.safe_dump(schema),
        },
    )


def give(lake: Lake, root: Path, labels: str) -> None:
    """Ingest the labels of a case, each labeler's as a file."""
    files: defaultdict[str, list[str]] = defaultdict(list)
    for line in labels.splitlines():
        labeler, _, row = line.partition(": ")
        number, _, rest = row.partition(",")
        files[labeler].append(f"{number:0>32},{rest}")
    taxonomy = Taxonomies((root,)).get("press")
    for labeler, rows in files.items():
        path = root.parent / f"{labeler}.csv"
        path.write_text("\n".join([COLUMNS, *rows]) + "\n")
        ingest_labels(lake, find_inputs([str(path)]), external_labeler(labeler, taxonomy, []), IngestOptions())
