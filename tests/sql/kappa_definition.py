"""The definition of kappa, label by label: a second implementation to compare with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import permutations, product

Row = tuple[str | None, str | None, str | None, str | None]


def labels(primary: str | None, secondary: str | None) -> frozenset[str]:
    return frozenset(code for code in (primary, secondary) if code and not code.startswith("-"))


def drawn(weights: dict[str, float], size: int, side: int = 0) -> Iterator[tuple[frozenset[str], float]]:
    """Yield the sets of one annotator of a given size, and their chances.

    Where there are too few labels to draw from, the formula leaves the chance of the first as it is and counts the
    set's size: as if no other annotator had the second.
    """
    possible = [label for label, weight in weights.items() if weight > 0]
    lacking = [f"nobody else's {side}.{i}" for i in range(size - len(possible))]
    for order in permutations(possible, size - len(lacking)):
        chance, left = 1.0, 1.0
        for label in order:
            chance *= weights[label] / left
            left -= weights[label]
        yield frozenset([*order, *lacking]), chance


def match(a: frozenset[str], b: frozenset[str], weighted: bool) -> float:
    if not a and not b:
        return 1.0
    return len(a & b) / len(a | b) if weighted else float(bool(a & b))


def by_definition(rows: list[Row], weighted: bool, shared: bool, smoothing: bool) -> tuple[float, float, float]:
    """Observed, expected, kappa."""
    pairs = [(labels(*row[:2]), labels(*row[2:])) for row in rows]
    observed = sum(match(a, b, weighted) for a, b in pairs) / len(pairs)
    sides = [[a for a, _ in pairs], [b for _, b in pairs]]
    known = {label for side in sides for each in side for label in each}
    if shared:
        sides = [sides[0] + sides[1]] * 2
    add = int(smoothing)
    expected = 0.0
    chances: list[list[Counter[frozenset[str]]]] = []
    for number, side in enumerate(sides):
        given_labels = Counter(label for each in side for label in each)
        total = given_labels.total() + add * len(known)
        weights = {label: (given_labels[label] + add) / total for label in known} if total else {}
        sizes = Counter(len(each) for each in side)
        by_size = []
        for size in range(3):
            fertility = (sizes[size] + add) / (len(side) + 3 * add)
            found: Counter[frozenset[str]] = Counter()
            for each, chance in drawn(weights, size, number):
                found[each] += fertility * chance
            by_size.append(found)
        chances.append(by_size)
    for first, second in product(*chances):
        for (a, p), (b, q) in product(first.items(), second.items()):
            expected += p * q * match(a, b, weighted)
    kappa = (observed - expected) / (1 - expected) if 1 - expected > 1e-12 else observed
    return observed, expected, kappa
