"""The models of near duplicates, built by Cuvée: pairs, clusters, what is dropped, in one build or in many."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers import SQL, doc_id, write, write_jsonl
from tests.sql import plain_jinja
from udfs.registry import VECTORIZED
from udfs.text.minhash import MinHash
from warehouse.answers import answers
from warehouse.build.build import build
from warehouse.build.build_options import BuildOptions
from warehouse.build.coverage import Coverage
from warehouse.build.execution.build_run import BuildCallback
from warehouse.build.scalar_functions import register
from warehouse.forget.forget import ForgetRequest, forget
from warehouse.ingest.inputs import find_inputs
from warehouse.ingest.records import IngestOptions
from warehouse.ingest.run import ingest
from warehouse.lake.lake import Lake
from warehouse.project.options import Selection

#: What a user reads. The models below keep books of their own, which depend on the order of builds.
SHOWN = ("duplicate_pairs", "duplicate_clusters", "deduplicated")


def project(folder: Path) -> Path:
    return write(
        folder / "p", {"dbt_project.yml": "name: p\n", "models/mine.sql": "select * from {{ ref('deduplicated') }}"}
    )


def add(lake: Lake, folder: Path, texts: Iterable[str]) -> None:
    file = write_jsonl(folder / f"{random.random()}.jsonl", [{"text": text} for text in texts])
    ingest(lake, find_inputs([str(file)]), IngestOptions(source="web"))


def built(lake: Lake, root: Path, callback: BuildCallback | None = None, **variables: Any) -> dict[str, str]:
    results = build(lake, root, Selection(("+deduplicated",)), BuildOptions(variables=variables), callback=callback)
    assert not [(each.name, each.message) for each in results if each.failed]
    return {each.name: each.status for each in results}


def rows(lake: Lake, query: str) -> list[tuple[Any, ...]]:
    return lake.cursor().execute(query).fetchall()


def shown(lake: Lake) -> dict[str, list[tuple[Any, ...]]]:
    return {name: rows(lake, f"from main.{name} order by all") for name in SHOWN}


def kept(lake: Lake) -> set[str]:
    return {row[0] for row in rows(lake, "select doc_id from main.deduplicated")}


def words(first: int, count: int) -> str:
    return " ".join(f"word{number:06}" for number in range(first, first + count))


def edited(text: str, seed: int, share: float) -> str:
    chance = random.Random(seed)
    return " ".join(f"new{chance.random()}"[:10] if chance.random() < share else word for word in text.split())


def test_a_chain_is_one_cluster_of_which_unlike_texts_are_kept(lake: Lake, tmp_path: Path) -> None:
    chain = [words(10 * n, 300) for n in range(30)]
    chain[0], chain[-1] = chain[0] + " longest", chain[-1] + " longest"  # so that they come first
    add(lake, tmp_path, chain)
    built(lake, project(tmp_path))
    assert len(rows(lake, "select distinct cluster_id from main.duplicate_clusters")) == 1
    found = kept(lake)
    assert {doc_id(chain[0]), doc_id(chain[-1])} < found and len(found) < 15
    pairs = {frozenset(pair): share for *pair, share in rows(lake, "from main.duplicate_pairs")}
    assert min(pairs.values()) >= 0.7
    assert not any(pair <= found for pair in pairs), "what is kept has no near duplicate that is kept"
    dropped = dict(rows(lake, "select doc_id, kept_doc_id from main.duplicate_clusters where kept_doc_id is not null"))
    assert found.isdisjoint(dropped) and len(found) + len(dropped) == 30
    assert all(of in found and frozenset((each, of)) in pairs for each, of in dropped.items())


@pytest.mark.parametrize("many", [1, 100])
def test_a_similarity_is_that_of_the_texts(
    lake: Lake, tmp_path: Path, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many signatures are read in their store, few are copied.

    Two texts of 300 words that overlap in 290 have 286 of 306 sequences of 5 words in common.
    """
    monkeypatch.setattr(answers, "_MANY", many)
    add(lake, tmp_path, [words(0, 300), words(10, 300)])
    built(lake, project(tmp_path))
    ((_, _, similarity),) = rows(lake, "from main.duplicate_pairs")
    assert similarity == pytest.approx(286 / 306, abs=0.08)
    built(lake, project(tmp_path), minhash_similarity=0.99)
    assert rows(lake, "from main.duplicate_pairs") == [] and len(kept(lake)) == 2


