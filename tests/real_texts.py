"""Texts for benchmarks."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def real_texts() -> list[str]:
    """The documents of the shared data; where it is absent, made ones."""
    data = Path(os.environ.get("CUVEE_TEST_DATA", ROOT.parent / "shared" / "data"))
    path = data / "domains" / "domain_docs.jsonl.gz"
    if path.is_file():
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return [json.loads(line)["text"] for line in file]
    return [f"Document {n}. " + "A cellar master composes a blend from many barrels. " * 50 for n in range(1000)]
