"""A model folder as the published labeler's, tiny, through the path that the real one takes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from tests.udfs.labels.tiny_qwen import make_model, make_tokenizer
from udfs.errors import CuveeError
from udfs.labels.backends.engine import Prompt
from udfs.labels.backends.transformers import TransformersSettings
from udfs.labels.label_document import BoundLabeler
from udfs.labels.labelers.labeler_registry import LabelerRegistry
from udfs.labels.labelers.prompted import PromptedLabeler
from udfs.labels.labelers.trial import attempt, names

CODE = "def blend(barrels):\n    return sum(barrels)\n"
WINE = "A cellar master composes a blend from many barrels.\n"
ANSWERS = {
    CODE: "005.133,skip\n3,2\n3,1\n4,skip\n0,3\n0,skip\n8,23\n2,skip\n4,skip\n3,2",
    WINE: "663.2,641\n2,skip\n1,2\n3,9\n0,skip\n0,2\n10,skip\n1,2\n3,6\n1,2",
}

LABELER = """
backend: transformers
model: {folder: model, dtype: float32}
prompt: {system: taxonomy, user: "{{ text }}"}
codec: condensed
generation: {max_tokens: 100}
document: {characters: 3000, tokens: 900}
engine: {in_flight: 16, batch_tokens: 4096}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, seeds: Path) -> Path:
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(seeds, root / "seeds")
    (root / "labelers").mkdir()
    make_tokenizer(root / "labelers" / "model", [CODE, WINE, *ANSWERS.values()] * 10)
    examples = {}
    for text, answer in ANSWERS.items():
        examples |= {text * copies: answer for copies in (1, 3, 12)}
    make_model(root / "labelers" / "model", examples, system="taxonomy")
    (root / "labelers" / "tiny.yml").write_text(LABELER)
    return root


@pytest.fixture(scope="module")
def tiny(project: Path) -> PromptedLabeler:
    labeler = LabelerRegistry((project,)).get("tiny")
    assert isinstance(labeler, PromptedLabeler)
    return labeler


def test_a_trial_shows_the_way_of_one_document(tiny: PromptedLabeler) -> None:
    trial = attempt(tiny, WINE)
    (question,) = trial.questions
    assert [message.content for message in question.messages] == ["taxonomy", WINE]
    turns = f"<|im_start|>system\ntaxonomy<|im_end|>\n<|im_start|>user\n{WINE}<|im_end|>\n<|im_start|>assistant\n"
    assert question.chat == turns
    assert question.answer == ANSWERS[WINE]
    assert trial.read == (WINE,)
    assert (trial.status, trial.labels["free_decimal_correspondence"]) == ("ok", ("663.2", "641"))
    assert names(tiny, "document_type_v1", "3") == "Reference/Encyclopedic/Educational"
    long = attempt(tiny, "word " * 2000)
    assert len(long.read[0]) < 4000 and "[middle]" in long.read[0]


def test_documents_are_labelled_as_the_model_was_taught(tiny: PromptedLabeler, ask: Any) -> None:
    texts = [WINE, CODE, WINE * 3, CODE * 12]
    rows = ask(BoundLabeler(tiny), texts)
    assert [row["status"] for row in rows] == ["ok"] * 4
    assert [row["raw"] for row in rows] == [ANSWERS[WINE], ANSWERS[CODE], ANSWERS[WINE], ANSWERS[CODE]]
    assert rows[1]["free_decimal_correspondence"] == {"primary": "005.133", "secondary": None}
    assert rows[0]["document_type_v1"] == {"primary": "3", "secondary": "9"}
    (prompt,) = tiny.prompt_maker.batch(["key"], [WINE]).prompts
    written = len(tiny.engine.chat._plain.encode(ANSWERS[WINE]).ids) + 1  # type: ignore[union-attr]
    assert rows[0]["tokens"] == len(prompt.tokens or ()) + written


def test_neighbours_in_a_batch_do_not_change_an_answer(tiny: PromptedLabeler, ask: Any) -> None:
    texts = [WINE * (1 + n % 5) + CODE * (n % 3) + f"number {n}" for n in range(20)]
    together = [row["raw"] for row in ask(BoundLabeler(tiny), texts)]
    assert together == [row["raw"] for row in ask(BoundLabeler(tiny), texts[::-1], batch=3)][::-1]
    assert [ask(BoundLabeler(tiny), [text])[0]["raw"] for text in texts[:3]] == together[:3]


def test_hostile_documents_have_an_answer_each(tiny: PromptedLabeler, ask: Any, hostile: list[str]) -> None:
    texts = [*hostile[:20], *hostile[-16:], "x" * 10_000_000]
    assert {row["status"] for row in ask(BoundLabeler(tiny), texts)} <= {"ok", "partial", "unparsed"}


