"""Models: the sizes of the Ettin suite, the loss, what a decoder may see."""

from __future__ import annotations

import csv
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from training.checkpoint.models import SUITE_VOCABULARY, build, count, count_parameters, make
from training.recipe.settings import ModelSettings, Sizes, suite
from udfs.errors import UsageError

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

SMALL = Sizes(layers=4, hidden=32, intermediate=48, heads=2, sliding_window=8)


def published() -> list[dict[str, str]]:
    with (resources.files("training.recipe") / "sizes.csv").open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize("row", published(), ids=lambda row: row["name"])
def test_suite_has_the_published_parameter_counts(row: dict[str, str]) -> None:
    counted = count_parameters(suite()[row["name"]], SUITE_VOCABULARY)
    assert counted.total / 1e6 == pytest.approx(float(row["parameters_m"]), abs=0.15)
    assert counted.embeddings / 1e6 == pytest.approx(float(row["embedding_parameters_m"]), abs=0.06)


@pytest.mark.parametrize("kind", ["decoder", "encoder"])
@pytest.mark.parametrize("name", sorted(suite()))
def test_counts_are_those_of_the_real_model(name: str, kind: Any) -> None:
    with torch.device("meta"):
        model = build(suite()[name], SUITE_VOCABULARY, 1024, end_of_text=0, kind=kind)
    assert (
        sum(parameter.numel() for parameter in model.parameters())
        == count_parameters(suite()[name], SUITE_VOCABULARY).total
    )
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_flops_are_6nd() -> None:
    counted = count_parameters(SMALL, 100)
    assert counted.flops(1000, embeddings=True) == 6000 * counted.total
    assert counted.flops(1000, embeddings=False) == 6000 * (counted.total - 100 * 32)


def test_encoder_has_the_same_body() -> None:
    encoder = build(SMALL, 100, 64, end_of_text=0, kind="encoder")
    decoder = build(SMALL, 100, 64, end_of_text=0)
    assert sum(p.numel() for p in encoder.model.parameters()) == sum(p.numel() for p in decoder.model.parameters())


def test_loss_and_gradients_equal_the_plain_ones() -> None:
    from training.run.objectives import CausalLanguageModel

    torch.manual_seed(0)
    ours = CausalLanguageModel(build(SMALL, 300, 200, end_of_text=0))
    batch = {"input_ids": torch.randint(0, 300, (3, 200))}  # 597 predictions: four whole chunks and a part
    loss = ours.loss(ours(batch), batch)
    loss.backward()
    gradients = {name: parameter.grad.clone() for name, parameter in ours.named_parameters()}
    ours.zero_grad()
    reference = ours.model(input_ids=batch["input_ids"], labels=batch["input_ids"]).loss
    reference.backward()
    assert loss.item() == pytest.approx(reference.item(), rel=1e-6)
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-4, atol=1e-6, msg=name)
    with torch.no_grad():
        assert ours(batch).item() / 597 == pytest.approx(reference.item(), rel=1e-6)


def test_loss_under_autocast_stays_close() -> None:
    from training.run.losses import linear_cross_entropy

    torch.manual_seed(0)
    hidden = torch.randn(300, 16, requires_grad=True)
    weight, bias = torch.randn(50, 16, requires_grad=True), torch.zeros(50, requires_grad=True)
    targets = torch.randint(0, 50, (300,))
    exact = linear_cross_entropy(hidden, weight, bias, targets)
    exact.backward()
    expected = weight.grad.clone()
    weight.grad = None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = linear_cross_entropy(hidden, weight, bias, targets)
    rough.backward()
    assert rough.dtype == torch.float32
    assert rough.item() == pytest.approx(exact.item(), rel=1e-2)
    torch.testing.assert_close(weight.grad, expected, rtol=0.1, atol=0.3)


