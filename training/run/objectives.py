"""Training objectives: a transformers model as Composer trains and evaluates it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from composer.core import Callback, State
from composer.loggers import Logger
from composer.models import ComposerModel
from composer.utils import dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import Metric
from transformers import ModernBertDecoderForCausalLM, ModernBertForMaskedLM, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from training.checkpoint.models import mask_token
from training.recipe.recipe import Recipe
from training.run.boundaries import check, hidden_states, logits
from training.run.losses import linear_cross_entropy

Batch = dict[str, Tensor]
Ids = NDArray[np.int64]

#: Draws the masks of held-out samples, whatever the run's own seed.
EVALUATION_SEED = 2**32

#: A target that is not predicted.
IGNORED = -1


@dataclass(frozen=True, slots=True)
class Masking:
    """Which tokens a masked model must guess: ``rate`` of them, never ``special`` ones.

    Of those, BERT's ``80_10_10`` replaces 80% by ``mask_token``, 10% by a random token and leaves 10% as they are;
    ``all_mask`` replaces all. ``vocabulary``: random tokens are below it, and not special.
    """

    rate: float
    mask_token: int
    special: tuple[int, ...]
    vocabulary: int
    corruption: Literal["80_10_10", "all_mask"] = "80_10_10"


def mask(tokens: Ids, sample_ids: Ids, masking: Masking, *, seed: int, step: int) -> tuple[Ids, Ids]:
    """Return inputs and targets, shaped like ``tokens`` (samples, length); targets are ``IGNORED`` where none is.

    At least one token of each sample is to be guessed, unless all are special. The draw depends on seed, sample id and
    step alone: a sample gets the same masks on whatever rank and in whatever batch size, and after a restart.
    """
    inputs, targets = tokens.copy(), np.full_like(tokens, IGNORED)
    ordinary = np.setdiff1d(np.arange(masking.vocabulary), masking.special)
    eligible = ~np.isin(tokens, masking.special)
    for row, sample_id in enumerate(sample_ids.tolist()):
        random = np.random.Generator(np.random.Philox(key=[seed, sample_id], counter=[0, 0, 0, step]))
        score, fate = random.random((2, tokens.shape[1]))
        others = random.choice(ordinary, tokens.shape[1])
        score[~eligible[row]] = 2.0
        chosen = (score < masking.rate) | ((score == score.min()) & eligible[row])
        targets[row, chosen] = tokens[row, chosen]
        if masking.corruption == "all_mask":
            inputs[row, chosen] = masking.mask_token
        else:
            inputs[row, chosen & (fate < 0.8)] = masking.mask_token
            swapped = chosen & (fate >= 0.9)
            inputs[row, swapped] = others[swapped]
    return inputs, targets


class HeldOutLoss(Metric):
    """Mean loss per predicted token, in nats; the mean over all tokens, not of the batches' means."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.loss: Tensor
        self.predictions: Tensor
        self.add_state("loss", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("predictions", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, loss: Tensor, predictions: int) -> None:
        """Add the summed loss of some predictions."""
        self.loss += loss.double()
        self.predictions += predictions

    def compute(self) -> Tensor:
        """Return the mean so far."""
        return self.loss / self.predictions


class HeldOutAccuracy(HeldOutLoss):
    """The share of predictions that were right: the mean over all tokens of 1 or 0 in place of a loss."""


class Scorer(nn.Module):
    """A transformers model with its loss in one forward, around which FSDP can gather the weights of both.

    ``end_of_text`` is what keeps packed documents apart (see training.run.boundaries), None if they may mix.
    """

    def __init__(self, model: PreTrainedModel, end_of_text: int | None) -> None:
        super().__init__()
        self.model = model
        self._end_of_text = end_of_text

    def forward(self, inputs: Tensor, targets: Tensor, hits: Tensor | None = None) -> Tensor:
        """Sum the losses in nats of ``inputs`` against ``targets``, both (sequences, length).

        ``hits`` is increased by how many targets were thought the likeliest.

        ModernBERT's logits are never held all at once; other models' are, since what they do between hidden states and
        logits is their own (scaling, capping).
        """
        whole: Any = self.model
        targets = targets.flatten()
        places = torch.nonzero(targets != IGNORED)[:, 0]
        targets = targets[places]
        if isinstance(self.model, (ModernBertForMaskedLM, ModernBertDecoderForCausalLM)):
            head = whole.head if isinstance(self.model, ModernBertForMaskedLM) else whole.lm_head
            hidden = hidden_states(self.model, inputs, self._end_of_text).flatten(0, 1)[places]
            return linear_cross_entropy(head(hidden), whole.decoder.weight, whole.decoder.bias, targets, hits)
        chosen = logits(self.model, inputs, self._end_of_text).flatten(0, 1)[places]
        if hits is not None:
            hits += (chosen.argmax(1) == targets).sum()
        return functional.cross_entropy(chosen.float(), targets, reduction="sum")


class LanguageModel(ComposerModel):
    """A causal or masked model. A batch has ``input_ids`` and ``sample_ids``; ``prepare`` adds the rest.

    ``inputs`` and ``targets`` are (sequences, length); the target of a position is what its logits should predict, or
    ``IGNORED``. ``per_sequence`` (sequences) is how many predictions a sequence has, on average over the whole batch on
    all ranks: losses are divided by it, so that however the batch is cut, each prediction weighs the same.
    """

    def __init__(self, model: PreTrainedModel, end_of_text: int | None = None) -> None:
        super().__init__()
        self.scorer = Scorer(model, end_of_text)
        self._end_of_text = end_of_text

    @property
    def model(self) -> PreTrainedModel:
        """The transformers model."""
        return self.scorer.model

    def fsdp_wrap_fn(self, module: nn.Module) -> bool:
        """Tell which parts Composer's FSDP gathers one at a time: transformers' layers."""
        return isinstance(module, GradientCheckpointingLayer)

    def examples(self, batch: Batch, step: int | None) -> tuple[Tensor, Tensor]:
        """Return inputs and targets. ``step`` is the batch's number in training, None in evaluation."""
        raise NotImplementedError

    def prepare(self, batch: Batch, step: int | None) -> Batch:
        """Add inputs, targets and ``per_sequence``. No document is asked for the next one's first token."""
        inputs, targets = self.examples(batch, step)
        if self._end_of_text is not None:
            targets = targets.masked_fill(inputs == self._end_of_text, IGNORED)
        counts = torch.stack([(targets != IGNORED).sum(), torch.tensor(len(inputs), device=inputs.device)])
        if step is not None:
            dist.all_reduce(counts)
        mean = (counts[0] / counts[1]).clamp(min=1 / len(inputs))  # nothing to predict at all: the loss is 0, not NaN
        return {**batch, "inputs": inputs, "targets": targets, "per_sequence": mean.expand(len(inputs))}

    def forward(self, batch: Batch) -> Tensor:
        """Sum the losses of a batch, in nats."""
        batch = self._prepared(batch)
        loss: Tensor = self.scorer(batch["inputs"], batch["targets"])
        return loss

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the mean loss per predicted token."""
        batch = self._prepared(batch)
        return outputs / (len(batch["inputs"]) * batch["per_sequence"][0])

    def eval_forward(self, batch: Batch, outputs: Tensor | None = None) -> Tensor:
        """Return what ``update_metric`` reads: the summed loss, and how many predictions were right."""
        if outputs is not None:
            return outputs
        batch = self._prepared(batch)
        hits = torch.zeros((), dtype=torch.int64, device=batch["inputs"].device)
        loss = self.scorer(batch["inputs"], batch["targets"], hits)
        return torch.stack([loss.double(), hits.double()])

    def get_metrics(self, is_train: bool) -> dict[str, Metric]:
        """Return held-out loss and accuracy; the trainer itself logs the training loss."""
        return {} if is_train else {"loss": HeldOutLoss(), "accuracy": HeldOutAccuracy()}

    def update_metric(self, batch: Batch, outputs: Any, metric: Metric) -> None:
        """Add a batch to a metric."""
        which = 1 if isinstance(metric, HeldOutAccuracy) else 0
        metric.update(outputs[which], int((self._prepared(batch)["targets"] != IGNORED).sum()))

    def _prepared(self, batch: Batch) -> Batch:
        if "targets" not in batch:
            batch.update(self.prepare(batch, None))
        return batch


class CausalLanguageModel(LanguageModel):
    """Predict each token of a packed sequence from those before it."""

    def examples(self, batch: Batch, step: int | None) -> tuple[Tensor, Tensor]:
        """Let every position predict the next token, the last one nothing."""
        return batch["input_ids"], _next(batch["input_ids"])


class MaskedLanguageModel(LanguageModel):
    """Guess masked tokens, each from its own position or, with ``shifted``, from the one before.

    Shifted, a document's first token is never guessed. Masks depend on seed, sample and step; evaluation draws them
    from the samples alone, so that all runs are measured on the same.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        masking: Masking,
        *,
        seed: int,
        shifted: bool = False,
        end_of_text: int | None = None,
    ) -> None:
        super().__init__(model, end_of_text)
        self._masking = masking
        self._seed = seed
        self._shifted = shifted

    def examples(self, batch: Batch, step: int | None) -> tuple[Tensor, Tensor]:
        """Draw the masks."""
        tokens = batch["input_ids"]
        seed, place = (EVALUATION_SEED, 0) if step is None else (self._seed, step)
        drawn = mask(tokens.cpu().numpy(), batch["sample_ids"].cpu().numpy(), self._masking, seed=seed, step=place)
        inputs, targets = (torch.from_numpy(one).to(tokens.device) for one in drawn)
        return inputs, _next(targets) if self._shifted else targets


