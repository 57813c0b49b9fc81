"""Distillation: students from labels in the lake, end to end, and what must hold on the way."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

from tests.helpers import RECIPES, SQL
from tests.training.distillation.passages import DOMAINS, Passage, judge, load, make_project
from training.cli.distil import distil
from training.distillation.encoding import IGNORED, Example, HeadsExamples, Packer, codes
from training.distillation.recipe import read_recipe
from training.recipe import schedules
from training.recipe.configuration import RecipeError
from training.recipe.durations import Clock
from udfs.errors import CuveeError, UsageError
from udfs.labels.students.heads_form import HEADS, HeadsForm
from udfs.labels.taxonomies.taxonomies import Taxonomies
from udfs.labels.taxonomies.taxonomy import Pair
from warehouse.lake.lake import Lake
from warehouse.mixtures.tokenizers import TokenizerCorpus
from warehouse.mixtures.tokenizers import train as train_tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = """\
name: {name}
teacher: truth
taxonomy: passages
student: {student}
max_tokens: 24
tokens: {tokens}
sequence_length: 256
batch_tokens: 512
learning_rate: 3e-3
"""
STUDENTS = {
    "writer": "{kind: generative, tokenizer: words, layers: 2, hidden: 64, intermediate: 128, heads: 2,"
    " key_value_heads: 1, backend: transformers}",
    "chooser": "{kind: heads, tokenizer: words, layers: 1, hidden: 64, intermediate: 96, heads: 1}",
}


def made_up(count: int) -> Iterator[Passage]:
    """Passages whose words tell three domains apart."""
    draw = random.Random(7)
    words = {domain: [f"{domain[:3]}{n:02}" for n in range(4)] for domain in DOMAINS[:3]}
    for number in range(count):
        domain = DOMAINS[number % 3]
        n = draw.choice((12, 75, 110))
        text = " ".join(draw.choice(words[domain]) if draw.random() < 0.8 else "word" for _ in range(n))
        yield Passage(f"{number // 4}#{number % 4}", text, domain)


def recipe(folder: Path, name: str, tokens: int = 150_000) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(RECIPE.format(name=name, student=STUDENTS[name], tokens=tokens))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a lake and a project, ready for students."""
    folder = tmp_path_factory.mktemp("distil")
    lake = Lake.create(folder / "lake")
    load(lake, make_project(folder / "sql", 0.2), folder, list(made_up(600)))
    train_tokenizer(lake, "words", TokenizerCorpus("distillation_documents", 10**6), 400)
    return folder


def run(folder: Path, path: Path, *options: str) -> Result:
    places = ["--lake", str(folder / "lake"), "--project-dir", str(folder / "sql")]
    return CliRunner().invoke(distil, [str(path), *places, *options], catch_exceptions=False)


@pytest.mark.parametrize("name", STUDENTS)
def test_a_student_labels_like_its_teacher(made: Path, tmp_path: Path, name: str) -> None:
    path = recipe(tmp_path, name)
    out = ("--out", str(made / "runs" / name))
    planned = json.loads(run(made, path, *out, "--plan", "--json").output)
    assert not (made / "runs" / name).exists()
    done = run(made, path, *out)
    assert f"label_document(text, '{name}')" in done.output

    lake = Lake.open(made / "lake")
    kappas = judge(lake, made / "sql", name)
    assert kappas.keys() == {"domain", "length"}
    assert kappas["domain"] > 0.9, kappas
    assert kappas["length"] > 0.5, kappas

    (run_id, tokens), = lake.reader().execute(
        "select run_id, tokens from runs.runs where recipe = ?", [name]
    ).fetchall()  # fmt: skip
    assert (run_id, tokens) == (planned["run_id"], planned["tokens"]) and planned["status"] == "to train"
    # From a batch to its documents by SQL: the student saw all that it might, several times, and nothing held out.
    seen, held_out, shown = lake.reader().execute(
        "select count(distinct doc_id), count(*) filter (doc_id in (from evaluation_documents)), count(*)"
        " from (select run_id, unnest(sample_ids) as sample_id from runs.batches) as b"
        " join runs.runs as r using (run_id) join exports.samples as s using (export_id, sample_id)"
        " where run_id = ?", [run_id],
    ).fetchone() or (0, 0, 0)  # fmt: skip
    assert (seen, held_out) == (planned["documents"], 0)
    assert shown / seen == pytest.approx(planned["passes"], rel=0.15)
    card = (made / "sql" / "labelers" / name / "README.md").read_text()
    assert run_id in card and "truth" in card

    again = run(made, path, *out)
    assert "in the lake already" in again.output
    assert json.loads(run(made, path, *out, "--plan", "--json").output)["status"] == "done"


