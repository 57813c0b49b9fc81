"""What a sweep's table says of the differences between arms, and what a plan says of reading a mixture too often."""

from __future__ import annotations

import pytest

from training.sweep.plan import PlannedComponent
from training.sweep.results import compared


@pytest.mark.parametrize(
    ("differences", "interval", "verdict"),
    [
        ([-0.20, -0.24, -0.22], 0.0497, "gained"),
        ([0.20, 0.24, 0.22], 0.0497, "lost"),
        ([-0.02, 0.02, -0.06], 0.0994, "not told apart"),
        ([-0.2, -0.1], 0.6353, "not told apart"),
        ([-0.2], None, "not told apart"),
        ([], None, None),
    ],
)
def test_a_verdict_follows_from_the_paired_interval(
    differences: list[float], interval: float | None, verdict: str | None
) -> None:
    """The half widths are t(0.975, n - 1) · s / √n, with t from a printed table."""
    _, _, half, said = compared(differences)
    assert said == verdict
    assert half == (None if interval is None else pytest.approx(interval, abs=1e-4))


@pytest.mark.parametrize(
    ("epochs", "allowed", "too_often"), [(1.004, 1, False), (1.02, 1, True), (3.9, 4, False), (7.0, None, False)]
)
def test_a_component_that_is_seen_too_often_is_told(epochs: float, allowed: float | None, too_often: bool) -> None:
    planned = PlannedComponent("control", "code", 0.5, tokens=100, epochs=epochs, max_epochs=allowed)
    assert planned.too_often == too_often
