"""Cross-entropy over a large vocabulary, without ever holding all logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

#: Rows per chunk. On a CPU the logits should stay in the cache, on a GPU a product should be large. 128 x 8,192 logits
#: are 4 MB in fp32: on 2 CPU cores 4,096 tokens x 128 x 8,192 take 0.18 s forward and backward, the plain loss 0.31 s
#: (chunks of 64 to 1,024 in the same run: 0.17, 0.18, 0.21, 0.20, 0.22 s).
CPU_CHUNK, GPU_CHUNK = 128, 4096


class _LinearCrossEntropy(torch.autograd.Function):
    """Sum of the losses. Gradients are made in the forward pass, while a chunk's logits are at hand."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, hits: Tensor | None) -> Tensor:
        wanted = any(ctx.needs_input_grad[:3])
        cast = torch.get_autocast_dtype(hidden.device.type) if torch.is_autocast_enabled(hidden.device.type) else None
        matrix = weight.to(cast) if cast else weight
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        hidden_grad = torch.empty_like(hidden) if wanted else None
        weight_grad = torch.zeros_like(weight) if wanted else None
        bias_grad = torch.zeros_like(bias) if wanted else None
        with torch.autocast(hidden.device.type, enabled=False):
            chunk = CPU_CHUNK if hidden.device.type == "cpu" else GPU_CHUNK
            for start in range(0, len(hidden), chunk):
                rows = hidden[start : start + chunk].to(matrix.dtype)
                target = targets[start : start + chunk]
                logits = (rows @ matrix.t()).float().add_(bias)
                logits.sub_(logits.amax(1, keepdim=True))
                chosen = logits.gather(1, target[:, None])[:, 0]
                if hits is not None:
                    hits += (chosen == 0).sum()  # the target's logit is the largest
                odds = logits.exp_()  # in place of the logits, and below of the probabilities: each pass costs
                normalizer = odds.sum(1)
                total += (normalizer.log() - chosen).sum()
                if hidden_grad is None or weight_grad is None or bias_grad is None:
                    continue
                slope = odds.div_(normalizer[:, None])  # d loss / d logits = softmax - one-hot
                slope[torch.arange(len(target), device=slope.device), target] -= 1
                bias_grad += slope.sum(0)
                slope = slope.to(matrix.dtype)
                hidden_grad[start : start + chunk] = slope @ matrix
                weight_grad.addmm_(slope.t(), rows) if cast is None else weight_grad.add_(slope.t() @ rows)
        ctx.save_for_backward(hidden_grad, weight_grad, bias_grad)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        scale = gradients[0]
        hidden_grad, weight_grad, bias_grad = ctx.saved_tensors
        return hidden_grad * scale, weight_grad * scale, bias_grad * scale, None, None


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, hits: Tensor | None = None
) -> Tensor:
    """Sum the cross-entropy of the rows of ``hidden @ weight.T + bias`` against ``targets``, in nats.

    ``hidden`` is (n, h), ``weight`` (vocabulary, h), ``bias`` (vocabulary), ``targets`` (n). Under autocast the
    products are in its type, the softmax and the sum in float32. ``hits`` is increased by how many targets have the
    largest logit of their row.
    """
    apply: Callable[..., Tensor] = _LinearCrossEntropy.apply
    return apply(hidden, weight, bias, targets, hits)
