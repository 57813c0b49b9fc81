"""How often a labeler's FDC code names the subject that a document is known to have.

    python tests/benchmarks/label_accuracy.py [--labeler zero_shot] [--documents N]

The documents are those of ../shared/data/domains/domain_docs.jsonl.gz, whose domain is known from their source
(textbooks, MedQuAD, LegalBench, CodeXGLUE, recipes). A document counts as right if its primary code has one of the
domain's prefixes below. Two of the nine domains have no subject of their own and are left out: general_qa (questions
on everything) and research_paper (5 papers from several fields). The textbook of logic may be mathematics or logic.
For some domains the kind of document is known too; then document_type_v1 and v2 are judged in the same way.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from udfs.expensive import INPUT_SCHEMA, BoundFunction
from udfs.registry import Resources, expensive_functions

ROOT = Path(__file__).resolve().parents[2]

SUBJECTS = {
    "code": ("00",),
    "mathematics": ("51",),
    "medicine": ("61",),
    "law": ("34",),
    "cooking": ("64",),
    "physics": ("53",),
    "biology": ("57", "58", "59"),
}
LOGIC = ("51", "16")

#: (category, domain) → codes that fit. Code: software; recipes: tutorials; textbooks: teaching material.
KINDS = {
    ("document_type_v1", "code"): ("4",),
    ("document_type_v1", "law"): ("11",),
    ("document_type_v1", "physics"): ("3",),
    ("document_type_v1", "biology"): ("3",),
    ("document_type_v2", "cooking"): ("23",),
    ("document_type_v2", "law"): ("11",),
    ("document_type_v2", "code"): ("8",),
    ("document_type_v2", "physics"): ("10",),
    ("document_type_v2", "biology"): ("10",),
}


def documents(data: Path, limit: int | None = None) -> list[dict[str, Any]]:
    """The documents in md5 order of their text, the first ``limit`` of them."""
    with gzip.open(data / "domains" / "domain_docs.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return sorted(rows, key=lambda row: hashlib.md5(row["text"].encode()).digest())[:limit]


def bind(labeler: str) -> BoundFunction:
    """``label_document`` with a labeler, over the project's own seeds."""
    return expensive_functions(Resources((ROOT / "sql",), ROOT))["label_document"].bind((labeler,))


def label(function: BoundFunction, rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Answers by document id."""
    answers = [row for batch in function.answers(_inputs(rows)) for row in batch.to_pylist()]
    return {answer["key"]: answer for answer in answers}


def right(row: dict[str, Any], code: str) -> bool | None:
    """Whether an FDC code fits a document's domain; None where the domain has no subject of its own."""
    prefixes = LOGIC if row["subdomain"] == "logic" else SUBJECTS.get(row["domain"])
    return code.startswith(prefixes) if prefixes else None


def accuracy(rows: list[dict[str, Any]], answers: dict[str, dict[str, Any]]) -> tuple[Counter[str], Counter[str]]:
    """Right answers and documents, per domain that has a subject."""
    hits: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    for row in rows:
        verdict = right(row, answers[row["id"]]["free_decimal_correspondence"]["primary"])
        if verdict is not None:
            totals[row["domain"]] += 1
            hits[row["domain"]] += verdict
    return hits, totals


def _inputs(rows: list[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(rows), 512):
        part = rows[start : start + 512]
        yield pa.record_batch([[row["id"] for row in part], [row["text"] for row in part]], schema=INPUT_SCHEMA)


def main() -> None:
    """Label, and print accuracy, confusion and speed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labeler", default="zero_shot")
    parser.add_argument("--documents", type=int)
    options = parser.parse_args()
    data = Path(os.environ.get("CUVEE_TEST_DATA", ROOT.parent / "shared" / "data"))
    rows = documents(data, options.documents)
    function = bind(options.labeler)
    label(function, rows[:1])  # load the model and embed the labels before the clock runs
    start = time.perf_counter()
    answers = label(function, rows)
    seconds = time.perf_counter() - start

    hits, totals = accuracy(rows, answers)
    print(f"{'domain':14}{'right':>7}{'of':>7}{'share':>7}  most frequent wrong codes")
    for domain in SUBJECTS:
        wrong = Counter(
            answers[row["id"]]["free_decimal_correspondence"]["primary"][:2]
            for row in rows
            if row["domain"] == domain and not right(row, answers[row["id"]]["free_decimal_correspondence"]["primary"])
        )
        often = ", ".join(f"{code} ×{count}" for code, count in wrong.most_common(6))
        print(f"{domain:14}{hits[domain]:7}{totals[domain]:7}{hits[domain] / max(1, totals[domain]):7.2f}  {often}")
    shares = [hits[domain] / totals[domain] for domain in totals]
    print(f"FDC: {hits.total() / totals.total():.3f} of documents, {sum(shares) / len(shares):.3f} mean of domains")

    for (category, domain), codes in KINDS.items():
        found = Counter(answers[row["id"]][category]["primary"] for row in rows if row["domain"] == domain)
        good = sum(found[code] for code in codes)
        print(f"{category} {domain}: {good / max(1, found.total()):.2f} are {codes[0]}  {dict(found.most_common(5))}")

    for category in next(iter(answers.values())):
        values = [answer[category] for answer in answers.values() if isinstance(answer[category], dict)]
        if values:
            abstained = sum(value["primary"] == "-1" for value in values) / len(values)
            second = sum(value["secondary"] is not None for value in values) / len(values)
            print(f"{category}: abstained {abstained:.2f}, secondary {second:.2f}")
    characters = sum(len(row["text"]) for row in rows)
    print(f"{len(rows) / seconds:.0f} documents/s, {characters / seconds / 1e6:.2f} M characters/s")


if __name__ == "__main__":
    main()
