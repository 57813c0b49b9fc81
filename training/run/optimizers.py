"""The optimizers that recipes name: Composer's AdamW, StableAdamW, and Lion.

In all three each step shrinks a matrix by ``weight_decay`` times the schedule, whatever the peak learning rate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from composer.optim import DecoupledAdamW
from torch import Tensor, nn
from torch.optim import Optimizer

from training.recipe.settings import OptimizerSettings


class _ByTensor(Optimizer):
    """An optimizer that updates one tensor after the other; ``lr`` at the beginning is the peak."""

    def __init__(self, params: Any, settings: dict[str, Any]) -> None:
        super().__init__(params, settings)
        for group in self.param_groups:
            group["initial_lr"] = group["lr"]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.set_grad_enabled(True):
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group, self.state[parameter])
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        raise NotImplementedError


class StableAdamW(_ByTensor):
    """AdamW whose step is made smaller where a tensor's second moment lags behind its gradients.

    With r = sqrt(mean(g² / max(v, eps²))) of a tensor, the learning rate of its step is lr / max(1, r), which replaces
    clipping of gradients. The betas are debiased: beta_t = (beta^t - beta) / (beta^t - 1). Weight decay is
    ``weight_decay * lr / peak``. ``StableAdamW`` of Wortsman et al. 2023 (arXiv 2304.13013, algorithm 2), with the
    fully decoupled decay of ModernBERT's and Ettin's recipes.
    """

    def __init__(self, params: Any, lr: float, betas: tuple[float, float], eps: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        step = float(state["step"])
        first, second = ((beta**step - beta) / (beta**step - 1) for beta in group["betas"])
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        mean.lerp_(gradient, 1 - first)
        square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        lag = gradient.square().div_(square.clamp(min=group["eps"] ** 2)).mean().sqrt()
        rate = group["lr"] / lag.clamp(min=1.0)  # stays a tensor: asking for its value would stall a GPU
        if group["weight_decay"]:
            parameter.mul_(1 - rate * (group["weight_decay"] / group["initial_lr"]))
        parameter.sub_(mean / square.sqrt().add_(group["eps"]) * rate)


class LionW(_ByTensor):
    """Lion with decoupled weight decay: ``p *= 1 - wd * lr / peak``, then ``p -= lr * sign(b1 * m + (1 - b1) * g)``.

    Then ``m = b2 * m + (1 - b2) * g``. ``DecoupledLionW`` of llm-foundry, after Chen et al. 2023 (arXiv 2302.06675).
    """

    def __init__(self, params: Any, lr: float, betas: tuple[float, float], weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        if not state:
            state["exp_avg"] = torch.zeros_like(parameter)
        first, second = group["betas"]
        if group["weight_decay"]:
            parameter.mul_(1 - group["weight_decay"] * group["lr"] / group["initial_lr"])
        parameter.sub_(torch.lerp(gradient, state["exp_avg"], first).sign_(), alpha=group["lr"])
        state["exp_avg"].lerp_(gradient, 1 - second)


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Divide the parameters into matrices and what weight decay leaves alone: norms and biases, as in Ettin."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    return [{"params": matrices}, {"params": others, "weight_decay": 0.0}]


def make(model: nn.Module, settings: OptimizerSettings, peak: float) -> Optimizer:
    """Make the optimizer of a recipe at its peak learning rate."""
    groups = parameter_groups(model)
    (first, second), decay, eps = settings.betas, settings.weight_decay, settings.eps
    betas = (first, second)
    match settings.name:
        case "lionw":
            return LionW(groups, peak, betas, decay)
        case "stable_adamw":
            return StableAdamW(groups, peak, betas, eps=eps, weight_decay=decay)
        case "decoupled_adamw":
            adamw: Optimizer = DecoupledAdamW(groups, lr=peak, betas=betas, eps=eps, weight_decay=decay)
            return adamw


def set_again(optimizer: Optimizer, settings: OptimizerSettings, rate: float) -> None:
    """Make an optimizer that took a checkpoint's state do what the recipe says, from ``rate`` on.

    Its groups came with the checkpoint's rate, betas and weight decay. The peak that decay is relative to stays.
    """
    for group, decay in zip(optimizer.param_groups, (settings.weight_decay, 0.0), strict=True):
        group |= {"lr": rate, "betas": tuple(settings.betas), "weight_decay": decay}
        if "eps" in group:
            group["eps"] = settings.eps
