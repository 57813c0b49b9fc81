"""Optimizers against their formulas, worked out in plain numbers."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("composer")

from torch import nn  # noqa: E402

from training.recipe.settings import OptimizerSettings  # noqa: E402
from training.run.optimizers import make  # noqa: E402

GRADIENTS = ((0.1, -0.2), (3.0, 0.0), (-0.05, 0.4))
RATES = (0.1, 0.1, 0.05)


class Weights(nn.Module):
    """A matrix, which decays, and a vector, which does not."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.tensor([[1.0, -2.0]], dtype=torch.float64))
        self.vector = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))


def stepped(settings: OptimizerSettings) -> tuple[list[float], list[float]]:
    model = Weights()
    optimizer = make(model, settings, peak=0.1)
    for rate, gradient in zip(RATES, GRADIENTS, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for parameter in model.parameters():
            parameter.grad = torch.tensor(gradient, dtype=torch.float64).reshape(parameter.shape)
        optimizer.step()
    return model.matrix.detach().flatten().tolist(), model.vector.detach().tolist()


def lion(decay: float) -> list[float]:
    weights, moments = [1.0, -2.0], [0.0, 0.0]
    for rate, gradient in zip(RATES, GRADIENTS, strict=True):
        for at, slope in enumerate(gradient):
            update = 0.9 * moments[at] + 0.1 * slope
            weights[at] *= 1 - decay * rate / 0.1
            weights[at] -= rate * (math.copysign(1, update) if update else 0)
            moments[at] = 0.95 * moments[at] + 0.05 * slope
    return weights


def stable_adamw(decay: float, first: float = 0.9, second: float = 0.98, eps: float = 1e-6) -> list[float]:
    """With the plain moments of Adam, debiased after the fact: the same numbers another way."""
    weights, mean, square = [1.0, -2.0], [0.0, 0.0], [0.0, 0.0]
    for step, (rate, gradient) in enumerate(zip(RATES, GRADIENTS, strict=True), 1):
        mean = [first * m + (1 - first) * g for m, g in zip(mean, gradient, strict=True)]
        square = [second * v + (1 - second) * g * g for v, g in zip(square, gradient, strict=True)]
        hats = [v / (1 - second**step) for v in square]
        lag = math.sqrt(sum(g * g / max(v, eps**2) for g, v in zip(gradient, hats, strict=True)) / 2)
        own = rate / max(1, lag)
        for at in range(2):
            weights[at] *= 1 - decay * own / 0.1
            weights[at] -= own * mean[at] / (1 - first**step) / (math.sqrt(hats[at]) + eps)
    return weights


def test_lion_is_its_formula() -> None:
    matrix, vector = stepped(OptimizerSettings("lionw", betas=(0.9, 0.95), weight_decay=0.01))
    assert matrix == pytest.approx(lion(0.01), abs=1e-12)
    assert vector == pytest.approx(lion(0.0), abs=1e-12)


def test_stable_adamw_is_its_formula() -> None:
    matrix, vector = stepped(OptimizerSettings("stable_adamw", weight_decay=0.01))
    assert matrix == pytest.approx(stable_adamw(0.01), abs=1e-12)
    assert vector == pytest.approx(stable_adamw(0.0), abs=1e-12)
    assert vector != pytest.approx(stable_adamw(0.01), abs=1e-4)
