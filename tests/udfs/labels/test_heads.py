"""An encoder with heads: trained a little here, saved, and served as a labeler."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from udfs.errors import CuveeError
from udfs.expensive import INPUT_SCHEMA
from udfs.labels.label_document import BoundLabeler, LabelDocument
from udfs.labels.labelers.labeler_registry import LabelerRegistry
from udfs.labels.students.heads import Heads, HeadsReader, padded
from udfs.labels.students.heads_form import CONFIG, HEADS, RANKS, HeadsForm

TAXONOMY = """
categories:
  - name: desk
    labels:
      - {code: 1, label: Politics}
      - {code: 2, label: Sports}
      - {code: 3, label: Culture}
  - {name: type, labels: [{code: a, label: News}, {code: b, label: Opinion}], abstain: false}
"""
LABELER = "taxonomy: newsroom\nbackend: heads\nmodel: {folder: heads}\nengine: {batch_tokens: 256, device: cpu}\n"

#: What the words say: politics, sports, culture; news, opinion.
WORDS = {"1": "senate", "2": "football", "3": "opera", "a": "reported", "b": "believe"}
FORM = HeadsForm("newsroom", {"desk": ("1", "2", "3", "-1"), "type": ("a", "b")}, tokens=48, characters=600)

Verdict = dict[str, tuple[str, str | None]]


def document(verdict: Verdict, rng: random.Random) -> str:
    """A text from which the verdict can be read: a word says primary when it is there three times."""
    words = ["the", "and", "of", "very"] * rng.randint(1, 4)
    for primary, secondary in verdict.values():
        words += [WORDS.get(primary, "lorem")] * 3 + ([WORDS[secondary]] if secondary else [])
    rng.shuffle(words)
    return " ".join(words)


def verdicts() -> list[Verdict]:
    desks = [("1", None), ("2", None), ("3", None), ("-1", None), ("1", "2"), ("2", "3"), ("3", "1")]
    return [{"desk": desk, "type": kind} for desk in desks for kind in (("a", None), ("b", None), ("a", "b"))]


def make_tokenizer(path: Path) -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "the", "and", "of", "very", "lorem", "[", "]", "sep", *WORDS.values()]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[CLS]", "[SEP]", "[UNK]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path))


def make_heads(folder: Path, form: HeadsForm = FORM, steps: int = 150) -> None:
    """Train a tiny BERT until its heads follow the words."""
    from transformers import BertConfig, BertModel

    tokenizer = folder.with_name("tokenizer.json")
    make_tokenizer(tokenizer)
    torch.manual_seed(3)
    rng = random.Random(3)
    config = BertConfig(
        vocab_size=20, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    model = Heads(BertModel(config), form).train()
    reader = HeadsReader(tokenizer, form)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(steps):
        batch = verdicts() * 2
        ids, mask = padded(reader.read([""] * len(batch), [document(each, rng) for each in batch]))
        logits = model(ids, mask)
        loss = torch.zeros(())
        for name, codes in form.categories.items():
            pairs = [each[name] for each in batch]
            wanted = torch.tensor([codes.index(primary) for primary, _ in pairs])
            loss = loss + torch.nn.functional.cross_entropy(logits[f"{name}.primary"], wanted)
            if "secondary" in form.ranks:
                wanted = torch.tensor([codes.index(second) + 1 if second else 0 for _, second in pairs])
                loss = loss + torch.nn.functional.cross_entropy(logits[f"{name}.secondary"], wanted)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    model.save(folder, tokenizer)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "heads"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine the threads of so small a model wait for each other
    try:
        make_heads(folder)
    finally:
        torch.set_num_threads(threads)
    return folder


@pytest.fixture
def project(tmp_path: Path, seeds: Path, trained: Path) -> Path:
    shutil.copytree(seeds, tmp_path / "seeds")
    for name, content in {"taxonomies/newsroom.yml": TAXONOMY, "labelers/desk.yml": LABELER}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    shutil.copytree(trained, tmp_path / "labelers" / "heads")
    return tmp_path


def labeler(project: Path) -> BoundLabeler:
    found = LabelDocument((project,)).bind(("desk",))
    assert isinstance(found, BoundLabeler)
    return found


def said(row: dict[str, Any]) -> Verdict:
    return {name: (row[name]["primary"], row[name]["secondary"]) for name in FORM.categories}


def test_labels_follow_the_text(project: Path, ask: Any) -> None:
    rng = random.Random(17)
    expected = verdicts() * 5
    texts = {document(each, rng): each for each in expected}
    rows = ask(labeler(project), list(texts))
    right = [said(row) == each for row, each in zip(rows, texts.values(), strict=True)]
    assert sum(right) >= 0.95 * len(texts)
    assert {row["status"] for row in rows} == {"ok"}
    assert [row["tokens"] for row in rows] == [min(48, len(text.split()) + 2) for text in texts]


def test_neighbours_do_not_change_a_verdict(project: Path, ask: Any) -> None:
    rng = random.Random(4)
    texts = list(dict.fromkeys(document(each, rng) * (1 + n % 4) for n, each in enumerate(verdicts() * 4)))
    function = labeler(project)
    together = [said(row) for row in ask(function, texts)]
    assert [said(row) for row in ask(function, texts[::-1], batch=5)][::-1] == together


def test_nothing_to_read_abstains_and_no_text_fails(project: Path, ask: Any, hostile: list[str]) -> None:
    for row in ask(labeler(project), ["", " \n", "\x00"]):
        assert said(row) == {"desk": ("-1", None), "type": ("-1", None)}
        assert (row["status"], row["tokens"]) == ("ok", 0)
    assert {row["status"] for row in ask(labeler(project), hostile)} == {"ok"}


def test_special_tokens_inside_a_text_are_text(trained: Path) -> None:
    reader = HeadsReader.of(trained, FORM)
    (ids,) = reader.read(["key"], ["[SEP] the [CLS]"])
    assert (ids[0], ids[-1]) == (1, 2)
    assert not {1, 2} & set(ids[1:-1])


def test_of_a_long_text_three_parts_are_read(trained: Path) -> None:
    text = "senate " * 200 + "football " * 3000 + "opera " * 200
    (ids,) = HeadsReader.of(trained, FORM).read(["key"], [text])
    words = {word: HeadsReader.of(trained, FORM).read([""], [word])[0][1] for word in ("senate", "football", "opera")}
    assert all(14 <= ids.count(token) <= 15 for token in words.values())  # a word may be cut in two
    assert len(ids) == 3 * 15 + 2


@pytest.mark.parametrize("form", [FORM, HeadsForm("newsroom", FORM.categories, RANKS[:1], "first", 32)])
def test_a_saved_model_is_the_same_when_it_is_loaded(tmp_path: Path, form: HeadsForm) -> None:
    make_heads(tmp_path / "heads", form, steps=2)
    first, again = Heads.load(tmp_path / "heads"), Heads.load(tmp_path / "heads")
    assert first.form == form
    again.save(tmp_path / "copy", tmp_path / "heads" / "encoder" / "tokenizer.json")
    copy = Heads.load(tmp_path / "copy")
    ids, mask = padded([[1, 5, 13, 2], [1, 2]])
    with torch.inference_mode():
        expected, got = first(ids, mask), copy(ids, mask)
    assert expected.keys() == got.keys() == form.outputs().keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    stored = {name: list(value.shape) for name, value in load_file(tmp_path / "copy" / HEADS).items()}
    assert stored == {
        f"{name}.{part}": [n, 32] if part == "weight" else [n]
        for name, n in form.outputs().items()
        for part in ("weight", "bias")
    }


@given(st.data())
def test_codes_keep_the_rules_of_a_verdict(data: st.DataObject) -> None:
    model = Heads(torch.nn.Module(), FORM) if False else object.__new__(Heads)
    torch.nn.Module.__init__(model)
    model.form = FORM
    numbers = st.floats(-5, 5, width=32)
    logits = {
        name: torch.tensor([data.draw(st.lists(numbers, min_size=n, max_size=n))]) for name, n in FORM.outputs().items()
    }
    for name, ((primary, secondary),) in model.codes(logits).items():
        codes = FORM.categories[name]
        assert primary == codes[int(logits[f"{name}.primary"].argmax())]
        assert secondary is None or (secondary in codes and secondary not in (primary, "-1"))
        assert primary != "-1" or secondary is None


def test_the_fingerprint_is_over_what_the_folder_holds(project: Path) -> None:
    first = labeler(project).fingerprint
    (project / "labelers" / "desk.yml").write_text(LABELER.replace("256", "512"))
    assert labeler(project).fingerprint == first
    (project / "labelers" / "heads" / "README.md").write_text("about")
    assert labeler(project).fingerprint == first
    tensors = load_file(project / "labelers" / "heads" / HEADS)
    tensors["desk.primary.bias"][0] += 1
    save_file(tensors, project / "labelers" / "heads" / HEADS)
    second = labeler(project).fingerprint
    config = json.loads((project / "labelers" / "heads" / CONFIG).read_text())
    (project / "labelers" / "heads" / CONFIG).write_text(json.dumps(config | {"tokens": 24}))
    third = labeler(project).fingerprint
    (project / "labelers" / "desk.yml").write_text(LABELER.replace("folder: heads", "folder: heads, dtype: bfloat16"))
    assert len({first, second, third, labeler(project).fingerprint}) == 4


Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c | {"taxonomy": "eai"}, "for the taxonomy eai, not newsroom"),
        (lambda c: c | {"categories": {"desks": ["1"]}}, "did you mean desk?"),
        (lambda c: c | {"categories": {"desk": ["1"]}}, "there is no head for type"),
        (lambda c: c | {"categories": c["categories"] | {"desk": ["1", "4"]}}, "'4', which is not a code of desk"),
        (lambda c: c | {"categories": c["categories"] | {"type": ["a", "-1"]}}, "'-1', which is not a code of type"),
        (lambda c: c | {"categories": c["categories"] | {"desk": ["1", "1"]}}, "not all different"),
        (lambda c: c | {"pooling": "max"}, "pooling is mean or first"),
        (lambda c: c | {"ranks": ["secondary"]}, "ranks are"),
        (lambda c: {"model_type": "bert"}, "not the configuration of an encoder with heads"),
        (lambda c: {name: c[name] for name in c if name != "tokens"}, "KeyError('tokens')"),
        (lambda c: [c], "not the configuration"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused(project: Path, change: Change, message: str) -> None:
    path = project / "labelers" / "heads" / CONFIG
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(CuveeError) as caught:
        labeler(project)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_damaged_heads_are_an_error(project: Path, ask: Any) -> None:
    path = project / "labelers" / "heads" / HEADS
    tensors = load_file(path)
    save_file(tensors | {"desk.primary.bias": torch.zeros(7)}, path)
    with pytest.raises(CuveeError, match="cannot be loaded"):
        ask(labeler(project), ["the senate"])
    save_file(tensors | {"mood.primary.bias": torch.zeros(7)}, path)
    with pytest.raises(CuveeError, match=r"mood\.primary\.bias belongs to no head"):
        ask(labeler(project), ["the senate"])
    path.write_bytes(b"")
    with pytest.raises(CuveeError, match="cannot be loaded"):
        ask(labeler(project), ["the senate"])


@pytest.mark.parametrize("model", ["{id: some/thing}", "{folder: heads, quantization: awq}"])
def test_what_it_cannot_do_is_said(project: Path, model: str) -> None:
    (project / "labelers" / "desk.yml").write_text(LABELER.replace("{folder: heads}", model))
    with pytest.raises(CuveeError, match="needs a folder with an encoder and heads"):
        LabelerRegistry((project,)).get("desk")


def test_it_is_lazy_and_can_be_closed(project: Path) -> None:
    taken = 0

    def inputs() -> Iterator[pa.RecordBatch]:
        nonlocal taken
        for index in range(1000):
            taken += 1
            yield pa.record_batch([[str(index)], [f"senate number {index}"]], schema=INPUT_SCHEMA)

    answers = labeler(project).answers(inputs())
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert taken < 10
