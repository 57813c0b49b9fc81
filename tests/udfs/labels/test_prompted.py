"""From texts to labels through an engine whose answers are chosen by the test."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from udfs.expensive import INPUT_SCHEMA
from udfs.labels.backends.engine import Answer, Engine, Prompt
from udfs.labels.label_document import BoundLabeler
from udfs.labels.labelers.labeler_registry import LabelerRegistry
from udfs.labels.labelers.prompted import BETWEEN, PromptedLabeler

ONE = "taxonomy: web_domains\nbackend: fake\ngeneration: {max_tokens: 9}\nprompt: {user: '{{ text }}'}\n"
TWO = """
backend: fake
codec: condensed
generation: {max_tokens: 100, structured: true}
passes:
  - categories: [document_type_v2, free_decimal_correspondence]
    prompt: {system: first, user: "{{ text }}"}
  - categories:
      [bloom_cognitive_process, bloom_knowledge_domain, document_type_v1, extraction_artifacts, missing_content,
       reasoning_depth, technical_correctness, education_level]
    prompt: {user: "{{ n_chars }} {{ text }}"}
"""


class Scripted(Engine):
    """An engine with a few prompts in flight that answers the last one first."""

    def __init__(self, write: Callable[[Prompt], str], in_flight: int = 3) -> None:
        self.write = write
        self.in_flight = in_flight
        self.taken: list[Prompt] = []
        self.cancelled = False

    def generate(self, prompts: Iterator[Prompt]) -> Iterator[Answer]:
        flying: list[Prompt] = []
        try:
            for prompt in prompts:
                self.taken.append(prompt)
                flying.append(prompt)
                if len(flying) == self.in_flight:
                    yield self.answer(flying.pop())
            while flying:
                yield self.answer(flying.pop())
        except GeneratorExit:
            self.cancelled = True
            raise

    def answer(self, prompt: Prompt) -> Answer:
        text = self.write(prompt)
        if text.startswith("!"):
            return Answer(prompt.key, prompt.number, "", False, 10, 0, error=text[1:])
        return Answer(prompt.key, prompt.number, text, not text.endswith("…"), 10, 2)


@pytest.fixture
def make(tmp_path: Path, seeds: Path) -> Callable[..., tuple[BoundLabeler, Scripted]]:
    shutil.copytree(seeds, tmp_path / "seeds")
    (tmp_path / "labelers").mkdir()

    def labeler(settings: str, write: Callable[[Prompt], str]) -> tuple[BoundLabeler, Scripted]:
        (tmp_path / "labelers" / "own.yml").write_text(settings)
        found = LabelerRegistry((tmp_path,)).get("own")
        assert isinstance(found, PromptedLabeler)
        engine = Scripted(write)
        found.__dict__["engine"] = engine
        return BoundLabeler(found), engine

    return labeler


def test_each_answer_has_the_status_it_deserves(make: Any, ask: Any) -> None:
    says = {
        "good": "food,travel",
        "wordy": "food,travel\nBecause it is a recipe.",
        "wrong": "cooking,skip",
        "cut": "food,tra…",
        "lost": "!the server said no",
        "abstains": "-1,skip",
    }
    function, engine = make(ONE, lambda prompt: says[prompt.messages[-1].content])
    rows = dict(zip([*says, " \x00"], ask(function, [*says, " \x00"]), strict=True))
    assert {text: row["status"] for text, row in rows.items()} == {
        "good": "ok", "wordy": "partial", "wrong": "unparsed", "cut": "unparsed", "lost": "error", "abstains": "ok",
        " \x00": "ok",
    }  # fmt: skip
    assert rows["good"]["domain"] == rows["wordy"]["domain"] == {"primary": "food", "secondary": "travel"}
    assert rows["wrong"]["domain"] == rows["lost"]["domain"] == {"primary": None, "secondary": None}
    assert rows["abstains"]["domain"] == rows[" \x00"]["domain"] == {"primary": "-1", "secondary": None}
    assert rows["wrong"]["raw"] == "cooking,skip"
    assert rows["lost"]["raw"] == "the server said no"
    assert [rows[text]["tokens"] for text in ("good", "lost", " \x00")] == [12, 10, 0]
    assert len(engine.taken) == len(says)


def test_two_passes_are_one_verdict(make: Any, ask: Any) -> None:
    def write(prompt: Prompt) -> str:
        assert prompt.pattern
        if prompt.number == 0:
            assert prompt.messages[0] == ("system", "first")
            return "!lost" if "b" in prompt.messages[-1].content else "23,10\n510,skip"
        assert prompt.messages[0].content == "1 " + prompt.messages[0].content[2:]
        return "2,3\n3,1\n3,skip\n0,3\n0,2\n3,2\n4,3\n9,9"

    function, _ = make(TWO, write)
    whole, lost = ask(function, ["a", "b"])
    assert whole["document_type_v2"] == {"primary": "23", "secondary": "10"}
    assert whole["technical_correctness"] == {"primary": "4", "secondary": "3"}
    assert whole["education_level"] == {"primary": None, "secondary": None}
    assert (whole["status"], whole["tokens"]) == ("partial", 24)
    assert whole["raw"] == "23,10\n510,skip" + BETWEEN.format(2) + "2,3\n3,1\n3,skip\n0,3\n0,2\n3,2\n4,3\n9,9"
    assert (lost["status"], lost["raw"], lost["tokens"]) == ("error", "lost", 22)
    assert lost["technical_correctness"] == {"primary": None, "secondary": None}


def test_many_texts_with_and_without_anything_to_read_are_all_answered(make: Any, ask: Any) -> None:
    function, _ = make(ONE, lambda prompt: "food,skip")
    texts = [f"text {n}" if n % 3 else " " * (n + 1) for n in range(1000)]
    assert [row["domain"]["primary"] == "-1" for row in ask(function, texts)] == [n % 3 == 0 for n in range(1000)]


def test_texts_with_nothing_to_read_start_no_engine(make: Any, ask: Any) -> None:
    function, engine = make(ONE, lambda prompt: "food,skip")
    assert {row["status"] for row in ask(function, [" " * n for n in range(700)])} == {"ok"}
    assert engine.taken == []


def test_closing_cancels_what_is_in_flight_and_stops_reading(make: Any) -> None:
    function, engine = make(ONE, lambda prompt: "food,skip")
    read = 0

    def inputs() -> Iterator[pa.RecordBatch]:
        nonlocal read
        for start in range(0, 100_000, 100):
            read += 100
            keys = [str(start + n) for n in range(100)]
            yield pa.record_batch([keys, [f"text {key}" for key in keys]], schema=INPUT_SCHEMA)

    answers = function.answers(inputs())
    next(answers)
    answers.close()
    assert engine.cancelled
    assert len(engine.taken) < 500
    assert read < 2000
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_an_engine_that_fails_stops_everything(make: Any, ask: Any) -> None:
    def write(prompt: Prompt) -> str:
        raise RuntimeError("out of memory")

    function, _ = make(ONE, write)
    with pytest.raises(RuntimeError, match="out of memory"):
        ask(function, ["a", "b"])
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_what_was_answered_before_a_failure_is_handed_on(make: Any, failure: type[BaseException]) -> None:
    def write(prompt: Prompt) -> str:
        if prompt.key == "9":
            raise failure("connection reset")
        return "food,skip"

    function, engine = make(ONE, write)
    engine.in_flight = 1
    keys = [str(number) for number in range(10)]
    batch = pa.record_batch([keys, [f"text {key}" for key in keys]], schema=INPUT_SCHEMA)
    kept: list[str] = []
    with pytest.raises(failure):
        for table in function.answers(iter([batch])):
            kept += table.column(0).to_pylist()
    assert sorted(kept) == keys[:9]


def test_surrogates_and_long_texts_are_asked_about(make: Any) -> None:
    function, _ = make(ONE, lambda prompt: "food,skip")
    prompt_maker = function.engine.prompt_maker
    made = prompt_maker.batch(["a", "b", "c"], ["caf\ud800é", "x" * 10_000_000, "\ud83d\ude00"])
    assert [prompt.messages[0].content for prompt in made.prompts[::2]] == ["caf\ufffdé", "😀"]
    assert len(made.prompts[1].messages[0].content) < 31_000
    assert made.skipped == []


def test_a_template_that_fails_on_a_document_loses_only_it(make: Any, ask: Any) -> None:
    settings = ONE.replace("{{ text }}", "{{ 1 // (text|length - 1) }}{{ text }}")
    function, engine = make(settings, lambda prompt: "food,skip")
    rows = ask(function, ["ab", "c", "def"])
    assert [row["status"] for row in rows] == ["ok", "error", "ok"]
    assert "own.yml:4: cannot be rendered" in rows[1]["raw"]
    assert len(engine.taken) == 2
