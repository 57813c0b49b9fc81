"""cuvee mixture: asked beside got, and two mixtures compared."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import macros_only, write
from tests.warehouse.helpers import build
from udfs.errors import UsageError
from udfs.labels.taxonomies.taxonomies import Taxonomies
from warehouse.cli.mixtures.mixture import mixture as command
from warehouse.ingest.inputs import find_inputs
from warehouse.ingest.labels.external_labeler import external_labeler
from warehouse.ingest.labels.label_files import ingest_labels
from warehouse.ingest.records import IngestOptions
from warehouse.lake.lake import Lake
from warehouse.mixtures.comparison import compare, divergence
from warehouse.mixtures.mixture import MixtureError, ask_cte, read_mixture
from warehouse.mixtures.report import show

POOL = """
select lpad(n::varchar, 32, '0') as doc_id, case when n <= 10 then 'maths' when n <= 60 then 'code' else 'web' end
    as component, case when n = 1 then 500 else 100 end as n_tokens
from range(1, 161) t(n)
"""
BLEND = """{{ cuvee.mixture(pool=ref('pool'), shares={'maths': 0.5, 'code': 0.3, 'web': 0.2, 'law': 0}, tokens=%s,
    max_epochs=2, shortfall='spill') }}"""
TAXONOMY = "categories: [{name: kind, labels: [{code: x, label: News}, {code: y, label: Comment}]}]"


def made(folder: Path, lake: Lake) -> Path:
    """A project with a mixture, what is made of it, and a model that is none, built."""
    root = write(
        folder / "p",
        {
            "dbt_project.yml": macros_only("p"),
            "models/pool.sql": POOL,
            "models/blend.sql": BLEND % 6000,
            "models/copied.sql": "select * from {{ ref('blend') }} where component <> 'web'",
            "models/seen.sql": "{{ config(materialized='view') }} select * from {{ ref('blend') }}",
            "models/none.sql": "select 1 as doc_id",
        },
    )
    build(lake, root)
    return root


@pytest.fixture
def root(tmp_path: Path, lake: Lake) -> Path:
    return made(tmp_path, lake)


@pytest.fixture(scope="module")
def read_only(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake that no test writes to."""
    folder = tmp_path_factory.mktemp("mixtures")
    lake = Lake.create(folder / "lake")
    made(folder, lake)
    return lake


@pytest.fixture
def cursor(read_only: Lake) -> Iterator[duckdb.DuckDBPyConnection]:
    with closing(read_only.reader()) as cursor:
        cursor.execute("begin transaction")
        yield cursor


def test_a_mixture_is_shown_with_what_it_asked(cursor: duckdb.DuckDBPyConnection) -> None:
    found = show(cursor, "blend")
    components = {each.component: each for each in found.components}
    assert list(components) == ["maths", "code", "web", "law"]
    maths, code, law = components["maths"], components["code"], components["law"]
    assert (maths.share_asked, maths.tokens_asked, maths.tokens_available, maths.tokens) == (0.5, 3000, 1400, 2800)
    assert (maths.shortfall, maths.cause, maths.epochs, maths.copies) == (200, "max_epochs 2", 2.0, 20)
    assert (code.share_asked, code.tokens_asked, code.shortfall, code.cause) == (0.3, 1800, 0, None)
    assert (law.documents, law.share_got, law.share_asked) == (0, 0.0, 0.0)
    assert sum(each.share_got for each in found.components) == pytest.approx(1)
    assert found.tokens == sum(each.tokens for each in found.components) == pytest.approx(6000, abs=100)
    assert maths.large_documents == 10
    assert [line.partition(" has")[0] for line in found.warnings()] == [
        f"maths: document {1:032}",
        *(f"{name}: document {components[name].largest}" for name in ("code", "web")),
    ]
    assert found.problem is None


def test_the_fingerprint_is_of_documents_and_copies(root: Path, lake: Lake) -> None:
    past = lake.snapshot()
    found = []
    for tokens in (6000, 6300, 6000):
        (root / "models" / "blend.sql").write_text(BLEND % tokens)
        build(lake, root)
        with closing(lake.reader()) as cursor:
            cursor.execute("begin transaction")
            found.append(show(cursor, "blend").fingerprint)
    assert found[0] == found[2] != found[1]
    with closing(lake.reader()) as cursor:
        cursor.execute("begin transaction")
        assert compare(cursor, f"blend@{past}", "seen").fingerprint_a == found[0]