@pytest.mark.parametrize("name", STUDENTS)
def test_a_stopped_run_ends_as_an_unbroken_one(
    made: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.distillation import students

    tokens = 512 * 24
    path = recipe(tmp_path, name, tokens)
    saving = ("--set", f"checkpoints.every={512 * 10}")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(made, path, "--out", str(whole), *saving)
    step = students.Weighing.after_dataloader

    def stopping(self: Any, state: Any, logger: Any) -> None:
        if int(state.timestamp.batch) == 17:  # after the checkpoint of batch 10
            raise RuntimeError("pulled the plug")
        step(self, state, logger)

    monkeypatch.setattr(students.Weighing, "after_dataloader", stopping)
    with pytest.raises(RuntimeError, match="plug"):
        run(made, path, "--out", str(broken), *saving)
    monkeypatch.undo()
    shutil.rmtree(made / "sql" / "labelers")
    lake = Lake.open(made / "lake")
    rows = "select batch, sample_ids from runs.batches join runs.runs using (run_id) where recipe = ? and tokens = ?"
    before = lake.reader().execute(rows + " order by batch", [name, tokens]).fetchall()
    with lake.commit("forget", author="test") as commit:
        commit.sql("delete from runs.runs where recipe = ? and tokens = ?", [name, tokens])
    run(made, path, "--out", str(broken), *saving)
    file = "model.safetensors" if name == "writer" else HEADS
    ends = [load_file(next(out.glob(f"*/labeler/{name}/{file}"))) for out in (whole, broken)]
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0] | ends[1])
    assert lake.reader().execute(rows + " order by batch", [name, tokens]).fetchall() == before


@given(st.lists(st.integers(1, 64), max_size=300))
def test_packing_keeps_every_example_whole(sizes: list[int]) -> None:
    packer = Packer(64)
    examples = [Example([number] * size, [size]) for number, size in enumerate(sizes)]
    closed = [packer.add(str(number), example) for number, example in enumerate(examples)]
    rows = [row for row in closed if row] + packer.rest()
    assert sorted(zip([name for row in rows for name in row.documents], [one for row in rows for one in row.examples],
                      strict=True)) == sorted((str(n), one) for n, one in enumerate(examples))  # fmt: skip
    for row in rows:
        assert sum(len(one.tokens) for one in row.examples) == 64 - row.room <= 64
    assert sum(row.room < 32 for row in rows) >= len(rows) - 1  # never two half-empty ones


def batch(rows: list[list[Example]]) -> dict[str, torch.Tensor]:
    """As a loader makes it of packed sequences."""
    import numpy as np

    from training.distillation.run import collate

    return collate(
        [
            {
                "tokens": np.array([token for one in row for token in one.tokens], np.int32),
                "lengths": np.array([len(one.tokens) for one in row], np.int32),
                "targets": np.array([target for one in row for target in one.targets], np.int32),
                "sample_id": number,
            }
            for number, row in enumerate(rows)
        ]
    )


def test_a_writer_learns_the_answers_only_and_examples_do_not_see_each_other() -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from training.distillation.students import GenerativeStudent

    torch.manual_seed(1)
    config = Qwen2Config(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64, tie_word_embeddings=True,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config)
    draw = random.Random(5)
    examples = [Example([draw.randrange(50) for _ in range(n + 4)], [n]) for n in (9, 3, 14, 6, 1)]
    expected = 0.0
    for one in examples:  # what transformers itself makes of labels
        ids = torch.tensor([one.tokens])
        labels = ids.clone()
        labels[:, : one.targets[0]] = -100
        expected += 4 * float(model(input_ids=ids, labels=labels).loss)
    student = GenerativeStudent(model)
    packed = batch([examples[:3], examples[3:]])
    assert float(student(packed)) == pytest.approx(expected, rel=1e-5)
    assert student.predictions(packed).tolist() == [12, 8]
    for cut in ([examples[0], examples[4]], [examples[1]], [examples[2], examples[3]]):
        expected -= float(student(batch([cut])))
    assert abs(expected) < 1e-3


def test_a_model_that_mixes_packed_examples_is_refused() -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from training.distillation.students import GenerativeStudent

    class Leaking(Qwen2ForCausalLM):  # type: ignore[misc]
        @property
        def base_model(self) -> Any:
            return lambda position_ids, **options: self.model(**options)

    config = Qwen2Config(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64,
    )  # fmt: skip
    with pytest.raises(CuveeError, match="does not keep apart"):
        GenerativeStudent(Leaking(config))


def test_a_chooser_computes_each_document_by_itself() -> None:
    from training.checkpoint.models import build
    from training.distillation.students import HeadsStudent
    from training.recipe.settings import Sizes
    from udfs.labels.students.heads import Heads

    torch.manual_seed(1)
    form = HeadsForm("t", {"a": ("1", "2"), "b": ("x", "y", "-1")}, tokens=32)
    masked: Any = build(Sizes(2, 32, 32, 1), 50, 32, end_of_text=0, kind="encoder")
    heads = Heads(masked.model, form)
    draw = random.Random(5)
    targets = [[0, 2, 1, IGNORED], [1, 0, 2, 3], [1, 1, IGNORED, 0], [0, 0, 0, 0]]
    examples = [
        Example([draw.randrange(50) for _ in range(n)], one) for n, one in zip((9, 10, 30, 3), targets, strict=True)
    ]
    expected = 0.0
    for one in examples:
        ids = torch.tensor([one.tokens])
        logits = heads(ids, torch.ones_like(ids))
        for name, target in zip(form.outputs(), one.targets, strict=True):
            expected += float(cross_entropy(logits[name], torch.tensor([target]))) if target != IGNORED else 0.0
    student = HeadsStudent(heads)
    packed = batch([examples[:2], examples[2:]])
    assert float(student(packed)) == pytest.approx(expected, rel=1e-5)
    assert student.predictions(packed).tolist() == [2, 2]


