"""Weights of ModernBERT's encoder as those of its decoder, and the other way round.

Both classes have the same layers. The encoder joins the projections of queries, keys and values into one matrix, and
calls the part before the output layer ``head`` where the decoder calls it ``lm_head``; that is all. What differs is
which positions a token attends to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

_JOINED = "attn.Wqkv."
_PARTS = ("attn.q_proj.", "attn.k_proj.", "attn.v_proj.")

#: What one class has in its configuration and the other has not, or means otherwise.
_OWN = {
    "architectures", "classifier_pooling", "deterministic_flash_attn", "dtype", "layer_types", "model_type",
    "reference_compile", "repad_logits_with_grad", "sliding_window", "sparse_pred_ignore_index", "sparse_prediction",
    "torch_dtype", "transformers_version", "use_cache",
}  # fmt: skip


def convert(model: PreTrainedModel) -> PreTrainedModel:
    """Make the decoder of a ModernBertForMaskedLM, or the encoder of a ModernBertDecoderForCausalLM.

    The weights are copied. transformers' decoder (4.57) rotates local layers by the global base and ignores
    ``local_rope_theta``, so an encoder made from it gets the global base for both. Raises TypeError for other models.
    """
    import transformers

    to_encoder = isinstance(model, transformers.ModernBertDecoderForCausalLM)
    if not to_encoder and not isinstance(model, transformers.ModernBertForMaskedLM):
        raise TypeError(f"{type(model).__name__} is neither ModernBertForMaskedLM nor ModernBertDecoderForCausalLM")
    settings: dict[str, Any] = {key: value for key, value in model.config.to_dict().items() if key not in _OWN}
    settings["attn_implementation"] = model.config._attn_implementation
    weights = model.state_dict()
    converted: PreTrainedModel
    if to_encoder:
        settings |= {"local_rope_theta": settings["global_rope_theta"], "reference_compile": False}
        settings["local_attention"] = 2 * model.config.sliding_window
        converted = transformers.ModernBertForMaskedLM(transformers.ModernBertConfig(**settings))
        weights = joined(weights)
    else:
        converted = transformers.ModernBertDecoderForCausalLM(decoder_configuration(settings))
        weights = split(weights)
    converted.to(dtype=model.dtype)  # type: ignore[call-arg]
    converted.load_state_dict(weights)
    return converted


def joined(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a decoder's weights under the encoder's names."""
    import torch

    result: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        first, second, third = _PARTS
        if first in name:
            parts = (tensor, weights[name.replace(first, second)], weights[name.replace(first, third)])
            result[name.replace(first, _JOINED)] = torch.cat(parts)
        elif second not in name and third not in name:
            result[_renamed(name, "lm_head.", "head.")] = tensor
    return result


def split(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return an encoder's weights under the decoder's names."""
    result: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if _JOINED in name:
            result |= {name.replace(_JOINED, part): piece for part, piece in zip(_PARTS, tensor.chunk(3), strict=True)}
        else:
            result[_renamed(name, "head.", "lm_head.")] = tensor
    return result


def decoder_configuration(settings: Mapping[str, Any]) -> Any:
    """Return a ModernBertDecoderConfig that is the same after it is saved and loaded."""
    import transformers

    configuration: Callable[..., Any] = transformers.ModernBertDecoderConfig
    return keep_window(configuration(**settings))


def keep_window(configuration: Any) -> Any:
    """Return the same configuration with its sliding window also under the name by which it is loaded again.

    transformers (4.57) makes ``sliding_window`` of a decoder's ``local_attention`` and does not keep the latter, so a
    model with another window than 128 would be saved, loaded with 128 and compute something else.
    """
    if configuration.model_type == "modernbert-decoder":
        configuration.local_attention = 2 * configuration.sliding_window
    return configuration


def _renamed(name: str, before: str, after: str) -> str:
    return after + name.removeprefix(before) if name.startswith(before) else name
