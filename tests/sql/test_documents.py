"""Labels, tokens, splits and the pool of a user's own documents, and what a build says it has looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helpers import write, write_jsonl
from warehouse.build.build import build
from warehouse.build.build_options import BuildOptions
from warehouse.build.coverage import Coverage
from warehouse.build.execution.build_run import BuildCallback
from warehouse.ingest.inputs import find_inputs
from warehouse.ingest.records import IngestOptions
from warehouse.ingest.run import ingest
from warehouse.lake.lake import Lake
from warehouse.project.options import Selection

ITEM = "Janet's ducks lay sixteen eggs per day and she eats three of them for breakfast every morning before work"


class Seen(BuildCallback):
    """Keeps what a build says of its coverage."""

    coverage: Coverage | None = None

    def covered(self, coverage: Coverage) -> None:
        self.coverage = coverage


def give(lake: Lake, folder: Path, source: str, *texts: str) -> None:
    file = write_jsonl(folder / f"{source.replace('/', '-')}.jsonl", [{"text": text} for text in texts])
    ingest(lake, find_inputs([str(file)]), IngestOptions(source=source))


@pytest.fixture
def root(lake: Lake, tmp_path: Path) -> Path:
    """A project, and documents of two sources: one of them quotes the benchmark's only item."""
    give(lake, tmp_path, "web", *(f"Page {n} is about the number {n} and little else that matters." for n in range(20)))
    give(lake, tmp_path, "papers", f"As it is said: {ITEM}.", "A short paper about labels and what they are good for.")
    give(lake, tmp_path, "benchmarks/eggs", ITEM)
    mixture = "{{ cuvee.mixture(ref('train_pool'), shares={'web': 1}, tokens='all') }}"
    settings = "name: p\nmodels: {p: {+materialized: table}}\nvars: {labelers: [fake], held_out_share: 0.2}"
    files = {
        "dbt_project.yml": settings,
        "models/mine.sql": mixture,
    }
    return write(tmp_path / "p", files)


def built(lake: Lake, root: Path, *select: str, **variables: Any) -> Coverage:
    seen = Seen()
    results = build(lake, root, Selection(select), BuildOptions(variables=variables), callback=seen)
    assert not [(each.name, each.message) for each in results if each.failed]
    assert seen.coverage is not None
    return seen.coverage


def rows(lake: Lake, query: str) -> list[tuple[Any, ...]]:
    return lake.cursor().execute(query).fetchall()


CHOSEN = ("+mine", "+document_labels")


def test_what_was_looked_at_is_counted(lake: Lake, root: Path) -> None:
    seen = built(lake, root, *CHOSEN)
    assert (seen.in_lake, seen.benchmark_only, seen.documents) == (23, 1, 22)
    assert (seen.labelled, seen.counted, seen.estimated, seen.benchmarks, seen.compared) == (22, 0, 22, 1, 22)
    assert seen.held_out == rows(lake, "select count(*) from main.held_out")[0][0] > 0
    assert seen.in_mixtures == rows(lake, "select count(*) from main.mine")[0][0] > 0
    text = "\n".join(seen.lines())
    assert "22 of 23 in the lake; 1 only benchmark items" in text and "tokens estimated 22" in text
    pool = {row[0] for row in rows(lake, "select doc_id from main.train_pool")}
    assert not pool & {row[0] for row in rows(lake, "select doc_id from main.contaminated_documents")}
    assert len(rows(lake, "select doc_id from main.contaminated_documents")) == 1


def test_documents_where_narrows_all_of_it(lake: Lake, root: Path) -> None:
    seen = built(lake, root, *CHOSEN, documents_where="o.source = 'web' and d.n_chars > 10")
    assert (seen.documents, seen.labelled, seen.estimated) == (20, 20, 20)
    assert "2 left out (documents_where)" in "\n".join(seen.lines())


def test_labels_that_came_with_the_corpus_are_not_bought_again(lake: Lake, root: Path) -> None:
    built(lake, root, "+document_labels")
    with lake.commit("people") as commit:  # as if somebody had labelled five of the documents
        commit.sql(
            "insert into lake.labels.eai select * replace ('people' as labeler, 'p1' as fingerprint)"
            " from lake.labels.eai order by doc_id limit 5"
        )
    built(lake, root, "+document_labels")
    labelers = "select labeler, count(*) from main.document_labels group by all order by all"
    assert rows(lake, labelers) == [("fake", 17), ("people", 5)]
    built(lake, root, "+document_labels", labelers=[])
    assert rows(lake, labelers) == [("fake", 22)], "labels of a labeler that is not asked any more came with the corpus"


def test_a_second_labeler_is_asked_what_the_first_could_not(lake: Lake, root: Path) -> None:
    seen = built(lake, root, "+document_labels", labelers=["fake", "zero_shot"])
    assert seen.labelled == 22
    assert rows(lake, "select distinct labeler from main.document_labels") == [("fake",)]


def test_without_a_component_a_document_is_shown_as_such(lake: Lake, root: Path) -> None:
    settings = (
        (root / "dbt_project.yml")
        .read_text()
        .replace("p: {", "cuvee: {mixtures: {components: {+enabled: false}}}, p: {")
    )
    (root / "dbt_project.yml").write_text(settings)
    (root / "models/components.sql").write_text(
        "select doc_id, source as component from raw.occurrences where source = 'web'"
    )
    built(lake, root, *CHOSEN)
    assert {row[0] for row in rows(lake, "select distinct component from main.train_pool")} == {"web", "(none)"}


def test_no_contamination_fails_for_what_was_not_compared(lake: Lake, root: Path) -> None:
    write(
        root,
        {
            "models/other.sql": "select 'nobody' as doc_id",
            "models/schema.yml": "models: [{name: other, data_tests: [cuvee.no_contamination]}]",
        },
    )
    results = {each.name: each for each in build(lake, root, Selection(("+other", "+contaminated_documents")))}
    (test,) = [each for name, each in results.items() if name.startswith("cuvee_no_contamination")]
    assert (test.status, test.rows) == ("fail", 1)