def test_heads_learn_fdc_by_its_classes_of_three_digits(made: Path) -> None:
    subject = Taxonomies((SQL,)).get("eai").category("free_decimal_correspondence")
    form = HeadsForm("eai", {subject.name: codes(subject)}, tokens=32)
    tokenizer = made / "lake" / "tokenizers" / "words" / "tokenizer.json"
    places = codes(subject)

    def targets(pair: Pair) -> list[int]:
        (example,) = HeadsExamples(tokenizer, form).encode(["key"], ["text"], [{subject.name: pair}])
        assert example is not None
        return example.targets

    assert targets(Pair("513.212", "510.71")) == [places.index("513"), places.index("510") + 1]
    assert targets(Pair("513.212", "513.7")) == [places.index("513"), 0]
    assert targets(Pair("-1", None)) == [places.index("-1"), 0]
    assert targets(Pair("999999", None)) == [IGNORED, 0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("teacher=thruth",), "did you mean truth?"),
        (("taxonomy=passage",), "did you mean passages?"),
        (("documents=distilation_documents",), "did you mean distillation_documents"),
        (("documents=raw.files",), "has no column doc_id"),
        (("student.tokenizer=word",), "did you mean words?"),
        (("tokens=500M", "batch_tokens=8388608"), "a batch has 32,768"),
    ],
)
def test_what_is_not_in_the_lake_is_said(made: Path, tmp_path: Path, settings: tuple[str, ...], message: str) -> None:
    options = [option for setting in settings for option in ("--set", setting)]
    with pytest.raises(UsageError) as caught:
        run(made, recipe(tmp_path, "chooser"), "--out", str(tmp_path / "runs"), *options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("student.kind=head", "did you mean heads?"),
        ("student.heads=3", "student.heads"),
        ("student.folder=nowhere", "student.folder"),
        ("name=Two Words", "not a valid labeler name"),
        ("batch_tokens=1000", "not a whole number"),
        ("tokens=100", "less than one batch"),
        ("pieces=[{to: 1.0}, {to: 0}]", "only one piece"),
    ],
)
def test_a_mistake_in_a_recipe_has_its_place(tmp_path: Path, setting: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_recipe(recipe(tmp_path, "chooser"), (setting,))
    assert message in str(caught.value)
    assert caught.value.where is not None


def test_a_run_does_not_go_on_with_other_labels_or_another_labelers_name(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(made, folder)
    path = recipe(tmp_path, "chooser", tokens=4096)
    out = ("--out", str(tmp_path / "runs"))
    run(folder, path, *out)
    with pytest.raises(UsageError, match="other settings of learning_rate"):
        run(folder, path, *out, "--set", "learning_rate=1e-3")
    lake = Lake.open(folder / "lake")
    with lake.commit("relabel", author="test") as commit:
        commit.sql("delete from labels.passages where doc_id in (from distillation_documents limit 1)")
    with pytest.raises(UsageError, match="other documents or labels"):
        run(folder, path, *out)
    (folder / "sql" / "labelers" / "chooser.yml").write_text("taxonomy: passages\nbackend: fake\n")
    with pytest.raises(UsageError, match="another labeler"):
        run(folder, path, *out)


def test_the_published_recipe_has_the_published_schedule(tmp_path: Path) -> None:
    for file in ("config.json", "tokenizer.json"):
        (tmp_path / file).write_text("{}")
    found = read_recipe(RECIPES / "distil_eai.yaml", (f"student.folder={tmp_path}", "tokens=82B"))
    clock = Clock(82 * 10**9, found.batch_tokens, found.sequence_length)
    curve = schedules.piecewise(found.pieces, clock, "the recipe", 0.0)
    rates = [found.learning_rate * curve(tokens * 10**9) for tokens in (0, 1, 2, 41, 80, 81, 82)]
    assert rates == pytest.approx([0, 5e-5, 1e-4, 5.5e-5, 1e-5, 5e-6, 0], rel=1e-3, abs=1e-8)
    assert (found.sequences, found.optimizer.betas, found.optimizer.weight_decay) == (128, (0.9, 0.95), 0.1)


def test_a_student_does_not_go_on_from_a_checkpoint_with_code(made: Path, tmp_path: Path) -> None:
    mark, out = tmp_path / "mark", tmp_path / "out"

    class Touch:
        def __reduce__(self) -> tuple[Any, tuple[Path]]:
            return Path.touch, (mark,)

    planted = out / "heads-17" / "checkpoints" / "ba000000000001.pt"
    planted.parent.mkdir(parents=True)
    torch.save({"state": {"model": {}, "callbacks": Touch()}}, planted)
    with pytest.raises(UsageError, match="It may run code"):
        run(made, recipe(tmp_path, "chooser", 512 * 4), "--out", str(out), "--set", "name=planted")
    assert not mark.exists()
