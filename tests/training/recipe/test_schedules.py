"""Schedules against their formulas, worked out here in exact or decimal arithmetic, at 1,000 points."""

from __future__ import annotations

from decimal import Decimal, getcontext
from fractions import Fraction

import pytest

from training.recipe import schedules
from training.recipe.durations import Clock, Duration, parse_duration
from training.recipe.settings import Anneal, Piece, Trunk
from udfs.errors import UsageError

POINTS = 1000
TOTAL = 1_234_567
CLOCK = Clock(TOTAL, batch_tokens=1000, sequence_length=100)
getcontext().prec = 40


def points() -> list[int]:
    return [TOTAL * step // (POINTS - 1) for step in range(POINTS)]


def test_warmup_then_constant() -> None:
    schedule = schedules.of_trunk(Trunk("m", TOTAL, 1e-3, warmup=Duration(300_000)), CLOCK)
    for tokens in points():
        expected = min(Fraction(1), Fraction(tokens, 300_000))
        assert schedule(tokens) == pytest.approx(float(expected), abs=1e-12)


def test_without_warmup_the_first_batch_has_the_full_rate() -> None:
    assert schedules.of_trunk(Trunk("m", TOTAL, 1e-3), CLOCK)(0) == 1.0


@pytest.mark.parametrize(("start", "floor"), [("1", "0"), ("1", "0.1"), ("0.5", "0.04"), ("0.37", "0")])
def test_linear(start: str, floor: str) -> None:
    schedule = schedules.of_anneal(Anneal(TOTAL, "linear", float(floor)), float(start), CLOCK)
    for tokens in points():
        part = Fraction(tokens, TOTAL)
        expected = Fraction(start) * (1 - part + part * Fraction(floor))
        assert schedule(tokens) == pytest.approx(float(expected), abs=1e-12)
    assert schedule(TOTAL * 2) == schedule(TOTAL)


@pytest.mark.parametrize(("start", "floor"), [("1", "0"), ("1", "0.5"), ("0.5", "0.04")])
def test_one_minus_sqrt(start: str, floor: str) -> None:
    schedule = schedules.of_anneal(Anneal(TOTAL, "one_minus_sqrt", float(floor)), float(start), CLOCK)
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


def cosine(angle: Decimal) -> Decimal:
    """The Taylor series, to 40 digits."""
    term, total, power = Decimal(1), Decimal(1), 0
    while abs(term) > Decimal(10) ** -38:
        power += 2
        term *= -angle * angle / (power * (power - 1))
        total += term
    return total


PI = Decimal("3.14159265358979323846264338327950288419716939937511")


@pytest.mark.parametrize(("warmup", "decay", "floor"), [(30_000, 200_000, "0.02"), (0, 400_000, "0"), (50_000, 0, "0")])
def test_warmup_stable_decay(warmup: int, decay: int, floor: str) -> None:
    trunk = Trunk(
        "m",
        TOTAL,
        1e-3,
        Duration(warmup),
        "warmup_stable_decay",
        decay=Duration(decay),
        final_fraction=float(floor),
    )
    schedule = schedules.of_trunk(trunk, CLOCK)
    start = Fraction(1, 10**10)
    for tokens in points():
        if tokens < warmup:
            expected = start + (1 - start) * Fraction(tokens, warmup)
        elif tokens < TOTAL - decay or decay == 0:
            expected = Fraction(1)
        else:
            expected = 1 - Fraction(tokens - (TOTAL - decay), decay) * (1 - Fraction(floor))
        assert schedule(tokens) == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize(
    ("warmup", "scale", "cooldown", "decay_floor", "floor"),
    [(20_000, 5_000, 100_000, "0.1", "0.01"), (20_000, None, 0, "0", "0"), (0, 7_000, 300_000, "0", "0")],
)
def test_inverse_sqrt_with_cooldown(
    warmup: int, scale: int | None, cooldown: int, decay_floor: str, floor: str
) -> None:
    trunk = Trunk(
        "m",
        TOTAL,
        1e-3,
        Duration(warmup),
        "inverse_sqrt",
        decay=Duration(cooldown),
        scale=None if scale is None else Duration(scale),
        decay_floor=float(decay_floor),
        final_fraction=float(floor),
    )
    schedule = schedules.of_trunk(trunk, CLOCK)
    lowest, unit = Decimal(decay_floor), Decimal(scale or warmup)

    def decayed(tokens: int) -> Decimal:
        return lowest + (1 - lowest) / ((tokens - warmup + unit) / unit).sqrt()

    begin = TOTAL - cooldown
    for tokens in points():
        if tokens < warmup:
            expected = Decimal(tokens) / warmup
        elif tokens < begin or cooldown == 0:
            expected = decayed(tokens)
        else:
            expected = decayed(begin) + (Decimal(floor) - decayed(begin)) * (tokens - begin) / cooldown
        assert schedule(tokens) == pytest.approx(float(expected), abs=1e-12)


def test_piecewise_warmup_cosine_to_a_floor_linear_to_zero() -> None:
    """The published schedule of EAI-Distill: 2 of 82 parts of warmup, cosine to a tenth, linear to 0 in the last 2."""
    pieces = (Piece(1.0, Duration(30_000)), Piece(0.1, shape="cosine"), Piece(0.0, Duration(30_000)))
    schedule = schedules.of_trunk(Trunk("m", TOTAL, 1e-4, schedule="piecewise", pieces=pieces), CLOCK)
    middle = TOTAL - 60_000
    for tokens in points():
        if tokens < 30_000:
            expected = Decimal(tokens) / 30_000
        elif tokens < TOTAL - 30_000:
            angle = PI * (tokens - 30_000) / middle
            expected = Decimal("0.1") + Decimal("0.9") * (1 + cosine(angle)) / 2
        else:
            expected = Decimal("0.1") * (TOTAL - tokens) / 30_000
        assert schedule(tokens) == pytest.approx(float(expected), abs=1e-12)
    assert schedule(TOTAL + 1) == pytest.approx(0.0, abs=1e-12)


def test_an_anneal_scales_every_shape_to_where_it_starts() -> None:
    settings = Anneal(TOTAL, "warmup_stable_decay", 0.02, warmup=Duration(1000), decay=Duration(5000))
    schedule = schedules.of_anneal(settings, 0.5, CLOCK)
    assert (schedule(0), schedule(1000), schedule(TOTAL)) == pytest.approx((0.5e-10, 0.5, 0.01), abs=1e-12)
    down = schedules.of_anneal(Anneal(TOTAL, "piecewise", pieces=(Piece(0.0),)), 0.37, CLOCK)
    for tokens in points():
        assert down(tokens) == pytest.approx(float(Fraction(37, 100) * (1 - Fraction(tokens, TOTAL))), abs=1e-12)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("3B", 3e9),
        ("20ktok", 20_000),
        ("500sp", 50_000),
        ("100ba", 100_000),
        ("10%", TOTAL / 10),
        ("0.5dur", TOTAL / 2),
    ],
)
def test_durations(text: str, tokens: float) -> None:
    assert parse_duration(text).tokens(CLOCK) == pytest.approx(tokens)


