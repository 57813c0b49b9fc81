"""Schedules against their formulas, worked out here in exact or decimal arithmetic, at 1,000 points."""

from __future__ import annotations

from decimal import Decimal, getcontext
from fractions import Fraction

import pytest

from training import schedules
from training.recipe import Anneal, Trunk

POINTS = 1000
TOTAL = 1_234_567
getcontext().prec = 40


def points() -> list[int]:
    return [TOTAL * step // (POINTS - 1) for step in range(POINTS)]


def test_warmup_then_constant() -> None:
    schedule = schedules.of_trunk(Trunk("m", TOTAL, 1e-3, warmup=300_000))
    for tokens in points():
        expected = min(Fraction(1), Fraction(tokens, 300_000))
        assert schedule(tokens) == pytest.approx(float(expected), abs=1e-12)


def test_without_warmup_the_first_batch_has_the_full_rate() -> None:
    assert schedules.of_trunk(Trunk("m", TOTAL, 1e-3))(0) == 1.0


@pytest.mark.parametrize(("start", "floor"), [("1", "0"), ("1", "0.1"), ("0.5", "0.04"), ("0.37", "0")])
def test_linear(start: str, floor: str) -> None:
    schedule = schedules.of_anneal(Anneal(TOTAL, "linear", float(floor)), float(start), TOTAL)
    for tokens in points():
        part = Fraction(tokens, TOTAL)
        expected = Fraction(start) * (1 - part + part * Fraction(floor))
        assert schedule(tokens) == pytest.approx(float(expected), abs=1e-12)
    assert schedule(TOTAL * 2) == schedule(TOTAL)


@pytest.mark.parametrize(("start", "floor"), [("1", "0"), ("1", "0.5"), ("0.5", "0.04")])
def test_one_minus_sqrt(start: str, floor: str) -> None:
    schedule = schedules.of_anneal(Anneal(TOTAL, "one_minus_sqrt", float(floor)), float(start), TOTAL)
    for tokens in points():
        root = (Decimal(tokens) / Decimal(TOTAL)).sqrt()
        expected = Decimal(start) * (Decimal(floor) + (1 - Decimal(floor)) * (1 - root))
        assert schedule(tokens) == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize(
    ("floor", "part", "expected"),
    [
        (0.5, 0.01, 0.950),
        (0.5, 0.1, 0.842),
        (0.5, 0.5, 0.646),
        (0.04, 0.01, 0.904),
        (0.04, 0.1, 0.696),
        (0.04, 0.5, 0.321),
    ],
)  # Ettin's mid-training and decay phases
def test_one_minus_sqrt_gives_ettins_multipliers(floor: float, part: float, expected: float) -> None:
    schedule = schedules.OneMinusSqrt(1_000_000, floor=floor)
    assert schedule(int(part * 1_000_000)) == pytest.approx(expected, abs=6e-4)


def test_step_k_has_the_schedules_value_at_k_batches() -> None:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.2)
    bound = schedules.scheduler(optimizer, schedules.Linear(1000, start=0.5), batch_tokens=100)
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        bound.step()
    assert rates == pytest.approx([0.1 * (1 - step / 10) for step in range(10)], abs=1e-12)
