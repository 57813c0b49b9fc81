"""Encoder and decoder weights: the same numbers under other names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from training.checkpoint.models import build
from training.recipe.settings import Sizes

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

SMALL = Sizes(layers=4, hidden=32, intermediate=48, heads=2, sliding_window=8)


def lively(kind: Any) -> Any:
    """A model of which no parameter, norms and biases included, is what it was made as."""
    torch.manual_seed(1)
    model = build(SMALL, 100, 64, end_of_text=0, kind=kind).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_one_token_has_the_same_hidden_states_and_logits_in_both_classes(kind: str) -> None:
    from training.checkpoint.conversion import convert

    model = lively(kind)
    converted = convert(model).eval()
    assert type(converted) is not type(model)
    tokens = torch.arange(100)[:, None]  # where the attention pattern cannot matter
    with torch.no_grad():
        ours, theirs = model.model(tokens).last_hidden_state, converted.model(tokens).last_hidden_state
        assert ours.std() > 0.1
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
        torch.testing.assert_close(model(tokens).logits, converted(tokens).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_there_and_back_again_is_the_same_model(kind: str) -> None:
    from training.checkpoint.conversion import convert

    model = lively(kind)
    back = convert(convert(model)).eval()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, back.state_dict()[name]), name
    assert back.get_output_embeddings().weight is back.get_input_embeddings().weight
    tokens = torch.randint(0, 100, (2, 40))
    with torch.no_grad():
        torch.testing.assert_close(model(tokens).logits, back(tokens).logits, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_a_saved_model_computes_the_same_when_loaded(kind: str, tmp_path: Path) -> None:
    """transformers forgets the width of a decoder's sliding window when it saves the configuration."""
    import transformers

    model = lively(kind)
    model.save_pretrained(tmp_path)
    loader = transformers.AutoModelForMaskedLM if kind == "encoder" else transformers.AutoModelForCausalLM
    loaded = loader.from_pretrained(tmp_path, local_files_only=True)
    tokens = torch.randint(0, 100, (2, 40))
    with torch.no_grad():
        torch.testing.assert_close(model(tokens).logits, loaded(tokens).logits, rtol=0, atol=1e-6)


def test_a_converted_decoder_sees_what_comes_after() -> None:
    from training.checkpoint.conversion import convert

    decoder = lively("decoder")
    encoder = convert(decoder).eval()
    tokens = torch.randint(0, 100, (1, 20))
    changed = tokens.clone()
    changed[0, 15] = (changed[0, 15] + 1) % 100
    with torch.no_grad():
        assert torch.equal(decoder(tokens).logits[:, :15], decoder(changed).logits[:, :15])
        assert not torch.allclose(encoder(tokens).logits[:, :15], encoder(changed).logits[:, :15])


def test_other_models_are_refused() -> None:
    import transformers

    from training.checkpoint.conversion import convert

    config = transformers.GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=10)
    with pytest.raises(TypeError, match="GPT2LMHeadModel"):
        convert(transformers.GPT2LMHeadModel(config))