def _next(tokens: Tensor) -> Tensor:
    return torch.cat([tokens[:, 1:], torch.full_like(tokens[:, :1], IGNORED)], dim=1)


class Preparation(Callback):
    """Prepares every training batch as a whole, before it is cut into microbatches."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model

    def after_dataloader(self, state: State, logger: Logger) -> None:
        """Draw what depends on the number of the batch."""
        state.batch = self._model.prepare(state.batch, int(state.timestamp.batch))


def objective(model: PreTrainedModel, recipe: Recipe, vocabulary: int, end_of_text: int, seed: int) -> LanguageModel:
    """Make a model under the recipe's objective. ``vocabulary`` is the tokenizer's size, ``seed`` draws the masks.

    Raises UsageError if documents are to be kept apart and the model cannot.
    """
    token = mask_token(recipe, vocabulary)
    apart = end_of_text if recipe.boundaries else None
    if apart is not None and recipe.model.folder is not None:
        check(model, apart)
    if token is None:
        return CausalLanguageModel(model, apart)
    settings = recipe.objective
    special = tuple(sorted({end_of_text, token, *settings.special_tokens}))
    masking = Masking(settings.rate, token, special, vocabulary=vocabulary, corruption=settings.corruption)
    shifted = recipe.learns == "masked_next_token"
    return MaskedLanguageModel(model, masking, seed=seed, shifted=shifted, end_of_text=apart)
