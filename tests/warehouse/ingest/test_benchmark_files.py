"""cuvee ingest --benchmark: the texts of a benchmark are found, and each is read."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tests.helpers import write_jsonl
from tests.warehouse.ingest.helpers import assert_consistent
from udfs.errors import UsageError
from warehouse.cli.lake.ingest import ingest
from warehouse.ingest.records import StrictError
from warehouse.lake.lake import Lake

Add = Callable[..., str]
Ask = Callable[[str], list[tuple[Any, ...]]]

GSM = {"question": "How many eggs does Janet sell?", "answer": "She sells 16 - 7 = 9.\n#### 9"}


@pytest.fixture
def add(lake: Lake) -> Add:
    """Run ``cuvee ingest`` on the test's lake. Mistakes are raised."""

    def run(*arguments: object) -> str:
        given = [*map(str, arguments), "--lake", str(lake.root)]
        return CliRunner().invoke(ingest, given, catch_exceptions=False).stdout

    return run


def texts(ask: Ask) -> set[str]:
    return {text for (text,) in ask("select text from raw.documents")}


def test_every_text_field_is_read_under_the_benchmarks_source(lake: Lake, add: Add, ask: Ask, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "test.jsonl", [{"id": "a b c", "url": "see it here", **GSM}])
    assert "text fields: question, answer\n" in add(path, "--benchmark", "gsm8k")
    assert texts(ask) == set(GSM.values())
    assert ask("select distinct source, source_id from raw.occurrences") == [("benchmarks/gsm8k", "a b c")]
    assert "nothing new" in add(path, "--benchmark", "gsm8k"), "both fields are known"
    assert ask("select count(*) from raw.files") == [(2,)]
    assert_consistent(lake)


def test_each_choice_is_a_document_in_json_and_in_parquet(lake: Lake, add: Add, ask: Ask, tmp_path: Path) -> None:
    records = [
        {"question": {"stem": "what is red?"}, "choices": {"text": ["a rose", "the sea"], "label": ["A", "B"]}},
        {"question": {"stem": "what is up?"}, "choices": {"text": ["the sky", "a cave", "the third"], "label": ["A"]}},
        {"question": {"stem": "no choices?"}, "choices": {"text": None, "label": None}},
    ]
    wanted = {"what is red?", "what is up?", "no choices?", "a rose", "the sea", "the sky", "a cave", "the third"}
    write_jsonl(tmp_path / "a.jsonl", records)
    shown = add(tmp_path / "a.jsonl", "--benchmark", "arc")
    assert "question.stem, choices.text (up to 3 texts a record)" in shown
    assert texts(ask) == wanted
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "a.parquet")
    made = json.loads(add(tmp_path / "a.parquet", "--benchmark", "arc2", "--json"))
    assert ask("select count(*) from raw.occurrences where source = 'benchmarks/arc2'") == [(len(wanted),)]
    assert [(each["field"], each["without"], each["texts"]) for each in made["fields"]] == [
        ("question.stem", 0, 3),
        ("choices.text", 1, 5),
    ]
    assert made["rejected"] == 0
    assert_consistent(lake)


def test_a_record_without_a_field_is_counted_and_not_rejected(add: Add, ask: Ask, tmp_path: Path) -> None:
    records = [GSM, {"question": "an open question"}, {"question": "a null one", "answer": None}, {"answer": ""}]
    path = write_jsonl(tmp_path / "test.jsonl", records)
    shown = add(path, "--benchmark", "open", "--strict")
    assert "4 times a record has no such field or an empty one" in shown
    assert ask("select count(*) from raw.rejects") == [(0,)]
    path.write_text(path.read_text() + "{broken\n")
    assert "2 rejected" in add(path, "--benchmark", "open"), "what cannot be read is rejected for each field"
    with pytest.raises(StrictError, match="not a JSON object"):
        add(write_jsonl(tmp_path / "new.jsonl", [GSM, "no object"]), "--benchmark", "strict", "--strict")


