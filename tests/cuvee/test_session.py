"""What `import cuvee` offers: the methods of a lake, from Python."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import cuvee
import cuvee.session
from tests.cuvee.kitchen import TEXTS
from tests.helpers import ROOT, write_jsonl

pandas = pytest.importorskip("pandas")
EXAMPLES = [each for each in doctest.DocTestFinder().find(cuvee.session, globs={}) if each.examples]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name.rpartition(".")[2])
def test_the_examples_of_the_docstrings_run(example: doctest.DocTest, lake: cuvee.Warehouse) -> None:
    example.globs = {"cuvee": cuvee, "lake": lake}
    said: list[str] = []
    failed = doctest.DocTestRunner().run(example, out=said.append).failed
    assert not failed, "".join(said)


def test_every_public_method_has_an_example() -> None:
    shown = {example.name.rpartition(".")[2] for example in EXAMPLES}
    methods = {name for name, each in vars(cuvee.Warehouse).items() if callable(each) and not name.startswith("_")}
    assert methods - shown == {"close"}


def test_all_names_what_there_is() -> None:
    assert cuvee.__all__ == ["BuildError", "Error", "IngestError", "Warehouse", "connect"]
    assert dir(cuvee) == cuvee.__all__
    for name in cuvee.__all__:
        assert getattr(cuvee, name).__doc__, name
    with pytest.raises(AttributeError, match=r"no attribute 'conect'; it has .*connect"):
        cuvee.conect  # noqa: B018
    assert (ROOT / "cuvee" / "py.typed").is_file()


def test_the_import_loads_no_library() -> None:
    script = (
        "import sys, cuvee; cuvee.connect, cuvee.Warehouse, cuvee.Error\n"
        "print(sorted({'duckdb', 'pyarrow', 'pandas', 'numpy', 'torch', 'sqlglot', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"


def test_without_a_lake_connect_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CUVEE_LAKE", raising=False)
    with pytest.raises(cuvee.Error, match="no lake in lake\n  create one with: cuvee init"):
        cuvee.connect("lake")
    made = cuvee.connect("lake", create=True)
    assert made.root == tmp_path / "lake"
    assert cuvee.connect().root == made.root
    with pytest.raises(cuvee.Error, match="did you mean lake"):
        cuvee.connect(".")


def test_create_opens_the_lake_that_is_there(lake: cuvee.Warehouse) -> None:
    assert cuvee.connect("lake", create=True).table("raw.documents").count("*").fetchall() == [(3,)]


def test_a_relation_becomes_a_frame(lake: cuvee.Warehouse) -> None:
    frame = lake.sql("select text from raw.documents order by text").df()
    assert list(frame["text"]) == TEXTS
    assert lake.sql("set threads = 1").fetchall() == []


def test_sql_sees_what_was_ingested_and_built_since(lake: cuvee.Warehouse) -> None:
    before = lake.table("my_mixture").count("*").fetchall()
    lake.ingest(pandas.DataFrame({"text": ["Salt comes from the sea."]}), source="kitchen")
    lake.build("+my_mixture")
    assert before == [(3,)]
    assert lake.table("my_mixture").count("*").fetchall() == [(4,)]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("from raw.document", 'Did you mean "documents"'),
        ("selct 1", "syntax error"),
        ("create table mine as select 1", "tables change by cuvee ingest and cuvee build"),
        ("select label_documen(text) from raw.documents", "did you mean label_document"),
        ("select label_document(text, 'fak') from raw.documents", "query:1:8: no labeler 'fak'\n  did you mean fake"),
        ("select 1;\nselect label_document(text) from raw.documents", "several statements"),
        (" ;", "the query is empty"),
    ],
)
def test_a_mistake_in_sql_says_what_is_wrong(lake: cuvee.Warehouse, query: str, message: str) -> None:
    with pytest.raises(cuvee.Error) as raised:
        lake.sql(query)
    assert message in str(raised.value)


def test_table_suggests_the_nearest_name(lake: cuvee.Warehouse) -> None:
    with pytest.raises(cuvee.Error, match="no table 'my_mixtur' in the lake\n  did you mean my_mixture"):
        lake.table("my_mixtur")


def test_a_registered_frame_may_be_replaced_and_hides_no_table(lake: cuvee.Warehouse) -> None:
    for value in (1, 2):
        lake.register("mine", pandas.DataFrame({"value": [value]}))
        assert lake.table("mine").fetchall() == [(value,)]
    with pytest.raises(cuvee.Error, match="the lake has a table my_mixture"):
        lake.register("my_mixture", pandas.DataFrame({"value": [1]}))
    lake.close()
    with pytest.raises(cuvee.Error, match="no table 'mine'"):
        lake.table("mine")


def test_vectorized_functions_are_computed_in_a_query(lake: cuvee.Warehouse) -> None:
    query = "select quality_signals(text).rps_doc_word_count from raw.documents order by text"
    assert lake.sql(query).fetchall() == [(6.0,), (6.0,), (7.0,)]
    assert lake.sql(f"select count(*) from ({query})").fetchall() == [(3,)]


def _labels(lake: cuvee.Warehouse) -> int:
    """Count the answers that the lake keeps."""
    exists = "select 1 from information_schema.tables where table_schema = 'labels' and table_name = 'eai'"
    if not lake.sql(exists).fetchall():
        return 0
    count: int = lake.table("labels.eai").count("*").fetchall()[0][0]
    return count


def test_a_labelling_function_is_answered_once(lake: cuvee.Warehouse) -> None:
    query = "select text, label_document(text, 'fake').education_level.primary as level from raw.documents order by 1"
    first = lake.sql(query).fetchall()
    assert [text for text, _ in first] == TEXTS
    assert all(level is not None for _, level in first)
    assert _labels(lake) == 3
    assert lake.sql(query, limit=0).fetchall() == first, "what is answered needs no new answer"


def test_a_query_over_the_limit_asks_for_nothing(lake: cuvee.Warehouse) -> None:
    query = "select label_document(text, 'fake') from raw.documents"
    with pytest.raises(cuvee.Error, match="lacks answers for 3 texts, which is over limit=2") as raised:
        lake.sql(query, limit=2)
    assert "in a model" in str(raised.value)
    assert _labels(lake) == 0
    assert len(lake.sql(query, limit=3).fetchall()) == 3


def test_a_labelling_function_reads_a_registered_frame(lake: cuvee.Warehouse) -> None:
    lake.register("notes", pandas.DataFrame({"note": [*TEXTS[:2], None]}))
    query = "select note, label_document(note, 'fake').education_level.primary as level from notes order by 1"
    levels = dict(lake.sql(query).fetchall())
    assert levels.pop(None) is None
    direct = lake.label(TEXTS[:2], labeler="fake")
    assert levels == {row["text"]: row["education_level"]["primary"] for row in direct.to_pylist()}


def test_label_keeps_the_order_and_stores_nothing(lake: cuvee.Warehouse) -> None:
    texts = ["b", None, "a", "b", ""]
    table = lake.label(texts, labeler="fake")
    assert table["text"].to_pylist() == texts
    assert table.column_names[0] == "text"
    assert table.column_names[-2:] == ["status", "raw"]
    assert table["status"].to_pylist() == ["ok", None, "ok", "ok", "ok"]
    rows = table.to_pylist()
    assert rows[0] == rows[3]
    assert rows[1]["education_level"] is None
    assert lake.label(pandas.Series(texts), labeler="fake").equals(table)
    assert lake.label("a", labeler="fake").to_pylist() == [rows[2]]
    assert lake.label([], labeler="fake").num_rows == 0
    assert _labels(lake) == 0
    with pytest.raises(cuvee.Error, match="label takes texts"):
        lake.label([1], labeler="fake")  # type: ignore[list-item]


def test_a_labeler_stays_loaded_until_another_is_asked_for(
    lake: cuvee.Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    from udfs.labels.label_document import BoundLabeler

    ended: list[str] = []
    monkeypatch.setattr(BoundLabeler, "close", lambda self: ended.append(self.labeler))
    query = "select label_document(text || '{}', 'fake') from raw.documents"
    for word in ("a", "b"):
        lake.label([word], labeler="fake")
        lake.sql(query.format(word))
    assert ended == []
    lake.close()
    assert ended == ["fake", "fake"]
    assert lake.label(["a"], labeler="fake").num_rows == 1


def test_ingest_reads_files_of_several_paths(lake: cuvee.Warehouse, tmp_path: Path) -> None:
    files = [write_jsonl(tmp_path / f"{name}.jsonl", [{"text": f"About {name}."}]) for name in ("one", "two")]
    assert lake.ingest(files).documents == 2
    assert lake.ingest(str(tmp_path / "*.jsonl")).count("unchanged") == 2


def test_ingest_of_a_frame_tells_what_it_rejects(lake: cuvee.Warehouse) -> None:
    frame = pandas.DataFrame({"body": ["Rice is boiled.", None, ""], "source": ["east", "east", "west"], "year": 2020})
    report = lake.ingest(frame[frame.index != 5], text_field="body")
    assert (report.documents, report.rejected) == (1, 2)
    assert lake.ingest(frame, text_field="body").documents == 0
    found = lake.sql("select source, metadata ->> 'year' from raw.occurrences where source != 'kitchen'").fetchall()
    assert found == [("east", "2020")]
    rejects = lake.sql("select path, count(*) from raw.rejects join raw.files using (file_id) group by 1").fetchall()
    assert rejects == [("frame", 2)]


def test_the_numbers_of_rows_are_no_metadata(lake: cuvee.Warehouse) -> None:
    frame = pandas.DataFrame({"text": ["Peas are green.", "Plums are blue."]})
    lake.ingest(frame[frame["text"].str.startswith("Pl")], source="garden")
    found = lake.sql("select metadata from raw.occurrences where source = 'garden'").fetchall()
    assert found == [(None,)]


def test_ingest_takes_an_arrow_table(lake: cuvee.Warehouse) -> None:
    import pyarrow as pa

    assert lake.ingest(pa.table({"text": ["Oil floats on water."]}), source="kitchen").documents == 1


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        (pandas.DataFrame({"txt": ["a"]}), "the frame has no column 'text'\n  did you mean txt"),
        (pandas.DataFrame({"text": ["a", 1]}), "Arrow cannot read the frame"),
        (["no_such_file.jsonl"], "no such file or folder: no_such_file.jsonl"),
        ([], "not an empty list"),
        (3, "not int"),
    ],
)
def test_what_ingest_cannot_take_is_told(lake: cuvee.Warehouse, documents: Any, message: str) -> None:
    with pytest.raises(cuvee.Error) as raised:
        lake.ingest(documents)
    assert message in str(raised.value)


def test_a_file_that_cannot_be_read_is_an_error_with_the_report(
    lake: cuvee.Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from warehouse.ingest.known_files import FileStamp

    files = [write_jsonl(tmp_path / f"{name}.jsonl", [{"text": f"About {name}."}]) for name in ("open", "locked")]
    stamp = FileStamp.of

    def of(entry: Any) -> FileStamp:
        if entry.path.stem == "locked":
            raise PermissionError(13, "Permission denied")
        return stamp(entry)

    monkeypatch.setattr(FileStamp, "of", of)
    with pytest.raises(
        cuvee.IngestError, match=r"1 files could not be read; first .*locked.jsonl: Permission"
    ) as raised:
        lake.ingest(files)
    assert raised.value.report.documents == 1
    assert lake.table("raw.documents").count("*").fetchall() == [(4,)]


def test_a_failing_node_raises_with_all_results(lake: cuvee.Warehouse, tmp_path: Path) -> None:
    (tmp_path / "models" / "broken.sql").write_text(
        "select error('the oven is cold') as x from {{ ref('components') }}"
    )
    (tmp_path / "models" / "below.sql").write_text("from {{ ref('broken') }}")
    with pytest.raises(cuvee.BuildError, match=r"1 of 4 nodes failed, 1 skipped\nbroken .*the oven is cold") as raised:
        lake.build()
    assert isinstance(raised.value, cuvee.Error)
    statuses = {result.name: result.status for result in raised.value.results}
    assert statuses["broken"] == "error"
    assert statuses["below"] == "skipped"
    assert [result.name for result in lake.build(["components", "my_mixture"])] == ["components", "my_mixture"]
    assert [result.name for result in lake.build(exclude="broken+")] == ["components", "my_mixture"]
    with pytest.raises(cuvee.Error, match="nothing in the project is named 'oven'"):
        lake.build("oven")


def test_variables_and_the_limit_reach_the_build(lake: cuvee.Warehouse, tmp_path: Path) -> None:
    model = (
        "select label_document(text || '{{ var('word') }}', 'fake').education_level.primary as level from raw.documents"
    )
    (tmp_path / "models" / "levels.sql").write_text(model)
    with pytest.raises(cuvee.BuildError, match=r"levels \(limited\)"):
        lake.build("levels", variables={"word": "x"}, limit=2)
    assert _labels(lake) == 2
    assert lake.build("levels", variables={"word": "x"})[0].rows == 3


def test_an_export_says_what_it_lacks(lake: cuvee.Warehouse) -> None:
    with pytest.raises(cuvee.Error, match=r"needs a tokenizer\n  train one: .*format='text'"):
        lake.export("my_mixture", "exports/tokens")
    with pytest.raises(cuvee.Error, match="tokenizer goes with format='tokens'"):
        lake.export("my_mixture", "exports/text", format="text", tokenizer="demo")
    with pytest.raises(cuvee.Error, match="no mixture 'mine'"):
        lake.mixture("mine")


def test_tokens_are_exported_with_a_tokenizer_of_the_lake(lake: cuvee.Warehouse) -> None:
    from warehouse.lake.lake import Lake
    from warehouse.mixtures.tokenizers import TokenizerCorpus, train

    train(Lake.open(lake.root), "small", TokenizerCorpus("my_mixture", 10_000), 300)
    done = lake.export("my_mixture", "exports/tokens", tokenizer="small", sequence_length=16)
    assert done.manifest.sequence_length == 16
    assert done.manifest.tokens > 0
    assert not lake.export("my_mixture", "exports/tokens", tokenizer="small", sequence_length=16).changed


def test_quiet_says_nothing(lake: cuvee.Warehouse, capsys: pytest.CaptureFixture[str]) -> None:
    lake.build(full_refresh=True)
    lake.sql("select label_document(text, 'fake') from raw.documents")
    assert capsys.readouterr() == ("", "")
