"""Training objectives: a transformers model as Composer trains and evaluates it."""

from __future__ import annotations

from typing import Any

import torch
from composer.models import ComposerModel
from torch import Tensor
from torchmetrics import Metric
from transformers import PreTrainedModel

from training.losses import linear_cross_entropy

Batch = dict[str, Tensor]


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
        """The mean so far."""
        return self.loss / self.predictions


class CausalLanguageModel(ComposerModel):
    """Predict each token of a packed sequence from those before it. A batch has ``input_ids`` (sequences, length)."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Tensor:
        """Sum of the losses of a batch, in nats."""
        tokens = batch["input_ids"]
        hidden = self.model.lm_head(self.model.model(input_ids=tokens, use_cache=False).last_hidden_state)
        output = self.model.decoder
        return linear_cross_entropy(hidden[:, :-1].flatten(0, 1), output.weight, output.bias, tokens[:, 1:].flatten())

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Mean loss per predicted token."""
        return outputs / predictions(batch)

    def eval_forward(self, batch: Batch, outputs: Tensor | None = None) -> Tensor:
        """What ``update_metric`` reads: the summed loss."""
        return self.forward(batch) if outputs is None else outputs

    def get_metrics(self, is_train: bool) -> dict[str, Metric]:
        """Held-out loss; the training loss is logged by the trainer itself."""
        return {} if is_train else {"loss": HeldOutLoss()}

    def update_metric(self, batch: Batch, outputs: Any, metric: Metric) -> None:
        """Add a batch to a metric."""
        metric.update(outputs, predictions(batch))


def predictions(batch: Batch) -> int:
    """How many tokens of a batch are predicted: all but the first of each sequence."""
    sequences, length = batch["input_ids"].shape
    return sequences * (length - 1)