def test_labels_and_lists_of_objects_are_left_out_by_name(add: Add, ask: Ask, tmp_path: Path) -> None:
    record = {"question": "two words", "answer": "B", "options": [{"key": "A"}], "target": 3, "note": "some other text"}
    shown = add(write_jsonl(tmp_path / "a.jsonl", [record]), "--benchmark", "mc")
    assert "text fields: question\n" in shown
    left_out = next(line for line in shown.splitlines() if line.startswith("left out"))
    for part in ("answer (one short word in every record)", "options (objects)", "target (numbers)"):
        assert part in left_out
    assert texts(ask) == {"two words"}


def test_a_field_that_is_named_is_read_and_no_other(add: Add, ask: Ask, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{**GSM, "note": "a note", "deep": {"er": {"est": ["x", "y"]}}}])
    assert "text fields: note, deep.er.est (up to 2" in add(
        path, "--benchmark", "b", "--text-field", "note, deep.er.est"
    )
    assert texts(ask) == {"a note", "x", "y"}
    with pytest.raises(UsageError, match="no record has a text in the field 'qestion'") as caught:
        add(path, "--benchmark", "b", "--text-field", "qestion")
    assert caught.value.hint == "did you mean question?"


def test_files_of_a_folder_have_fields_of_their_own(add: Add, ask: Ask, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"problem": "a problem here"}])
    (tmp_path / "b.json.gz").write_bytes(
        gzip.compress(json.dumps([{"goal": "reach it now", "sol1": "go on"}]).encode())
    )
    write_jsonl(tmp_path / "c.jsonl", [{"row": "nothing to read"}])
    (tmp_path / "README.md").write_text("# A benchmark")
    shown = add(tmp_path, "--benchmark", "mixed")
    assert "text fields: problem, goal, sol1\n" in shown
    assert "2 files left out: README.md (not records but text), c.jsonl (no text field)" in shown
    assert texts(ask) == {"a problem here", "reach it now", "go on"}


def test_mistakes_say_what_to_do(add: Add, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"foo": "some words", "bar": 1}])
    with pytest.raises(UsageError, match=r"no text field was found in a\.jsonl") as caught:
        add(path, "--benchmark", "b")
    assert "foo, bar" in str(caught.value.hint)
    with pytest.raises(UsageError, match="leave --source out"):
        add(path, "--benchmark", "b", "--source", "x")
    with pytest.raises(UsageError, match="write --benchmark b"):
        add(path, "--benchmark", "benchmarks/b")
    for name in ("", "a//b", " "):
        with pytest.raises(UsageError, match="cannot be the name of a benchmark"):
            add(path, "--benchmark", name)
    (tmp_path / "t.csv").write_text("question,answer\na b,c\n")
    with pytest.raises(UsageError, match="not records but csv"):
        add(tmp_path / "t.csv", "--benchmark", "b")
    with pytest.raises(UsageError, match="no --labels"):
        add("--environment", "--benchmark", "b")


@pytest.mark.parametrize(
    ("path", "fields", "count"),
    [
        ("gsm8k/test.jsonl", {"question": 1319, "answer": 1319}, 2638),
        ("humaneval", {"prompt": 164, "canonical_solution": 164, "test": 164}, 492),
        ("llm-foundry/commonsense_reasoning/piqa.jsonl", {"query": 1838, "choices": 3676}, 5514),
        ("llm-foundry/language_understanding", {"context_options": 2534, "continuation": 1267}, 3801),
        ("llm-foundry/symbolic_problem_solving/svamp.jsonl", {"context": 300, "chain_of_thought": 300}, 600),
    ],
)
def test_published_benchmarks_are_read_without_being_told_how(
    shared_data: Path, add: Add, path: str, fields: dict[str, int], count: int
) -> None:
    made = json.loads(add(shared_data / "benchmarks" / path, "--benchmark", "real", "--json"))
    assert {each["field"]: each["texts"] for each in made["fields"]} == fields
    assert (made["occurrences"], made["rejected"]) == (count, 0)