@pytest.mark.parametrize("name", ["copied", "seen"])
def test_what_was_not_asked_by_the_macro_shows_what_is_there(cursor: duckdb.DuckDBPyConnection, name: str) -> None:
    found = show(cursor, name)
    assert found.components and all(each.share_asked is None for each in found.components)
    assert found.problem and "is not made by the macro mixture" in found.problem
    assert {each.large_documents for each in found.components if each.component == "maths"} == {10}


def test_two_mixtures_differ_in_shares_and_documents(cursor: duckdb.DuckDBPyConnection) -> None:
    found = compare(cursor, "blend", "copied")
    shifts = {each.component: each for each in found.components}
    web, maths = shifts["web"], shifts["maths"]
    assert (web.share_b, web.documents_in, web.documents_kept) == (0.0, 0, 0)
    assert web.documents_out > 0 and maths.documents_out == 0 and maths.documents_kept == 10
    shares = [(each.share_b, each.share_a) for each in found.components if each.share_b]
    assert found.divergence == pytest.approx(sum(b * math.log(b / a) for b, a in shares))
    assert found.labels == ()


def test_an_unknown_component_is_infinitely_far(cursor: duckdb.DuckDBPyConnection) -> None:
    assert compare(cursor, "copied", "blend").divergence == math.inf


def test_a_mixture_is_compared_with_its_past(root: Path, lake: Lake) -> None:
    past = lake.snapshot()
    (root / "models" / "blend.sql").write_text(BLEND % 15000)
    build(lake, root)
    with closing(lake.reader()) as cursor:
        cursor.execute("begin transaction")
        found = compare(cursor, f"blend@{past}", "blend")
    assert sum(each.tokens_b - each.tokens_a for each in found.components) == pytest.approx(9000, abs=200)
    assert all(each.documents_out == 0 for each in found.components), "more tokens are a superset"
    assert sum(each.copies_changed for each in found.components) > 0


def test_a_run_is_compared_with_its_trunk(root: Path, lake: Lake) -> None:
    """By the mixtures as they were when they were exported."""
    past = lake.snapshot()
    (root / "models" / "blend.sql").write_text(BLEND % 15000)
    build(lake, root)
    with lake.commit("runs") as commit:
        commit.sql(
            f"""
            insert into runs.runs
            select run, 'demo', arm, 1, parent, mixture, 'export', {past}, 1, '{{}}', now(), now()
            from (values ('demo-trunk-1-0123456789ab', 'trunk', null, 'copied'),
                ('demo-richer-1-ba9876543210', 'richer', 'demo-trunk-1-0123456789ab', 'blend'))
                t(run, arm, parent, mixture)
            """
        )
    with closing(lake.reader()) as cursor:
        cursor.execute("begin transaction")
        found = compare(cursor, "demo-richer-1")
        assert (found.a, found.b) == (f"copied@{past}", f"blend@{past}")
        assert found.divergence == math.inf
        assert sum(each.tokens_b for each in found.components) == pytest.approx(6000, abs=100)
    with closing(lake.reader()) as cursor:
        cursor.execute("begin transaction")
        now = compare(cursor, "demo-richer-1-ba9876543210", "blend")
        assert sum(each.tokens_b for each in now.components) == pytest.approx(15000, abs=100)
        with pytest.raises(UsageError, match="started from no other run"):
            compare(cursor, "demo-trunk-1")
        with pytest.raises(UsageError, match="no run 'blend' in the lake"):
            compare(cursor, "blend")


def test_labels_are_compared_by_latest_answers(root: Path, lake: Lake, tmp_path: Path) -> None:
    write(root, {"taxonomies/press.yml": TAXONOMY})
    taxonomy = Taxonomies((root,)).get("press")
    for name, maths in (("first", "x"), ("second", "y")):
        file = tmp_path / f"{name}.csv"
        file.write_text(
            "doc_id,kind\n" + "".join(f"{number:032},{maths if number <= 10 else 'x'}\n" for number in range(1, 161))
        )
        ingest_labels(lake, find_inputs([str(file)]), external_labeler("people", taxonomy, []), IngestOptions())
    with closing(lake.reader()) as cursor:
        cursor.execute("begin transaction")
        (found,) = compare(cursor, "blend", "copied").labels
        shares = {name: show_share(cursor, name) for name in ("blend", "copied")}
    assert (found.taxonomy, found.labeler, found.category) == ("press", "people", "kind")
    assert (found.labelled_a, found.labelled_b) == (1.0, 1.0)
    p, q = shares["copied"], shares["blend"]
    assert found.divergence == pytest.approx(p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q)))