def test_copies_beyond_fifty_are_compared_with_the_first_of_them(lake: Lake, tmp_path: Path) -> None:
    page = words(0, 200)
    copies = [f"{page} {n:04}" for n in range(300)]
    add(lake, tmp_path, copies)
    said: list[str] = []

    class Seen(BuildCallback):
        def covered(self, coverage: Coverage) -> None:
            said.extend(coverage.lines())

    built(lake, project(tmp_path), Seen())
    assert any("300 documents are in bands of more than 50" in line for line in said)
    pairs = rows(lake, "select count(*) from main.duplicate_pairs")[0][0]
    assert 250 * 50 <= pairs < 300 * 299 // 4, "bands differ in who is in them, so some are compared with a few more"
    assert len(kept(lake)) == 1 and rows(lake, "select distinct cluster_size from main.duplicate_clusters") == [(300,)]


def test_a_text_without_words_is_near_to_none(lake: Lake, tmp_path: Path) -> None:
    add(lake, tmp_path, ["…", "!?", "--", "the same", "the same."])
    built(lake, project(tmp_path))
    assert len(kept(lake)) == 4
    assert len(rows(lake, "from main.duplicate_pairs")) == 1


def test_another_number_of_words_builds_all_of_it_again(lake: Lake, tmp_path: Path) -> None:
    one = words(0, 60)
    add(lake, tmp_path, [one, edited(one, 1, 0.1), words(100, 60)])
    root = project(tmp_path)
    built(lake, root)
    fives = shown(lake)
    built(lake, root, minhash_words=1)
    ones = shown(lake)
    assert ones["duplicate_pairs"] != fives["duplicate_pairs"]
    assert rows(lake, "select count(*) from main.document_bands") == [(3,)]
    built(lake, root)
    assert shown(lake) == fives


def test_a_build_of_nothing_new_computes_nothing(lake: Lake, tmp_path: Path) -> None:
    add(lake, tmp_path, [words(0, 60), words(1, 60)])
    root = project(tmp_path)
    built(lake, root)
    assert {*built(lake, root).values()} == {"unchanged"}
    before = rows(lake, "select count(*) from signals.minhash_signature")
    add(lake, tmp_path, [words(2, 60)])
    built(lake, root)
    assert before == [(2,)] and rows(lake, "select count(*) from signals.minhash_signature") == [(3,)]


def test_parts_and_forgotten_documents_make_no_difference(lake: Lake, tmp_path: Path) -> None:
    """Two lakes of the same documents: one built at once, one in two parts, with documents that are forgotten again."""
    chain = [words(10 * n, 100) for n in range(6)]
    crowd = [f"{words(5000, 80)} {n:03}" for n in range(53)]
    texts = [*chain, *crowd, words(9000, 50), words(9001, 50)]
    gone = [chain[2], *crowd[::13]]
    root = project(tmp_path)
    add(lake, tmp_path, texts[1::2])
    built(lake, root)
    add(lake, tmp_path, texts[::2])
    built(lake, root)
    forget(lake, ForgetRequest.of([doc_id(text) for text in gone], ()))
    built(lake, root)
    whole = Lake.create(tmp_path / "whole")
    add(whole, tmp_path, [text for text in texts if text not in gone])
    built(whole, root)
    assert shown(lake) == shown(whole)


#: Models that keep rows from build to build, in the order of building, with their keys.
_KEEPING = {
    "document_bands": [],
    "shared_bands": [],
    "compared_pairs": ["doc_id", "near_doc_id"],
    "duplicate_members": ["doc_id"],
}
_VARS = {"minhash_words": 5, "minhash_bands": 14, "minhash_rows": 9, "minhash_similarity": 0.7}


