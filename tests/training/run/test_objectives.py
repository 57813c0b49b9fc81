"""Objectives: which tokens are guessed, from where, and that the loss does not depend on how a batch is cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.checkpoint.models import build
from training.recipe.settings import Sizes

torch = pytest.importorskip("torch")
pytest.importorskip("composer")

from training.run.objectives import IGNORED, Masking, mask  # noqa: E402

SMALL = Sizes(layers=3, hidden=32, intermediate=48, heads=2, sliding_window=8)
MASK, SPECIAL = 50, (0, 7, 50)


def masking(rate: float = 0.3, corruption: Any = "80_10_10") -> Masking:
    return Masking(rate, MASK, SPECIAL, 50, corruption)


@given(st.integers(0, 2**32), st.integers(0, 10**9), st.integers(0, 10**6), st.floats(0.01, 1.0), st.booleans())
def test_masks_are_the_samples_own(seed: int, first: int, step: int, rate: float, bert: bool) -> None:
    tokens = np.random.default_rng(seed).integers(0, 50, (4, 30))
    ids = np.arange(first, first + 4)
    settings = masking(rate, "80_10_10" if bert else "all_mask")
    inputs, targets = mask(tokens, ids, settings, seed=seed, step=step)
    chosen = targets != IGNORED
    assert np.array_equal(targets[chosen], tokens[chosen])
    assert np.array_equal(inputs[~chosen], tokens[~chosen])
    assert not np.isin(tokens[chosen], SPECIAL).any()
    assert (chosen.any(axis=1) | np.isin(tokens, SPECIAL).all(axis=1)).all()
    assert not np.isin(inputs[chosen], SPECIAL[:2]).any()
    for order in ([2], [3, 0], [1, 2, 3]):  # another rank, another batch size
        again = mask(tokens[order], ids[order], settings, seed=seed, step=step)
        assert np.array_equal(again[0], inputs[order])
        assert np.array_equal(again[1], targets[order])
    assert tokens.max() < 50  # what was given is left alone


def test_rates_and_fates_are_those_asked_for_and_every_step_draws_anew() -> None:
    tokens = np.random.default_rng(0).integers(8, 50, (200, 500))
    ids = np.arange(200)
    inputs, targets = mask(tokens, ids, masking(), seed=1, step=5)
    chosen = targets != IGNORED
    assert chosen.mean() == pytest.approx(0.3, abs=0.01)
    kept, masked = (inputs == tokens)[chosen].mean(), (inputs == MASK)[chosen].mean()
    assert masked == pytest.approx(0.8, abs=0.01)
    assert kept == pytest.approx(0.1 + 0.1 / 47, abs=0.01)  # a random token may be the token itself
    other = mask(tokens, ids, masking(), seed=1, step=6)[1] != IGNORED
    assert (chosen & other).mean() == pytest.approx(0.09, abs=0.01)
    inputs, targets = mask(tokens, ids, masking(corruption="all_mask"), seed=1, step=5)
    assert (inputs[targets != IGNORED] == MASK).all()


def language_model(shifted: bool = False) -> Any:
    from training.run.objectives import MaskedLanguageModel

    torch.manual_seed(0)
    model = build(SMALL, 51, 40, end_of_text=0, kind="encoder")
    return MaskedLanguageModel(model, masking(), seed=3, shifted=shifted)


def batch_of(count: int) -> dict[str, Any]:
    random = torch.Generator().manual_seed(count)
    return {
        "input_ids": torch.randint(0, 50, (count, 40), generator=random),
        "sample_ids": torch.arange(count) + 100,
    }


def test_masked_loss_and_gradients_are_transformers_own() -> None:
    ours = language_model()
    batch = ours.prepare(batch_of(6), step=2)
    loss = ours.loss(ours(batch), batch)
    loss.backward()
    gradients = {name: parameter.grad.clone() for name, parameter in ours.named_parameters()}
    ours.zero_grad()
    labels = batch["targets"].masked_fill(batch["targets"] == IGNORED, -100)
    reference = ours.model(input_ids=batch["inputs"], labels=labels).loss
    reference.backward()
    assert loss.item() == pytest.approx(reference.item(), rel=1e-5)
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-3, atol=1e-6, msg=name)


@pytest.mark.parametrize("sizes", [(3, 3), (1, 5), (2, 2, 2)])
def test_a_batch_has_the_same_loss_however_it_is_cut(sizes: tuple[int, ...]) -> None:
    """Composer weighs each microbatch by its samples."""
    ours = language_model()
    batch = ours.prepare(batch_of(6), step=0)
    whole = ours.loss(ours(batch), batch).item()
    parts = [{key: value.split(list(sizes))[index] for key, value in batch.items()} for index in range(len(sizes))]
    cut = sum(ours.loss(ours(part), part).item() * len(part["inputs"]) / 6 for part in parts)
    assert cut == pytest.approx(whole, abs=1e-5)


def test_masked_next_token_predicts_from_the_position_before() -> None:
    batch = batch_of(5)
    plain, shifted = language_model().prepare(batch, 4), language_model(shifted=True).prepare(batch, 4)
    assert torch.equal(plain["inputs"], shifted["inputs"])
    assert torch.equal(shifted["targets"][:, :-1], plain["targets"][:, 1:])
    assert (shifted["targets"][:, -1] == IGNORED).all()
    model = language_model(shifted=True)
    logits = model.model(shifted["inputs"]).logits.log_softmax(-1)
    rows, places = torch.nonzero(shifted["targets"] != IGNORED, as_tuple=True)
    expected = -logits[rows, places, batch["input_ids"][rows, places + 1]].sum()
    assert model(shifted).item() == pytest.approx(expected.item(), rel=1e-5)


def test_held_out_loss_is_measured_on_the_same_masks_whatever_the_seed() -> None:
    from training.run.objectives import HeldOutLoss, MaskedLanguageModel

    values = []
    for seed in (1, 2):
        torch.manual_seed(0)
        model = MaskedLanguageModel(build(SMALL, 51, 40, end_of_text=0, kind="encoder"), masking(), seed=seed).eval()
        metric = HeldOutLoss()
        for size in (4, 2):
            batch = batch_of(size)
            with torch.no_grad():
                model.update_metric(batch, model.eval_forward(batch), metric)
        values.append(metric.compute().item())
    assert values[0] == values[1] > 1


def test_other_architectures_learn_too() -> None:
    import transformers

    from training.run.objectives import CausalLanguageModel

    config = transformers.Qwen2Config(
        vocab_size=51,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
    )
    model = transformers.Qwen2ForCausalLM(config)
    batch = batch_of(3)
    reference = model(input_ids=batch["input_ids"], labels=batch["input_ids"]).loss.item()
    assert CausalLanguageModel(model)(batch).item() / (3 * 39) == pytest.approx(reference, rel=1e-5)
