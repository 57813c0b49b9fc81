"""Documents packed into one sequence, kept apart: none attends to another, and positions begin at 0 in each.

A document ends with its end-of-text token, which belongs to it. On a CPU attention gets a block-diagonal mask; on a GPU
with flash attention documents are run as sequences of their own lengths, without padding or masks. Either way a packed
document gets the logits that it would get alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import ModernBertForMaskedLM, PreTrainedModel

from udfs.errors import UsageError

FLASH = "flash_attention_2"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the documents of packed sequences are.

    ``documents`` (sequences, length) is a document's number within its sequence, ``positions`` (sequences, length) a
    token's place within its document.
    """

    documents: Tensor
    positions: Tensor

    @property
    def same(self) -> Tensor:
        """Whether two tokens are of the same document: (sequences, length, length)."""
        return self.documents[:, :, None] == self.documents[:, None, :]

    @property
    def bounds(self) -> Tensor:
        """Where documents begin in the flattened batch, and at last its length: (documents + 1), int32."""
        starts = torch.nonzero(self.positions.flatten() == 0)[:, 0]
        return torch.cat([starts, starts.new_tensor([self.positions.numel()])]).to(torch.int32)


def layout(tokens: Tensor, end_of_text: int) -> Layout:
    """Find the documents of packed ``tokens`` (sequences, length). What a sequence cuts in two is two documents."""
    begins = torch.ones_like(tokens, dtype=torch.bool)
    begins[:, 1:] = tokens[:, :-1] == end_of_text
    places = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    starts = torch.where(begins, places, 0).cummax(1).values
    return Layout(begins.cumsum(1), places - starts)


def hidden_states(model: PreTrainedModel, tokens: Tensor, end_of_text: int | None) -> Tensor:
    """Compute a ModernBERT, encoder or decoder, below its head: (sequences, length, width).

    Documents that ``end_of_text`` ends are kept apart; None packs them as if they were one.
    """
    body: Any = model.model
    causal = {} if isinstance(model, ModernBertForMaskedLM) else {"use_cache": False}
    states: Tensor
    if end_of_text is None or not (tokens[:, :-1] == end_of_text).any():
        states = body(input_ids=tokens, **causal).last_hidden_state
        return states
    where = layout(tokens, end_of_text)
    if model.config._attn_implementation == FLASH:
        return _flash(body, tokens, where, causal)
    places = torch.arange(tokens.shape[1], device=tokens.device)
    distance = places[:, None] - places[None, :]
    whole = where.same[:, None]
    if causal:
        whole = whole & (distance >= 0)
        masks = {"full_attention": whole, "sliding_attention": whole & (distance < model.config.sliding_window)}
        states = body(tokens, attention_mask=masks, position_ids=where.positions, **causal).last_hidden_state
    else:
        near = whole & (distance.abs() <= model.config.local_attention // 2)
        states = body.embeddings(input_ids=tokens)  # the encoder's forward takes padding masks only
        for layer in body.layers:
            states = layer(states, attention_mask=whole, sliding_window_mask=near, position_ids=where.positions)[0]
        states = body.final_norm(states)
    return states


def _flash(body: nn.Module, tokens: Tensor, where: Layout, causal: dict[str, bool]) -> Tensor:
    bounds = where.bounds
    longest = int(where.positions.max()) + 1
    if causal:
        lengths = {"cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds, "max_length_q": longest, "max_length_k": longest}
        states: Tensor = body(input_ids=tokens, position_ids=where.positions, **lengths, **causal).last_hidden_state
        return states
    states = body(
        input_ids=tokens.flatten(),
        attention_mask=torch.ones_like(tokens),
        indices=torch.arange(tokens.numel(), device=tokens.device),
        cu_seqlens=bounds,
        max_seqlen=longest,
        batch_size=tokens.shape[0],
        seq_len=tokens.shape[1],
    ).last_hidden_state
    return states.view(*tokens.shape, -1)


def logits(model: PreTrainedModel, tokens: Tensor, end_of_text: int | None) -> Tensor:
    """Compute the logits of any causal or masked language model: (sequences, length, vocabulary)."""
    whole: Any = model
    causal = "MaskedLM" not in type(model).__name__  # a decoder's class may also be called LMHeadModel
    options: dict[str, Any] = {"use_cache": False} if causal and hasattr(model.config, "use_cache") else {}
    found: Tensor
    if end_of_text is None or not (tokens[:, :-1] == end_of_text).any():
        found = whole(input_ids=tokens, **options).logits
        return found
    where = layout(tokens, end_of_text)
    if not causal:
        found = whole(input_ids=tokens, attention_mask=where.same.long(), position_ids=where.positions).logits
    elif model.config._attn_implementation == FLASH:  # transformers finds documents by positions in one sequence only
        flat = {"input_ids": tokens.view(1, -1), "position_ids": where.positions.view(1, -1)}
        found = whole(**flat, **options).logits.view(*tokens.shape, -1)
    else:
        found = whole(input_ids=tokens, position_ids=where.positions, **options).logits
    return found


def check(model: PreTrainedModel, end_of_text: int) -> None:
    """Raise UsageError if packed documents of this architecture see one another all the same."""
    others = [token for token in range(3) if token != end_of_text][:2]
    tokens = torch.tensor([[first, end_of_text, others[0], others[1]] for first in others])
    training = model.training
    model.train(False)
    try:
        with torch.no_grad():
            found = logits(model, tokens, end_of_text)[:, 2:]
        apart = torch.allclose(found[0], found[1], atol=1e-5)
    except (TypeError, ValueError, RuntimeError):
        apart = False
    model.train(training)
    if not apart:
        raise UsageError(
            f"{model.config.model_type} does not keep packed documents apart",
            hint="if they may see one another: --set boundaries=false",
        )
