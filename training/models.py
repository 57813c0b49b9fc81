"""Ettin-architecture models, from transformers' ModernBERT classes, and how many parameters they have.

Encoder and decoder share every size; they differ in the attention mask, and the decoder's output layer has a bias.
Per layer: 4 h² (attention) + 3 h i (gated MLP) + norms; the head is dense h² and a norm; embeddings are tied.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from training.recipe import Sizes

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Kind = Literal["decoder", "encoder"]

#: Vocabulary of the Ettin suite, to which its published parameter counts refer.
SUITE_VOCABULARY = 50_368


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameter counts. ``embeddings`` are counted once: input and output share them."""

    total: int
    embeddings: int

    @property
    def without_embeddings(self) -> int:
        """Everything but the token embeddings."""
        return self.total - self.embeddings

    def flops(self, tokens: int, *, embeddings: bool) -> float:
        """Training FLOPs, 6 N D. The tied matrix works as the output layer, so counting it is the truer figure."""
        return 6.0 * (self.total if embeddings else self.without_embeddings) * tokens


def count_parameters(sizes: Sizes, vocabulary: int) -> Parameters:
    """Count parameters from the sizes alone, without building the model. Norms have no bias; layer 0 has one norm."""
    hidden = sizes.hidden
    layer = 4 * hidden**2 + 3 * hidden * sizes.intermediate + 2 * hidden
    body = sizes.layers * layer - hidden + 2 * hidden  # less the skipped pre-norm; embedding norm and final norm
    head = hidden**2 + hidden + vocabulary
    embeddings = vocabulary * hidden
    return Parameters(body + head + embeddings, embeddings)


def build(
    sizes: Sizes, vocabulary: int, sequence_length: int, *, end_of_text: int, kind: Kind = "decoder"
) -> PreTrainedModel:
    """A model with fresh weights drawn from torch's global generator; attention through SDPA.

    ``end_of_text`` separates documents and stands for all special tokens: packed sequences hold no padding.
    """
    import transformers

    common: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": sizes.hidden,
        "intermediate_size": sizes.intermediate,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "local_attention": sizes.sliding_window,
        "global_attn_every_n_layers": sizes.global_every,
        "max_position_embeddings": sequence_length,
        "global_rope_theta": 10_000.0,  # both bases are 1e4 in Ettin's first phase, at 1,024 tokens
        "local_rope_theta": 10_000.0,
        "pad_token_id": None,  # the default, 50,283, would lie outside a small vocabulary
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
        "cls_token_id": end_of_text,
        "sep_token_id": end_of_text,
        "attn_implementation": "sdpa",
    }
    if kind == "encoder":
        return transformers.ModernBertForMaskedLM(transformers.ModernBertConfig(**common, reference_compile=False))
    decoder: Callable[..., Any] = transformers.ModernBertDecoderConfig
    return transformers.ModernBertDecoderForCausalLM(decoder(**common))