def show_share(cursor: duckdb.DuckDBPyConnection, name: str) -> float:
    row = cursor.execute(
        f"select sum(n_tokens * copies) filter (component = 'maths') / sum(n_tokens * copies) from main.{name}"
    ).fetchone()
    assert row
    return float(row[0])


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("blond", UsageError, "no mixture 'blond' in the lake"),
        ("none", MixtureError, "none is not a mixture: it lacks component, copies, n_tokens"),
        ("blend@x", UsageError, "x is not a valid snapshot"),
        ("blend@0", MixtureError, "cannot read blend@0"),
    ],
)
def test_what_is_no_mixture_is_said(
    cursor: duckdb.DuckDBPyConnection, name: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        compare(cursor, name, "blend")


def test_commands_print_tables_and_json(read_only: Lake) -> None:
    lake = read_only
    runner = CliRunner()
    table = runner.invoke(command, ["show", "blend", "--lake", str(lake.root)])
    assert table.exit_code == 0, table.output
    assert "50.00% ██████████" in table.output and "max_epochs 2" in table.output
    parsed = json.loads(runner.invoke(command, ["show", "blend", "--json", "--lake", str(lake.root)]).output)
    assert parsed["components"][0]["component"] == "maths" and parsed["warnings"]
    different = runner.invoke(command, ["diff", "copied", "blend", "--lake", str(lake.root)])
    assert "over components: infinite" in different.output
    as_json = runner.invoke(command, ["diff", "copied", "blend", "--json", "--lake", str(lake.root)])
    assert json.loads(as_json.output)["divergence"] is None


@given(weights=st.lists(st.tuples(st.integers(1, 1000), st.integers(1, 1000)), min_size=1, max_size=8))
def test_the_divergence_is_zero_for_equals_only_and_never_less(weights: list[tuple[int, int]]) -> None:
    p = [left / sum(row[0] for row in weights) for left, _ in weights]
    q = [right / sum(row[1] for row in weights) for _, right in weights]
    assert divergence(p, p) == 0
    assert divergence(p, q) >= 0.5 * sum(abs(a - b) for a, b in zip(p, q, strict=True)) ** 2 - 1e-12, "Pinsker"


def tried(root: Path, lake: Lake, *words: str) -> str:
    where = ["--from", "pool", "--project-dir", str(root), "--lake", str(lake.root)]
    return CliRunner().invoke(command, ["try", *words, *where], catch_exceptions=False).output


def test_shares_are_tried_as_the_macro_would_take_them(root: Path, lake: Lake) -> None:
    told = json.loads(
        tried(root, lake, "maths=50%", "code=0.3", "web=0.2", "--tokens", "6k", "--max-epochs", "2", "--json")
    )
    found = {each["component"]: each for each in told["components"]}
    assert (found["maths"]["tokens"], found["maths"]["shortfall"], found["maths"]["epochs"]) == (2800, 200, 2.0)
    with closing(lake.reader()) as cursor:
        cursor.execute("begin transaction")
        built = {each.component: each for each in show(cursor, "blend").components if each.tokens}
    assert built.keys() == found.keys()
    for name, each in found.items():
        assert each["tokens"] == pytest.approx(built[name].tokens, abs=100), "a document has 100 tokens"
    assert told["unused"] == {}


def test_a_component_that_the_pool_lacks_is_told_with_what_it_has(root: Path, lake: Lake) -> None:
    shown = tried(root, lake, "math=1", "code=1")
    assert "pool has no documents of the component math; did you mean maths?" in shown
    assert "in no component of it: web 10,000, maths 1,400" in shown
    with pytest.raises(UsageError, match="'maths' is not COMPONENT=SHARE"):
        tried(root, lake, "maths")
    with pytest.raises(UsageError, match="too few tokens: asked 1000000, available 1400"):
        tried(root, lake, "maths=1", "--tokens", "1M")


def test_a_query_of_the_macro_says_how_often_a_component_may_be_seen(cursor: duckdb.DuckDBPyConnection) -> None:
    wanted = {"blend": {"maths": 2.0, "code": 2.0, "web": 2.0, "law": 2.0}, "copied": {}}
    for name, limits in wanted.items():
        sql = read_mixture(cursor, name, f"read_{name}")
        assert dict(ask_cte(cursor, sql, "mixture_asked", "component, epochs / 1000000.0")) == limits
