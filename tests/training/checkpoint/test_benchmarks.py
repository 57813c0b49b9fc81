"""Benchmark tasks on local files: what is read, and that scores are those of the model's own likelihoods."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tests.helpers import SQL
from tests.training.helpers import cuvee
from training.checkpoint.benchmarks import read, task_name
from udfs.errors import UsageError
from warehouse.lake.lake import Lake


def test_files_of_all_forms_are_read(shared_data: Path) -> None:
    folder = shared_data / "benchmarks" / "llm-foundry"
    for name, count in (
        ("world_knowledge/arc_easy.jsonl", 2376),
        ("reading_comprehension/boolq.jsonl.gz", 3270),
        ("language_understanding/winogrande.jsonl", 1267),
        ("world_knowledge/jeopardy_all.jsonl", 2117),
        ("symbolic_problem_solving/svamp.jsonl", 300),
    ):
        assert len(read(folder / name)) == count
    assert task_name(folder / "reading_comprehension/boolq.jsonl.gz") == "boolq"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"query": "a", "choices": ["b"], "gold": 0}\noops\n', "q.jsonl:2: not a line of JSON"),
        ('{"question": "a"}\n', "q.jsonl:1: a question of no known form"),
        (
            '{"context": "a", "answer": "b"}\n{"context": "a", "continuation": "b"}\n',
            "q.jsonl:2: a question of another",
        ),
        ("", "no questions in"),
    ],
)
def test_what_is_no_question_is_located(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "q.jsonl").write_text(text)
    with pytest.raises(UsageError) as caught:
        read(tmp_path / "q.jsonl")
    assert words in str(caught.value)


def test_scores_are_those_of_the_models_likelihoods(place: Path) -> None:
    import torch
    import transformers

    choices = ["ab", "cd", "ef", "fa"]
    questions = [{"query": f"{a}{b}c", "choices": choices, "gold": i % 4} for i, (a, b) in enumerate(PAIRS)]
    with gzip.open(place / "arc_easy.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(question) + "\n" for question in questions)
    options = [{"context_options": ["ab", "ba"], "continuation": "cdef", "gold": i % 2} for i in range(4)]
    (place / "winogrande.jsonl").write_text("\n".join(map(json.dumps, options)))
    (place / "jeopardy.jsonl").write_text(json.dumps({"context": "abc", "continuation": "def"}))
    (place / "svamp.jsonl").write_text(json.dumps({"context": "abc", "answer": "1"}))
    files = ("arc_easy.jsonl.gz", "winogrande.jsonl", "jeopardy.jsonl", "svamp.jsonl")
    done = cuvee(place, "checkpoint", "evaluate", "runs/decoder/control-1", *files, "--json")
    assert done.returncode == 0, done.stderr
    scores = {row["task"]: row for row in json.loads(done.stdout)}
    assert [row["questions"] for row in scores.values()] == [36, 4, 1, 1]
    assert scores["winogrande"]["accuracy"] == 0.5  # the same context is the likelier one in all four

    assert cuvee(place, "checkpoint", "export", "runs/decoder/control-1", "models/asked").returncode == 0
    model = transformers.AutoModelForCausalLM.from_pretrained(place / "models/asked").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(place / "models/asked")
    right = 0
    for question in questions:
        likelihoods = []
        for choice in choices:
            before = tokenizer(question["query"]).input_ids
            whole = tokenizer(f"{question['query']} {choice}").input_ids
            with torch.no_grad():
                logs = model(input_ids=torch.tensor([whole])).logits[0].log_softmax(-1)
            after = range(len(before), len(whole))
            likelihoods.append(sum(float(logs[at - 1, whole[at]]) for at in after))
        right += likelihoods.index(max(likelihoods)) == question["gold"]
    assert scores["arc_easy"]["accuracy"] == pytest.approx(right / len(questions))

    built = cuvee(
        place, "build", "--project-dir", str(SQL), "--select", "gauntlet benchmark_scores benchmark_categories"
    )
    assert built.returncode == 0, built.stdout + built.stderr
    found = dict(
        Lake.open(place / "lake").reader().execute("select task, above_chance from main.benchmark_scores").fetchall()
    )
    assert found["arc_easy"] == pytest.approx((right / 36 - 0.25) / 0.75)
    assert found["winogrande"] == 0
    means = (
        Lake.open(place / "lake").reader().execute("select category, score from main.benchmark_categories").fetchall()
    )
    assert dict(means)["world_knowledge"] == pytest.approx((found["arc_easy"] + found["jeopardy"]) / 2)
    assert "core_average" not in dict(means), "two categories have no task"

    encoder = cuvee(place, "checkpoint", "evaluate", "runs/encoder/control-1", "jeopardy.jsonl")
    assert encoder.returncode == 2
    assert "is an encoder" in encoder.stderr


PAIRS = [(a, b) for a in "abcdef" for b in "abcdef"]