@pytest.mark.parametrize("text", ["", "ba", "-5", "1.5dur", "120%", "2 weeks", "0.5", "nan", "inf", "nan%", "1e999ba"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises((ValueError, OverflowError)):
        parse_duration(text)


def test_above_the_trunks_rate_needs_a_flag() -> None:
    assert schedules.entry_rate(Anneal(TOTAL), 3e-4) == 3e-4
    assert schedules.entry_rate(Anneal(TOTAL, learning_rate=1e-4), 3e-4) == 1e-4
    with pytest.raises(UsageError, match=r"0\.001 is above the trunk's current rate, 0\.0003") as caught:
        schedules.entry_rate(Anneal(TOTAL, learning_rate=1e-3), 3e-4)
    assert "anneal.above_trunk=true" in str(caught.value.hint)
    assert schedules.entry_rate(Anneal(TOTAL, learning_rate=1e-3, above_trunk=True), 3e-4) == 1e-3
    with pytest.raises(UsageError, match="nothing to decay from"):
        schedules.entry_rate(Anneal(TOTAL), 0.0)


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="warmup and decay take"):
        schedules.of_trunk(
            Trunk("m", TOTAL, 1e-3, Duration(0.6, "dur"), "warmup_stable_decay", decay=Duration(0.5, "dur")), CLOCK
        )
    with pytest.raises(UsageError, match="pieces take"):
        schedules.of_trunk(
            Trunk("m", TOTAL, 1e-3, schedule="piecewise", pieces=(Piece(1.0, Duration(2 * TOTAL)),)), CLOCK
        )


def test_step_k_has_the_schedules_value_at_k_batches() -> None:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    bound = schedules.scheduler(optimizer, schedules.Linear(1000), batch_tokens=100)
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        bound.step()
    assert rates == pytest.approx([0.1 * (1 - step / 10) for step in range(10)], abs=1e-12)
