"""The two students under Composer: what they compute of packed sequences, and their loss.

A batch has ``tokens`` (sequences, length), padded behind the last example; ``lengths`` (sequences, examples) of the
examples that follow one another in a sequence, 0 where there are fewer; their ``targets`` (sequences, examples,
targets); and ``sample_ids``. ``per_sequence`` is how many predictions a sequence has on average over the whole batch on
all ranks: losses are divided by it, so that however a batch is cut, each prediction weighs the same.
"""

from __future__ import annotations

from typing import Any

import torch
from composer import ComposerModel
from composer.core import Callback, State
from composer.loggers import Logger
from composer.utils import dist
from torch import Tensor
from torch.nn import functional

from training.distillation.encoding import IGNORED
from udfs.errors import CuveeError
from udfs.labels.students.heads import Heads, padded

Batch = dict[str, Tensor]

#: Documents are computed together whose lengths differ by at most this factor, so at most a fifth of what is read is
#: padding.
_SIMILAR = 1.25


class StudentModel(ComposerModel):
    """A student; ``forward`` gives the sum of the losses of a batch, in nats."""

    def predictions(self, batch: Batch) -> Tensor:
        """Count the predictions of each sequence."""
        raise NotImplementedError

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the mean loss per prediction."""
        return outputs / (len(batch["tokens"]) * batch["per_sequence"][0])


class GenerativeStudent(StudentModel):
    """A causal model that learns the tokens of the answers and nothing else.

    Examples in a sequence do not see each other: positions start from 0 in each, and transformers makes the attention
    mask of that. Raises CuveeError for a model that does not keep to it.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        _check_packing(model)

    def predictions(self, batch: Batch) -> Tensor:
        """Count the tokens of the answers, with the end."""
        lengths = batch["lengths"]
        return (lengths - batch["targets"][..., 0]).clamp(min=0).sum(1)

    def forward(self, batch: Batch) -> Tensor:
        """Return the sum of the losses on the answers."""
        tokens, lengths, prompts = batch["tokens"], batch["lengths"], batch["targets"][..., 0]
        positions, owners = places(lengths, tokens.shape[1])
        # The last token before an answer predicts its first, the last but one of the example the end.
        behind = functional.pad(torch.stack([prompts, lengths]), (0, 1))  # nothing is predicted in the padding
        first, last = behind.gather(2, owners.expand(2, -1, -1))
        predicting = (positions >= first - 1) & (positions < last - 1)
        hidden = states(self.model, tokens, positions)[predicting]
        logits = self.model.get_output_embeddings()(hidden)
        return functional.cross_entropy(
            logits.float(), functional.pad(tokens[:, 1:], (0, 1))[predicting], reduction="sum"
        )


class HeadsStudent(StudentModel):
    """An encoder with heads. Documents are taken out of their sequences and computed with others of their length."""

    def __init__(self, heads: Heads) -> None:
        super().__init__()
        self.model = heads

    def predictions(self, batch: Batch) -> Tensor:
        """Count the documents, each with all its heads: so the loss is the sum over the heads."""
        return (batch["lengths"] > 0).sum(1)

    def forward(self, batch: Batch) -> Tensor:
        """Return the sum of the losses of all heads."""
        tokens, lengths = batch["tokens"], batch["lengths"]
        held = lengths > 0
        targets = batch["targets"][held]
        sizes = lengths[held].tolist()
        ids = torch.split(torch.cat([row[:n] for row, n in zip(tokens, lengths.sum(1).tolist(), strict=True)]), sizes)
        order = sorted(range(len(sizes)), key=sizes.__getitem__)
        total = tokens.new_zeros((), dtype=torch.float32)
        while order:
            shortest = sizes[order[0]]
            n = next((n for n, one in enumerate(order) if sizes[one] > _SIMILAR * shortest + 1), len(order))
            chosen, order = order[:n], order[n:]
            read, mask = (each.to(tokens.device) for each in padded([ids[one].tolist() for one in chosen]))
            logits = self.model(read, mask)
            wanted = targets[torch.tensor(chosen, device=targets.device)]
            for head, name in enumerate(self.model.form.outputs()):
                total = total + functional.cross_entropy(
                    logits[name].float(), wanted[:, head], ignore_index=IGNORED, reduction="sum"
                )
        return total


class Weighing(Callback):
    """Counts a whole batch's predictions on all ranks, before it is cut into microbatches."""

    def __init__(self, model: StudentModel) -> None:
        self._model = model

    def after_dataloader(self, state: State, logger: Logger) -> None:
        """Add ``per_sequence``."""
        batch = state.batch
        counts = torch.stack([self._model.predictions(batch).sum(), batch["lengths"].new_tensor(len(batch["tokens"]))])
        dist.all_reduce(counts)
        batch["per_sequence"] = (counts[0] / counts[1]).expand(len(batch["tokens"]))


def places(lengths: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Return per place of a sequence its position in its example, and the example's number: (sequences, length) each.

    The padding counts as one more example.
    """
    ends = lengths.cumsum(1)
    places = torch.arange(length, device=lengths.device).expand(len(lengths), -1).contiguous()
    owners = torch.searchsorted(ends, places, right=True)
    starts = functional.pad(ends, (1, 0)).gather(1, owners)
    return places - starts, owners


def states(model: Any, tokens: Tensor, positions: Tensor) -> Tensor:
    """Return the last hidden states of packed sequences."""
    hidden: Tensor = model.base_model(input_ids=tokens, position_ids=positions, use_cache=False).last_hidden_state
    return hidden


@torch.no_grad()
def _check_packing(model: Any) -> None:
    """Compare two examples in one sequence with each by itself. Raises CuveeError."""
    training = model.training
    model.eval()
    tokens = torch.randint(model.config.vocab_size, (2, 9), generator=torch.Generator().manual_seed(0))
    apart = model(input_ids=tokens).logits
    positions, _ = places(torch.tensor([[9, 9]]), 18)
    together = model.get_output_embeddings()(states(model, tokens.reshape(1, 18), positions)).reshape(apart.shape)
    model.train(training)
    if not torch.allclose(apart, together, rtol=1e-3, atol=1e-3 * float(apart.abs().max())):
        raise CuveeError(
            f"{type(model).__name__} does not keep apart examples that are packed into one sequence,"
            " or scales its logits in its own way",
            hint="models shaped like Qwen2 and Llama do",
        )