class Parts:
    """The models' own SQL in a DuckDB, built incrementally as dbt and Cuvée do it."""

    def __init__(self) -> None:
        self.connection = duckdb.connect()
        self.builds = 0
        register(self.connection, {name: MinHash() for name in VECTORIZED})
        self.connection.execute("create table documents (doc_id varchar, text varchar, n_chars bigint)")

    def add(self, texts: Iterable[str]) -> None:
        rows = [[doc_id(text), text, len(text)] for text in texts]
        if rows:
            self.connection.executemany("insert into documents values (?, ?, ?)", rows)

    def forget(self, texts: Iterable[str]) -> None:
        """Delete what holds documents by an id, as ``cuvee forget`` does."""
        columns = "select table_name, column_name from duckdb_columns() where column_name like '%doc_id%'"
        for table, column in self.connection.execute(f"{columns} and not internal").fetchall():
            if table in ("documents", *_KEEPING):
                ids = [doc_id(text) for text in texts]
                self.connection.execute(f"delete from {table} where {column} in (select unnest(?))", [ids])

    def build(self) -> None:
        self.builds += 1
        views = ("duplicate_pairs", "duplicate_clusters", "deduplicated")
        for name in (*list(_KEEPING)[:3], views[0], "duplicate_members", *views[1:]):
            fresh = self.builds == 1
            query = render(name, incremental=not fresh, built_by=str(self.builds))
            if name in views:
                self.connection.execute(f"create or replace view {name} as {query}")
            elif fresh:
                self.connection.execute(f"create table {name} as {query}")
            else:
                self.connection.execute(f"create or replace temp table added as {query}")
                if keys := _KEEPING[name]:
                    same = " and ".join(f"t.{key} = n.{key}" for key in keys)
                    self.connection.execute(f"delete from {name} as t where exists (from added as n where {same})")
                self.connection.execute(f"insert into {name} from added")

    def shown(self) -> list[list[tuple[Any, ...]]]:
        return [self.connection.execute(f"from {name} order by all").fetchall() for name in SHOWN]


def render(name: str, *, incremental: bool, built_by: str) -> str:
    return plain_jinja.render(
        ["duplicates.sql"],
        (SQL / "models" / "duplicates" / f"{name}.sql").read_text(),
        ref=lambda model: model,
        source=lambda schema, table: table,
        var=_VARS.__getitem__,
        config=lambda **given: "",
        is_incremental=lambda: incremental,
        this=name,
        execute=True,
        invocation_id=built_by,
    )


#: Families of texts: an original, and how much each of its copies is edited.
_FAMILIES = st.lists(st.tuples(st.integers(0, 5), st.floats(0, 0.06)), min_size=1, max_size=25)


@given(family=_FAMILIES, seed=st.integers(0, 1 << 32), crowd=st.sampled_from([0, 0, 49, 52, 60]))
@settings(max_examples=300 if os.environ.get("CUVEE_PROVE") else 6, suppress_health_check=[HealthCheck.too_slow])
def test_the_order_of_builds_makes_no_difference(family: list[tuple[int, float]], seed: int, crowd: int) -> None:
    chance = random.Random(seed)
    texts = [edited(words(100 * of, 80), at, share) for at, (of, share) in enumerate(family)]
    texts += [words(7000 + 5 * n, 40) for n in range(chance.choice([0, 8]))]
    texts += [f"{words(5000, 80)} {n:03}" for n in range(crowd)]
    texts = list(dict.fromkeys(texts))
    gone = chance.sample(texts, chance.randint(0, min(len(texts) - 1, 6)))
    late = chance.sample(gone, chance.randint(0, len(gone)))  # forgotten at the end, the others right after a build
    whole, parts = Parts(), Parts()
    whole.add(text for text in texts if text not in gone)
    whole.build()
    chance.shuffle(texts)
    cuts = [0, *sorted(chance.randint(0, len(texts)) for _ in range(chance.randint(1, 3))), len(texts)]
    for begin, end in itertools.pairwise(cuts):
        parts.add(texts[begin:end])
        parts.build()
        parts.forget([text for text in texts[begin:end] if text in gone and text not in late])
    parts.forget(late)
    parts.build()
    assert parts.shown() == whole.shown()
