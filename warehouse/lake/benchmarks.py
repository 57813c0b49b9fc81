"""The benchmarks of a lake: documents whose source is ``benchmarks/NAME`` (or ``benchmarks``, then that is the name).

They are ingested like any others: ``cuvee ingest test.jsonl --benchmark gsm8k``.
``sql/models/contamination/benchmark_items.sql`` is the same in SQL.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from warehouse.lake.catalog import QUERY, versions
from warehouse.lake.lake import Lake

if TYPE_CHECKING:
    import pyarrow as pa

_OCCURRENCES = "raw.occurrences"

#: Whether a row of raw.occurrences is of a benchmark.
IS_BENCHMARK = "(source = 'benchmarks' or starts_with(source, 'benchmarks/'))"

_ITEMS = f"""
select distinct case when source = 'benchmarks' then source else substr(source, 12) end as benchmark, doc_id
from lake.raw.occurrences where {IS_BENCHMARK}
order by all
"""


class LakeBenchmarks:
    """The items that the lake had when their fingerprint was first asked for."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake

    @cached_property
    def _members(self) -> pa.Table:
        """Benchmark and document of each item."""
        return self._lake.cursor().sql(_ITEMS).to_arrow_table()

    @cached_property
    def fingerprint(self) -> str:
        """A digest of all items. What it was for this state of the lake is remembered for ``Remembered``."""
        version = versions(self._lake.cursor()).get(_OCCURRENCES, ("", ""))[1]
        digest = sha256()
        for column in self._members.to_batches():
            for row in zip(column["benchmark"].to_pylist(), column["doc_id"].to_pylist(), strict=True):
                digest.update("\0".join(row).encode() + b"\n")
        found = digest.hexdigest()[:32]
        _remember(self._lake, version, found)
        return found

    def items(self) -> Iterator[tuple[str, str]]:
        """Yield a benchmark's name and an item's text, for all items."""
        cursor = self._lake.cursor()
        cursor.register("members", self._members)
        texts = cursor.sql("select m.benchmark, d.text from members as m join lake.raw.documents as d using (doc_id)")
        for batch in texts.to_arrow_reader(10_000):
            yield from zip(batch["benchmark"].to_pylist(), batch["text"].to_pylist(), strict=True)


@dataclass(frozen=True, slots=True)
class Remembered:
    """The fingerprint of the benchmarks without DuckDB: from a small file, if nothing was ingested since."""

    lake: Lake

    @property
    def fingerprint(self) -> str:
        """The benchmarks' fingerprint; empty if it is not known."""
        try:
            kept = json.loads(_path(self.lake).read_bytes())
            with contextlib.closing(sqlite3.connect(f"file:{self.lake.catalog}?mode=ro", uri=True)) as catalog:
                found = {name: version for name, _, version in catalog.execute(QUERY.format(catalog=""))}
            return str(kept["fingerprint"]) if found.get(_OCCURRENCES) == kept["version"] else ""
        except (OSError, ValueError, KeyError, TypeError, sqlite3.Error):
            return ""

    def items(self) -> Iterator[tuple[str, str]]:
        """Yield a benchmark's name and an item's text, for all items; they are in the lake."""
        return LakeBenchmarks(self.lake).items()


def _path(lake: Lake) -> Path:
    return lake.root / "cache" / "benchmarks.json"


def _remember(lake: Lake, version: str, found: str) -> None:
    path = _path(lake)
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps({"version": version, "fingerprint": found}))
    temporary.replace(path)
