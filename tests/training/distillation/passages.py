"""Passages of known domain and length as a lake and a project: what students are distilled from in the tests.

The teacher is the truth: the ``domain`` of the document that a passage was cut from, and a bucket of its length.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.helpers import macros_only
from warehouse.build import build
from warehouse.ingest.inputs import find_inputs
from warehouse.ingest.records import IngestOptions
from warehouse.ingest.run import ingest
from warehouse.lake.lake import Lake
from warehouse.project.options import Selection

DOMAINS = (
    "code", "mathematics", "medicine", "general_qa", "law", "cooking", "physics", "biology", "research_paper",
)  # fmt: skip

#: Where short ends and where medium ends, in characters.
SHORT, MEDIUM = 350, 550

TAXONOMY = "categories:\n" + "".join(
    f"  - name: {name}\n    abstain: false\n    labels:\n"
    + "".join(f"      - {{code: {code}, label: {label}}}\n" for code, label in labels)
    for name, labels in (
        ("domain", list(enumerate(DOMAINS, 1))),
        ("length", [("s", "short"), ("m", "medium"), ("l", "long")]),
    )
)

#: Nothing but the macros is the project's own that Cuvée ships.
FILES = {
    "dbt_project.yml": macros_only("passages") + "version: '1'\nvars: {seed: 17}\n",
    "taxonomies/passages.yml": TAXONOMY,
    "models/passages.sql": "select distinct doc_id, split_part(source_id, '#', 1) as parent from raw.occurrences",
    "models/evaluation_documents.sql": (
        "select doc_id from {{ ref('passages') }} where {{ cuvee.held_out('parent', share=var('held_out'), seed=17) }}"
    ),
    "models/distillation_documents.sql": (
        "select doc_id from {{ ref('passages') }} anti join {{ ref('evaluation_documents') }} using (doc_id)"
    ),
}


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document."""

    id: str
    text: str
    domain: str


def cut(shared_data: Path, most: int) -> Iterator[Passage]:
    """Cut the documents into passages of 150 to 750 characters, at most ``most`` of each document, each text once."""
    seen: set[str] = set()
    with gzip.open(shared_data / "domains" / "domain_docs.jsonl.gz", "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            document = json.loads(line)
            draw = random.Random(number)
            rest, n = document["text"].strip(), 0
            while len(rest) >= 100 and n < most:
                wanted = draw.randint(150, 750)
                end = rest.rfind(" ", 1, wanted) if len(rest) > wanted else len(rest)
                text, rest = rest[: end if end > 0 else wanted].strip(), rest[end if end > 0 else wanted :].strip()
                if len(text) >= 100 and text not in seen:
                    seen.add(text)
                    yield Passage(f"{number}#{n}", text, document["domain"])
                    n += 1


def truth(passage: Passage) -> dict[str, str]:
    """The teacher's labels."""
    size = len(passage.text)
    length = "s" if size < SHORT else "m" if size < MEDIUM else "l"
    return {"domain": str(DOMAINS.index(passage.domain) + 1), "length": length}


def make_project(folder: Path, held_out: float) -> Path:
    """A project with the taxonomy, and models that split passages by their document."""
    (folder / "seeds").mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content.replace("var('held_out')", str(held_out)), encoding="utf-8")
    return folder


def load(lake: Lake, project: Path, folder: Path, passages: Sequence[Passage]) -> None:
    """Ingest the passages and the teacher's labels, and build the split."""
    from udfs.labels.taxonomies.taxonomies import Taxonomies
    from warehouse.ingest.labels.external_labeler import external_labeler
    from warehouse.ingest.labels.label_files import ingest_labels

    documents, labels = folder / "passages.jsonl", folder / "truth.jsonl"
    documents.write_text("".join(json.dumps({"id": one.id, "text": one.text}) + "\n" for one in passages))
    keys = [hashlib.sha256(one.text.encode()).hexdigest()[:32] for one in passages]
    labels.write_text(
        "".join(json.dumps({"doc_id": key, **truth(one)}) + "\n" for key, one in zip(keys, passages, strict=True))
    )
    ingest(lake, find_inputs([str(documents)]), IngestOptions(source="passages"))
    taxonomy = Taxonomies((project,)).get("passages")
    ingest_labels(lake, find_inputs([str(labels)]), external_labeler("truth", taxonomy, []), IngestOptions())
    check(build.build(lake, project))


def check(results: Sequence[Any]) -> None:
    """Fail with what failed."""
    failed = [result for result in results if result.failed]
    assert not failed, failed


def judge(lake: Lake, project: Path, student: str) -> dict[str, float]:
    """Label the held-out passages with a student, and give its kappa with the teacher by category."""
    for name, sql in {
        f"by_{student}": f"select doc_id, label_document(text, '{student}') as label"
        " from raw.documents where doc_id in (select doc_id from {{ ref('evaluation_documents') }})",
        f"kappa_{student}": f"-- depends_on: {{{{ ref('by_{student}') }}}}\n"
        f"{{{{ cuvee.labeler_kappas(ref('evaluation_documents'), '{student}', 'truth', 'passages',"
        " replicates=100) }}",
    }.items():
        (project / "models" / f"{name}.sql").write_text(sql, encoding="utf-8")
    check(
        build.build(
            lake,
            project,
            Selection(
                (
                    f"by_{student}",
                    f"kappa_{student}",
                )
            ),
        )
    )
    rows = lake.reader().execute(f"select category, kappa from kappa_{student} order by category").fetchall()
    return dict(rows)