def test_decoder_sees_only_what_came_before() -> None:
    torch.manual_seed(0)
    model = build(SMALL, 100, 64, end_of_text=0).eval()
    tokens = torch.randint(0, 100, (1, 40))
    changed = tokens.clone()
    changed[0, 25] = (changed[0, 25] + 1) % 100
    with torch.no_grad():
        before, after = model(input_ids=tokens).logits, model(input_ids=changed).logits
    torch.testing.assert_close(before[:, :25], after[:, :25])
    assert not torch.allclose(before[:, 25:], after[:, 25:])


def saved(folder: Path, kind: str) -> Path:
    """A small model of another architecture, or ModernBERT, as transformers saves it."""
    import transformers

    torch.manual_seed(0)
    sizes = {"vocab_size": 100, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "max_position_embeddings": 64}
    model = {
        "qwen2": lambda: transformers.Qwen2ForCausalLM(
            transformers.Qwen2Config(**sizes, **heads, num_key_value_heads=1, tie_word_embeddings=True)
        ),
        "bert": lambda: transformers.BertForMaskedLM(transformers.BertConfig(**sizes, **heads)),
        "modernbert": lambda: build(SMALL, 100, 64, end_of_text=0, kind="encoder"),
        "modernbert-decoder": lambda: build(SMALL, 100, 64, end_of_text=0),
    }[kind]()
    model.save_pretrained(folder / kind)
    return folder / kind


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [("qwen2", "decoder"), ("bert", "encoder"), ("modernbert", "encoder"), ("modernbert-decoder", "decoder")],
)
def test_a_model_comes_from_a_folder_with_its_weights_or_fresh(architecture: str, kind: Any, tmp_path: Path) -> None:
    import transformers

    folder = saved(tmp_path, architecture)
    loaded = make(ModelSettings(kind=kind, folder=str(folder)), 100, 64, end_of_text=0)
    loader = transformers.AutoModelForCausalLM if kind == "decoder" else transformers.AutoModelForMaskedLM
    theirs = loader.from_pretrained(folder).state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in loaded.state_dict().items())
    fresh = make(ModelSettings(kind=kind, folder=str(folder), fresh=True), 100, 64, end_of_text=0)
    assert not torch.equal(fresh.get_input_embeddings().weight, loaded.get_input_embeddings().weight)
    counted = count(ModelSettings(kind=kind, folder=str(folder)), 100)
    assert counted.total == sum(parameter.numel() for parameter in loaded.parameters())
    assert counted.embeddings == 100 * 32


def test_a_modernbert_of_the_other_kind_is_converted(tmp_path: Path) -> None:
    folder = saved(tmp_path, "modernbert-decoder")
    encoder = make(ModelSettings(kind="encoder", folder=str(folder)), 101, 64, end_of_text=0)
    decoder = make(ModelSettings(kind="decoder", folder=str(folder)), 100, 64, end_of_text=0)
    assert type(encoder).__name__ == "ModernBertForMaskedLM"
    assert encoder.get_input_embeddings().weight.shape[0] == 101  # the mask token has found a place
    assert encoder.get_output_embeddings().weight is encoder.get_input_embeddings().weight
    assert torch.equal(encoder.get_input_embeddings().weight[:100], decoder.get_input_embeddings().weight)


@pytest.mark.parametrize(
    ("architecture", "kind", "vocabulary", "length", "words"),
    [
        ("qwen2", "encoder", 100, 64, "qwen2 .* has no masked language model"),
        ("bert", "decoder", 5000, 64, "knows 100 tokens, the exports have 5,000"),
        ("qwen2", "decoder", 5000, 64, "knows 100 tokens, the exports have 5,000"),
        ("qwen2", "decoder", 100, 4096, "reads 64 tokens at once, not 4,096"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused(
    architecture: str, kind: Any, vocabulary: int, length: int, words: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        make(ModelSettings(kind=kind, folder=str(saved(tmp_path, architecture))), vocabulary, length, end_of_text=0)