def test_a_long_prompt_is_made_of_less_of_the_document(tiny: PromptedLabeler) -> None:
    text = "".join(f"{n} " for n in range(3000))
    (prompt,) = tiny.prompt_maker.batch(["key"], [text]).prompts
    assert 800 < len(prompt.tokens or ()) <= 900
    read = prompt.messages[-1].content
    assert read.startswith("[beginning]\n0 1 2 ")
    assert read.endswith(" 2998 2999 ")
    assert tiny.prompt_maker.batch(["key"], [text]).prompts == [prompt]


def test_prompts_are_taken_as_there_is_room_and_the_rest_is_left(tiny: PromptedLabeler) -> None:
    taken = 0

    def prompts() -> Iterator[Prompt]:
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield tiny.prompt_maker.batch([str(taken)], [WINE]).prompts[0]

    answers = tiny.engine.generate(prompts())
    assert next(answers).key == "1"
    answers.close()  # type: ignore[attr-defined]
    assert taken == 16
    assert [
        answer.key for answer in tiny.engine.generate(iter(tiny.prompt_maker.batch(["again"], [WINE]).prompts))
    ] == ["again"]


def test_an_answer_that_is_cut_off_is_not_complete(project: Path, ask: Any) -> None:
    path = project / "labelers" / "short.yml"
    path.write_text(LABELER.replace("max_tokens: 100", "max_tokens: 12"))
    (row,) = ask(BoundLabeler(LabelerRegistry((project,)).get("short")), [CODE])
    assert row["status"] == "unparsed" and row["raw"].startswith("005.133"), "no line of it has a certain place"
    assert row["free_decimal_correspondence"] == {"primary": None, "secondary": None}
    assert row["education_level"] == {"primary": None, "secondary": None}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("max_tokens: 100", "max_tokens: 100, structured: true", "which the backend transformers cannot see to"),
        ("dtype: float32", "quantization: awq", "takes neither quantization nor adapter"),
        ("folder: model", "folder: seeds", "no tokenizer.json in"),
    ],
)
def test_what_it_cannot_do_is_said(project: Path, ask: Any, old: str, new: str, says: str) -> None:
    (project / "labelers" / "seeds").mkdir(exist_ok=True)
    (project / "labelers" / "odd.yml").write_text(LABELER.replace(old, new))
    with pytest.raises(CuveeError, match=says):
        ask(BoundLabeler(LabelerRegistry((project,)).get("odd")), [CODE])


def test_a_missing_package_names_the_extra(project: Path, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(CuveeError, match=r"(?s)backend transformers needs the package torch.*cuvee\[train\]"):
        ask(BoundLabeler(LabelerRegistry((project,)).get("tiny")), [CODE])


def test_settings_with_which_nothing_moves_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        TransformersSettings(in_flight=0)


def test_pickled_weights_are_refused(project: Path, ask: Any, tmp_path: Path) -> None:
    import torch

    folder, mark = project / "labelers" / "pickled", tmp_path / "mark"

    class Touch:
        def __reduce__(self) -> tuple[Any, tuple[Path]]:
            return Path.touch, (mark,)

    shutil.copytree(project / "labelers" / "model", folder)
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Touch()}, folder / "pytorch_model.bin")
    (project / "labelers" / "pickled.yml").write_text(LABELER.replace("folder: model", "folder: pickled"))
    with pytest.raises(CuveeError, match=r"pytorch_model\.bin, a pickle"):
        ask(BoundLabeler(LabelerRegistry((project,)).get("pickled")), [CODE])
    assert not mark.exists()


def test_a_models_own_python_runs_where_the_labelers_file_says_so(project: Path, ask: Any, tmp_path: Path) -> None:
    folder, mark = project / "labelers" / "coded", tmp_path / "mark"
    shutil.copytree(project / "labelers" / "model", folder)
    config = json.loads((folder / "config.json").read_text())
    known = type(AutoConfig.from_pretrained(folder)).__name__
    (folder / "mine.py").write_text(
        f"from pathlib import Path\nimport transformers\nPath({str(mark)!r}).touch()\n"
        f"class Config(transformers.{known}):\n    model_type = 'mine'\n"
        f"class Model(transformers.{config['architectures'][0]}):\n    config_class = Config\n"
    )
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    path = project / "labelers" / "coded.yml"
    path.write_text(LABELER.replace("folder: model", "folder: coded"))
    with pytest.raises(CuveeError, match="cannot load the model"):
        ask(BoundLabeler(LabelerRegistry((project,)).get("coded")), [CODE])
    assert not mark.exists()
    path.write_text(LABELER.replace("folder: model", "folder: coded, trust_remote_code: true"))
    (row,) = ask(BoundLabeler(LabelerRegistry((project,)).get("coded")), [CODE])
    assert row["status"] == "ok" and mark.exists()
