"""The models about labels, built in a lake whose labels are known, against the definitions in Python."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.helpers import write
from tests.sql.kappa_definition import by_definition
from warehouse.answers import store
from warehouse.build.build import build
from warehouse.build.build_options import BuildOptions
from warehouse.ingest.formats.essential_web import ANSWERS, FIELDS
from warehouse.lake.lake import Lake
from warehouse.project.options import Selection

MODELS = [*(f"cuvee.{each}" for each in ("agreement", "distributions", "evaluation", "labels")), "resource_type:seed"]
MODELS += ["documents", "document_labels", "document_tokens"]
PROJECT = """
name: p
models:
  cuvee: {labels: {document_labels: {+enabled: false}, document_tokens: {+enabled: false}}}
  p: {+materialized: table}
"""
CODES = ["-1", "1", "2", "3", "4"]
FDC = ["510.1", "513", "005.1", "004", "92", "61", "617.3", "-1"]
Labels = dict[str, tuple[str | None, str | None]]


def project(folder: Path) -> Path:
    """Write a project with models of its own for what would pay for a labeler and want a tokenizer."""
    tokens = "select doc_id, 10 + cast('0x' || doc_id as bigint) as n_tokens, false as estimated"
    files = {
        "dbt_project.yml": PROJECT,
        "models/document_labels.sql": "select doc_id from {{ ref('documents') }}",
        "models/document_tokens.sql": tokens + " from {{ ref('documents') }}",
    }
    return write(folder / "p", files)


def make(lake: Lake, path: Path, **variables: Any) -> None:
    options = BuildOptions(variables={"agreement_replicates": 5} | variables)
    results = build(lake, path, Selection(tuple(MODELS), exclude=("test_name:parse_rate",)), options=options)
    failed = [f"{result.name}: {result.message}" for result in results if result.failed]
    assert results and not failed, failed


def texts(lake: Lake, n: int) -> list[str]:
    """Documents with a source, a URL and a month."""
    ids = [f"{i:032x}" for i in range(n)]
    with lake.commit("documents") as commit:
        for i, doc_id in enumerate(ids):
            commit.sql("insert into lake.raw.documents values (?, ?, ?, 'f')", [doc_id, "x", 1 + i % 7])
            host = ["http://DLMF.nist.gov/1.1", "github.com/a", "https://github.community/b", None][i % 4]
            place = [doc_id, f"s{i % 2}", host, None, datetime(2024, 1 + i % 3, 5, tzinfo=UTC), None, None, "f", i]
            commit.sql(f"insert into lake.raw.occurrences values ({', '.join('?' * 9)})", place)
    return ids


def answer(lake: Lake, labeler: str, labels: dict[str, Labels], version: str = "1", day: int = 1) -> None:
    rows = {
        "doc_id": list(labels), "labeler": [labeler] * len(labels), "fingerprint": [labeler + version] * len(labels),
        "status": ["ok"] * len(labels),
        **{
            name: [dict(zip(("primary", "secondary"), each[name], strict=True)) for each in labels.values()]
            for name in FIELDS
        },
        "raw": [None] * len(labels), "tokens": [None] * len(labels),
        "labelled_at": [datetime(2026, 1, day, tzinfo=UTC)] * len(labels),
    }  # fmt: skip
    with lake.staging() as staging:
        file = store.write_answers(staging, "labels.eai", pa.table(rows, schema=store.store_schema(ANSWERS)))
        with lake.commit("labels") as commit:
            store.ensure(commit, "labels.eai", ANSWERS)
            commit.add("labels.eai", [file])


def some_labels(ids: Iterable[str], seed: int) -> dict[str, Labels]:
    """Labels of which every two are a little dependent."""
    draw = random.Random(seed)
    found: dict[str, Labels] = {}
    for doc_id in ids:
        common = random.Random(doc_id).randrange(5)
        found[doc_id] = {}
        for name in FIELDS:
            codes = FDC if name == FIELDS[0] else CODES
            primary = codes[common if draw.random() < 0.5 else draw.randrange(5)]
            secondary = draw.choice([None, *codes[1:]])
            found[doc_id][name] = primary, None if secondary == primary else secondary
    return found


def facet(labels: Labels, name: str) -> tuple[str | None, str | None]:
    if not name.startswith("fdc_level_"):
        return labels[name]
    level = int(name[-1])
    cut = [
        code if code is None or code == "-1" else code[:level] if len(code) >= level else None
        for code in labels[FIELDS[0]]
    ]
    return cut[0], cut[1]


FACETS = ["fdc_level_1", "fdc_level_2", "fdc_level_3", *FIELDS[1:]]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, dict[str, dict[str, Labels]], Path]:
    folder = tmp_path_factory.mktemp("labels")
    lake, path = Lake.create(folder / "lake"), project(folder)
    ids = texts(lake, 60)
    said = {"ada": some_labels(ids, 1), "bob": some_labels(ids[:40], 2), "eve": some_labels(ids[20:], 3)}
    answer(lake, "ada", some_labels(ids, 9), version="0", day=1)  # an older version counts for nothing
    for day, (labeler, labels) in enumerate(said.items(), 2):
        answer(lake, labeler, labels, day=day)
    make(lake, path, gold_labelers=["bob", "eve"], evaluation_share=0.4, samples_per_label=2)
    return lake, said, path


def ask(lake: Lake, query: str) -> list[Any]:
    with lake.cursor() as cursor:
        return cursor.execute(query).fetchall()


def test_agreement_of_labelers(built: Any) -> None:
    lake, said, _ = built
    rows = ask(lake, "select * exclude (std_error) from label_agreement")
    assert len(rows) == 3 * 12
    for a, b, name, n, observed, expected, kappa, weighted, shared, *_ in rows:
        both = [(*facet(said[a][i], name), *facet(said[b][i], name)) for i in said[a] if i in said[b]]
        assert n == len(both)
        assert (observed, expected, kappa) == pytest.approx(by_definition(both, False, False, True), abs=1e-9)
        assert weighted == pytest.approx(by_definition(both, True, False, True)[2], abs=1e-9)
        assert shared == pytest.approx(by_definition(both, False, True, False)[2], abs=1e-9)
    golds = {row[:2]: row[2:] for row in ask(lake, "select * from agreement_with_gold")}
    kappas = {row[:3]: row[6] for row in rows}
    assert len(golds) == 3 * 12
    for name in FACETS:
        documents, others, _, _, kappa, error = golds["ada", name]
        assert (documents, others) == (60, 2)
        assert kappa == pytest.approx((kappas["ada", "bob", name] + kappas["ada", "eve", name]) / 2, abs=1e-12)
        assert error > 0


def test_distributions(built: Any) -> None:
    lake, said, _ = built
    counted: dict[Any, list[int]] = defaultdict(lambda: [0, 0])
    for labeler, labels in said.items():
        for doc_id, each in labels.items():
            for name in FACETS:
                primary, secondary = facet(each, name)
                for rank, code in (("primary", primary), ("secondary", secondary)):
                    if rank == "primary" or (code is not None and code != primary):
                        counted[labeler, name, rank, code][0] += 1
                        counted[labeler, name, rank, code][1] += 10 + int(doc_id, 16)
    rows = ask(
        lake, "select labeler, category, rank, code, documents, tokens, share, token_share from label_distribution"
    )
    assert {row[:4]: list(row[4:6]) for row in rows} == counted
    for labeler, *_, documents, tokens, share, token_share in rows:
        assert share == documents / len(said[labeler])
        assert token_share == pytest.approx(tokens / sum(10 + int(i, 16) for i in said[labeler]))
    by_month = ask(
        lake,
        "select category, code, month::varchar, occurrences from label_distribution_by_month"
        " where labeler = 'ada' and rank = 'primary' and category = 'document_type_v1'",
    )
    months = Counter((each["document_type_v1"][0], int(i, 16) % 3) for i, each in said["ada"].items())
    assert {(code, int(month[5:7]) - 1): n for _, code, month, n in by_month} == months
    assert ask(
        lake,
        "select sum(occurrences) from label_distribution_by_source where category = 'document_type_v1'"
        " and rank = 'primary' and labeler = 'bob' and source = 's1'",
    ) == [(20,)]
    assert ask(lake, "select distinct label, parent_label from fdc_distribution where code = '51'") == [
        ("Mathematics", "Science and Natural history")
    ]
    pair = Counter(facet(each, "reasoning_depth") for each in said["bob"].values())
    rows = ask(
        lake,
        'select "primary", secondary, documents, share from primary_and_secondary'
        " where labeler = 'bob' and category = 'reasoning_depth'",
    )
    same = Counter({(p, None if s == p else s): 0 for p, s in pair})
    for (p, s), n in pair.items():
        same[p, s] += n
    assert {row[:2]: row[2] for row in rows} == {key: n for key, n in same.items() if n}
    for code in CODES:
        assert sum(row[3] for row in rows if row[0] == code) == pytest.approx(1)


def entropy(counts: Iterable[float]) -> float:
    counts = [n for n in counts if n]
    return -sum(n / sum(counts) * math.log2(n / sum(counts)) for n in counts)


def nmi(met: Counter[tuple[str, str]]) -> float:
    x: Counter[str] = Counter()
    y: Counter[str] = Counter()
    for (a, b), n in met.items():
        x[a] += n
        y[b] += n
    both = entropy(x.values()) + entropy(y.values())
    return 2 * (both - entropy(met.values())) / both


def test_orthogonality(built: Any) -> None:
    lake, said, _ = built
    rows = ask(lake, "select * from label_orthogonality")
    assert len(rows) == 3 * 66
    for labeler, x, y, documents, primaries, everything in rows:
        met: Counter[tuple[str, str]] = Counter()
        weighed: Counter[tuple[str, str]] = Counter()
        for doc_id, each in said[labeler].items():
            codes = [[None if code is None or code == "-1" else code for code in facet(each, name)] for name in (x, y)]
            for i, a in enumerate(codes[0]):
                for j, b in enumerate(codes[1]):
                    if a and b:
                        met[a, b] += i == j == 0
                        weighed[a, b] += (1 + int(doc_id, 16) % 7) * (1 if i == j else 0.01)
        assert documents == met.total()
        assert primaries == pytest.approx(nmi(met), abs=1e-9)
        assert everything == pytest.approx(nmi(weighed), abs=1e-9)
    mean = ask(lake, "select nmi_with_document_type_v1 from label_orthogonality_mean where labeler = 'eve'")
    kept = [row[4] for row in rows if row[0] == "eve" and not {*row[1:3]} & {"fdc_level_1", "fdc_level_2", FIELDS[6]}]
    assert len(kept) == 36 and mean == [(pytest.approx(sum(kept) / 36),)]
    for share, expected, value in ask(lake, "select share, expected_share, pointwise_nmi from label_association"):
        assert value == pytest.approx(-math.log(share / expected) / math.log(share), abs=1e-9)
        assert -1 <= value <= 1 + 1e-9


def test_recall_and_evaluation_sets(built: Any) -> None:
    lake, said, _ = built
    found = dict(ask(lake, "select domain, count(*) from golden_documents group by domain"))
    assert found == {"math": 15, "web_code": 15}, "github.community is another site"
    keeps = [i for i, each in said["ada"].items() if any((code or "").startswith("51") for code in each[FIELDS[0]])]
    row = ask(
        lake, "select * exclude (labeler, domain, filter) from domain_recall where labeler = 'ada' and domain = 'math'"
    )
    known = [i for i in keeps if int(i, 16) % 4 == 0]
    assert row == [(60, len(keeps), len(keeps) / 60, 15, len(known), len(known) / 15)]
    sets = {
        name: {doc_id for (doc_id,) in ask(lake, f"select doc_id from {name}")}
        for name in ("distillation_documents", "evaluation_random", "evaluation_stem")
    }
    assert not sets["distillation_documents"] & (sets["evaluation_random"] | sets["evaluation_stem"])
    assert sets["distillation_documents"] | sets["evaluation_random"] == set(said["ada"])
    assert sets["distillation_documents"] and sets["evaluation_random"] > sets["evaluation_stem"]
    samples = ask(lake, "select labeler, category, code, doc_id from label_samples")
    assert samples and all(facet(said[row[0]][row[3]], row[1])[0] == row[2] for row in samples)
    assert max(Counter(row[:3] for row in samples).values()) == 2


def test_drift(built: Any) -> None:
    lake, said, path = built
    rows = ask(
        lake,
        "select code, share_before, share_after, difference, divergence from label_drift_between_labelers"
        " where labeler_before = 'ada' and labeler_after = 'bob' and category = 'education_level' and rank = 'primary'",
    )
    shares = [
        {code: n / len(labels) for code, n in Counter(each["education_level"][0] for each in labels.values()).items()}
        for labels in (said["ada"], said["bob"])
    ]
    middle = {code: sum(share.get(code, 0) / 2 for share in shares) for code in {*shares[0], *shares[1]}}
    divergence = entropy(middle.values()) - sum(entropy(share.values()) for share in shares) / 2
    assert {row[0] for row in rows} == set(middle)
    for code, before, after, difference, diverges in rows:
        assert (before, after) == (shares[0].get(code, 0), shares[1].get(code, 0))
        assert difference == after - before
        assert diverges == pytest.approx(divergence, abs=1e-9)

    then = lake.snapshot()
    answer(lake, "bob", some_labels(list(said["ada"])[40:], 5), day=9)
    make(lake, path, drift_since=then)
    changed = ask(
        lake, "select labeler, sum(abs(difference)), max(divergence) from label_drift_since_snapshot group by 1"
    )
    assert {labeler: diverges > 0 for labeler, _, diverges in changed} == {"ada": False, "bob": True, "eve": False}


def test_a_lake_without_labels_has_empty_tables(lake: Lake, tmp_path: Path) -> None:
    path = project(tmp_path)
    texts(lake, 3)
    make(lake, path)
    for model in (
        "label_agreement",
        "agreement_with_gold",
        "label_distribution",
        "label_orthogonality",
        "domain_recall",
    ):
        assert ask(lake, f"from {model}") == []
    answer(lake, "ada", some_labels([f"{i:032x}" for i in range(3)], 1))
    make(lake, path)
    assert ask(
        lake, "select sum(share) from label_distribution where category = 'education_level' and rank = 'primary'"
    ) == [(1,)]
