"""Models: the sizes of the Ettin suite, the loss, what a decoder may see."""

from __future__ import annotations

import csv
from importlib import resources

import pytest

from training.models import SUITE_VOCABULARY, build, count_parameters
from training.recipe import Sizes, suite

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

SMALL = Sizes(layers=4, hidden=32, intermediate=48, heads=2, sliding_window=8)


def published() -> list[dict[str, str]]:
    with (resources.files("training") / "sizes.csv").open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize("row", published(), ids=lambda row: row["name"])
def test_suite_has_the_published_parameter_counts(row: dict[str, str]) -> None:
    counted = count_parameters(suite()[row["name"]], SUITE_VOCABULARY)
    assert counted.total / 1e6 == pytest.approx(float(row["parameters_m"]), abs=0.15)
    assert counted.embeddings / 1e6 == pytest.approx(float(row["embedding_parameters_m"]), abs=0.06)


@pytest.mark.parametrize("name", sorted(suite()))
def test_counts_are_those_of_the_real_model(name: str) -> None:
    with torch.device("meta"):
        model = build(suite()[name], SUITE_VOCABULARY, 1024, end_of_text=0)
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
    from training.objectives import CausalLanguageModel, predictions

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
        assert ours(batch).item() / predictions(batch) == pytest.approx(reference.item(), rel=1e-6)


def test_loss_under_autocast_stays_close() -> None:
    from training.losses import linear_cross_entropy

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
