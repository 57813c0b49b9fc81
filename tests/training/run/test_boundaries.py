"""Packed documents are kept apart: each gets the logits and the loss that it would get alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from training.checkpoint.models import build
from training.recipe.settings import Sizes
from udfs.errors import UsageError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("composer")

END = 0
SMALL = Sizes(layers=4, hidden=32, intermediate=48, heads=2, sliding_window=8)
#: Documents of two sequences of 40 tokens; the last of each is cut.
LENGTHS = ((17, 1, 2, 12, 8), (25, 15))
WIDTHS = {"vocab_size": 60, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 2, "max_position_embeddings": 64}


def model_of(kind: str) -> Any:
    torch.manual_seed(0)
    made = {
        "decoder": lambda: build(SMALL, 60, 64, end_of_text=END),
        "encoder": lambda: build(SMALL, 60, 64, end_of_text=END, kind="encoder"),
        "qwen2": lambda: transformers.Qwen2ForCausalLM(
            transformers.Qwen2Config(**WIDTHS, **HEADS, num_key_value_heads=1)
        ),
        "bert": lambda: transformers.BertForMaskedLM(transformers.BertConfig(**WIDTHS, **HEADS)),
    }
    model = made[kind]().eval()
    for parameter in model.parameters():  # fresh weights are so small that mixed documents would hardly show
        parameter.data.mul_(3)
    return model


def packed() -> tuple[Any, list[tuple[int, int, int]]]:
    """Tokens (2, 40), and row, begin and end of each document."""
    tokens = torch.randint(1, 60, (2, 40), generator=torch.Generator().manual_seed(1))
    documents = []
    for row, lengths in enumerate(LENGTHS):
        begin = 0
        for length in lengths:
            documents.append((row, begin, begin + length))
            begin += length
            if begin < 40:
                tokens[row, begin - 1] = END
    return tokens, documents


def logits_of(model: Any, tokens: Any, end_of_text: int | None = END) -> Any:
    from training.run import boundaries

    with torch.no_grad():
        if "ModernBert" not in type(model).__name__:
            return boundaries.logits(model, tokens, end_of_text)
        states = boundaries.hidden_states(model, tokens, end_of_text)
        return model.decoder((model.head if hasattr(model, "head") else model.lm_head)(states))


def test_a_layout_tells_documents_and_places() -> None:
    from training.run.boundaries import layout

    where = layout(torch.tensor([[5, END, END, 6, 7], [5, 6, 7, 8, END]]), END)
    assert where.documents.tolist() == [[1, 1, 2, 3, 3], [1, 1, 1, 1, 1]]
    assert where.positions.tolist() == [[0, 1, 0, 0, 1], [0, 1, 2, 3, 4]]
    assert where.bounds.tolist() == [0, 2, 3, 5, 10]


@pytest.mark.parametrize("kind", ["decoder", "encoder", "qwen2", "bert"])
def test_a_packed_document_has_the_logits_it_has_alone(kind: str) -> None:
    model = model_of(kind)
    tokens, documents = packed()
    apart, mixed = logits_of(model, tokens), logits_of(model, tokens, None)
    for row, begin, end in documents:
        with torch.no_grad():
            alone = model(input_ids=tokens[row : row + 1, begin:end]).logits[0]
        torch.testing.assert_close(apart[row, begin:end], alone, rtol=0, atol=1e-5)
    assert (apart - mixed).abs().max() > 0.1, "mixed documents differ, so the test can tell"


@pytest.mark.parametrize("kind", ["decoder", "qwen2"])
def test_a_causal_loss_is_the_sum_of_the_documents_own(kind: str) -> None:
    from training.run.objectives import CausalLanguageModel

    model = model_of(kind)
    tokens, documents = packed()
    ours = CausalLanguageModel(model, END)
    batch = ours.prepare({"input_ids": tokens, "sample_ids": torch.arange(2)}, None)
    alone, predicted = 0.0, 0
    for row, begin, end in documents:
        if end - begin > 1:
            one = tokens[row : row + 1, begin:end]
            alone += model(input_ids=one, labels=one).loss.item() * (end - begin - 1)
            predicted += end - begin - 1
    assert ours(batch).item() == pytest.approx(alone, rel=1e-5)
    assert ours.loss(ours(batch), batch).item() == pytest.approx(alone / predicted, rel=1e-5)


def test_masked_next_token_guesses_no_documents_first_token() -> None:
    from training.run.objectives import IGNORED, MaskedLanguageModel, Masking

    tokens, _ = packed()
    masking = Masking(1.0, 59, (END, 59), 59)
    model = MaskedLanguageModel(model_of("encoder"), masking, seed=1, shifted=True, end_of_text=END)
    targets = model.prepare({"input_ids": tokens, "sample_ids": torch.arange(2)}, 0)["targets"]
    assert (targets[:, :-1][tokens[:, :-1] == END] == IGNORED).all()
    inside = (tokens[:, :-1] != END) & (tokens[:, 1:] != END) & (tokens[:, 1:] != 59)
    assert (targets[:, :-1][inside] == tokens[:, 1:][inside]).all()


def test_an_architecture_that_mixes_documents_is_refused() -> None:
    from training.run.boundaries import check

    for kind in ("qwen2", "bert"):
        check(model_of(kind), END)
    recurrent = transformers.MambaForCausalLM(
        transformers.MambaConfig(vocab_size=60, hidden_size=32, num_hidden_layers=2, state_size=4)
    )
    with pytest.raises(UsageError, match="mamba does not keep packed documents apart") as caught:
        check(recurrent, END)
    assert "boundaries=false" in str(caught.value.hint)


@pytest.mark.skipif(
    not torch.cuda.is_available() or not transformers.utils.is_flash_attn_2_available(),
    reason="needs a GPU with flash attention",
)
@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_flash_attention_gives_the_same(kind: Any) -> None:
    tokens, _ = packed()
    found = []
    for attention in ("sdpa", "flash_attention_2"):
        torch.manual_seed(0)
        model = build(SMALL, 60, 64, end_of_text=END, kind=kind, attention=attention).eval().cuda()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            found.append(logits_of(model, tokens.cuda()).float())
    torch.testing.assert_close(*found, rtol=0, atol=0.02)


def test_the_recipe_says_whether_documents_mix(tmp_path: Path) -> None:
    from tests.training.tiny_sweep import RECIPE
    from training.recipe.recipe import read_recipe
    from training.run.objectives import objective

    (tmp_path / "tiny.yaml").write_text(RECIPE)
    tokens, _ = packed()
    losses = []
    for settings in ((), ("boundaries=false",)):
        recipe = read_recipe(tmp_path / "tiny.yaml", settings)
        model = objective(model_of("decoder"), recipe, 60, END, seed=1)
        batch = model.prepare({"input_ids": tokens, "sample_ids": torch.arange(2)}, 0)
        losses.append((model(batch).item(), int((batch["targets"] >= 0).sum())))
    assert [count for _, count in losses] == [78 - 5, 78]
    assert losses[0][0] != pytest.approx(losses[1][0], abs=1)
