"""Models: Ettin's architecture from transformers' ModernBERT classes, or a folder; how many parameters they have.

Encoder and decoder share every size; they differ in the attention mask, and the decoder's output layer has a bias.
Per layer: 4 h² (attention) + 3 h i (gated MLP) + norms; the head is dense h² and a norm; embeddings are tied.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.checkpoint.conversion import convert, decoder_configuration, keep_window
from training.recipe.recipe import Recipe
from training.recipe.settings import Kind, ModelSettings, Sizes
from udfs.errors import UsageError, first_line
from udfs.model_folders import NO_CODE, SAFE, require_safetensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel

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
        """Return training FLOPs, 6 N D. The tied matrix is the output layer too, so it is truer to count it."""
        return 6.0 * (self.total if embeddings else self.without_embeddings) * tokens


def count_parameters(sizes: Sizes, vocabulary: int) -> Parameters:
    """Count parameters from the sizes alone, without building the model. Norms have no bias; layer 0 has one norm."""
    hidden = sizes.hidden
    layer = 4 * hidden**2 + 3 * hidden * sizes.intermediate + 2 * hidden
    body = sizes.layers * layer - hidden + 2 * hidden  # less the skipped pre-norm; embedding norm and final norm
    head = hidden**2 + hidden + vocabulary
    embeddings = vocabulary * hidden
    return Parameters(body + head + embeddings, embeddings)


def mask_token(recipe: Recipe, vocabulary: int) -> int | None:
    """Return the mask token of a recipe over a tokenizer's ``vocabulary``, None for a causal model."""
    if recipe.learns == "causal_lm":
        return None
    return vocabulary if recipe.objective.mask_token is None else recipe.objective.mask_token


def model_vocabulary(recipe: Recipe, vocabulary: int) -> int:
    """Count the token ids that the model must know: the tokenizer's, and the mask token."""
    mask = mask_token(recipe, vocabulary)
    return vocabulary if mask is None else max(vocabulary, mask + 1)


def count(model: ModelSettings, vocabulary: int) -> Parameters:
    """Count a recipe's parameters. A model from a folder is built without memory, which needs transformers."""
    if model.folder is None:
        return count_parameters(model.sizes(), vocabulary)
    import torch

    with torch.device("meta"):
        built = _empty(model)
    embeddings: Any = built.get_input_embeddings()
    total = sum(parameter.numel() for parameter in built.parameters())
    return Parameters(total, embeddings.weight.numel())


def attention(precision: str) -> str:
    """Return transformers' name of the fastest attention. Flash attention's kernels know 16-bit numbers only."""
    from transformers.utils.import_utils import is_flash_attn_2_available

    return "flash_attention_2" if precision == "amp_bf16" and is_flash_attn_2_available() else "sdpa"


def make(
    model: ModelSettings, vocabulary: int, sequence_length: int, *, end_of_text: int, attention: str = "sdpa"
) -> PreTrainedModel:
    """Make a recipe's model, with fresh weights or those of its folder, for at least ``vocabulary`` token ids.

    Embeddings of a folder's model grow by what the vocabulary has more: at most the mask token. Raises UsageError if
    more is missing (the folder's tokenizer is another one), the sequences are too long or the model is of no known
    kind.
    """
    if model.folder is None:
        sizes, kind = model.sizes(), model.kind
        return build(sizes, vocabulary, sequence_length, end_of_text=end_of_text, kind=kind, attention=attention)
    built: PreTrainedModel
    if model.fresh:
        built = _empty(model, attention)
    else:
        require_safetensors(Path(model.folder))
        built = _loader(model).from_pretrained(
            model.folder, local_files_only=True, attn_implementation=attention, dtype="float32", **SAFE
        )
    keep_window(built.config)
    if _other_kind(model):
        built = convert(built)
    longest = getattr(built.config, "max_position_embeddings", None)
    if longest and longest < sequence_length:
        raise UsageError(f"the model in {model.folder} reads {longest:,} tokens at once, not {sequence_length:,}")
    embeddings: Any = built.get_input_embeddings()
    known = embeddings.weight.shape[0]
    if known < vocabulary - 1:
        raise UsageError(
            f"the model in {model.folder} knows {known:,} tokens, the exports have {vocabulary:,}",
            hint="export the mixtures with the model's tokenizer",
        )
    if known < vocabulary:
        built.resize_token_embeddings(vocabulary, mean_resizing=False)
    built.train()
    return built


_CONVERTIBLE = {"modernbert": "encoder", "modernbert-decoder": "decoder"}


def _other_kind(model: ModelSettings) -> bool:
    """Check whether the folder holds a ModernBERT of the other kind than the recipe wants."""
    return _CONVERTIBLE.get(_configuration(model).model_type, model.kind) != model.kind


def _configuration(model: ModelSettings) -> Any:
    import transformers

    try:
        return transformers.AutoConfig.from_pretrained(str(model.folder), local_files_only=True, **NO_CODE)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the model in {model.folder}: {first_line(error)}") from error


def _loader(model: ModelSettings) -> Any:
    import transformers

    loader: Any
    if (model.kind == "decoder") != _other_kind(model):
        loader, mapping, what = transformers.AutoModelForCausalLM, transformers.MODEL_FOR_CAUSAL_LM_MAPPING, "causal"
    else:
        loader, mapping, what = transformers.AutoModelForMaskedLM, transformers.MODEL_FOR_MASKED_LM_MAPPING, "masked"
    if type(_configuration(model)) not in mapping:
        raise UsageError(
            f"{_configuration(model).model_type} in {model.folder} has no {what} language model",
            hint=f"model.kind is {model.kind}",
        )
    return loader


def _empty(model: ModelSettings, attention: str = "sdpa") -> PreTrainedModel:
    built: PreTrainedModel = _loader(model).from_config(_configuration(model), attn_implementation=attention, **NO_CODE)
    return built


def build(
    sizes: Sizes,
    vocabulary: int,
    sequence_length: int,
    *,
    end_of_text: int,
    kind: Kind = "decoder",
    attention: str = "sdpa",
) -> PreTrainedModel:
    """Build a model with fresh weights drawn from torch's global generator.

    ``end_of_text`` separates documents and is used for all special tokens: packed sequences hold no padding.
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
        "global_rope_theta": sizes.rope_theta,
        "local_rope_theta": sizes.rope_theta,
        "pad_token_id": None,  # the default, 50,283, would be outside a small vocabulary
        **dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), end_of_text),
        "attn_implementation": attention,
    }
    if kind == "encoder":
        return transformers.ModernBertForMaskedLM(transformers.ModernBertConfig(**common, reference_compile=False))
    return transformers.ModernBertDecoderForCausalLM(decoder_configuration(common))
