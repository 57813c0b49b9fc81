"""The definition of a mixture, in fractions: a second implementation to compare with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import jinja2

from tests.sql import plain_jinja

Row = tuple[str, str, int, int]
FILES = ("mixture.sql", "mixture_overlap.sql", "held_out.sql")
NAMES = ["code", "web", "prose", "maths"]


class Exceptions:
    """What dbt offers to templates."""

    @staticmethod
    def raise_compiler_error(message: str) -> None:
        raise jinja2.TemplateRuntimeError(message)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    environment.globals["exceptions"] = Exceptions
    return environment


def render(call: str, **values: Any) -> str:
    """Return a macro call as SQL, by plain Jinja: what dbt renders too."""
    return plain_jinja.render(FILES, call, _environment(), **values)


@dataclass(frozen=True)
class Asked:
    shares: dict[str, Fraction]
    tokens: int
    seed: int
    max_epochs: dict[str, Fraction]
    shortfall: str

    def sql(self, pool: str = "pool") -> str:
        return render(
            "{{ mixture(pool, shares, tokens, seed, max_epochs, shortfall) }}",
            pool=pool,
            shares={name: float(share) for name, share in self.shares.items()},
            tokens=self.tokens,
            seed=self.seed,
            max_epochs={name: float(epochs) for name, epochs in self.max_epochs.items()},
            shortfall=self.shortfall,
        )


class ShortError(Exception):
    pass


def order(seed: int, document: str) -> tuple[str, str]:
    return hashlib.md5(f"{seed}:{document}".encode()).hexdigest(), document


def reference(pool: list[tuple[str, str, int]], asked: Asked, *, forgiving: bool = False) -> list[Row]:
    """Follow the definition step by step: pour again until no other component reaches its cap.

    ``forgiving``: when all are at their caps, the rest is dropped.
    """
    available = {name: sum(row[2] for row in pool if row[1] == name) for name in asked.shares}
    caps = {name: asked.max_epochs[name] * available[name] for name in asked.shares}
    open_names = {name for name, share in asked.shares.items() if share}
    targets = {name: Fraction(0) for name in asked.shares}
    rest = Fraction(asked.tokens)
    while True:
        weight = sum(asked.shares[name] for name in open_names)
        if not open_names:
            if rest > 0 and not forgiving:
                raise ShortError
            break
        poured = {name: rest * asked.shares[name] / weight for name in open_names}
        short = {name for name in open_names if poured[name] > caps[name]}
        if short and asked.shortfall == "fail":
            raise ShortError
        if not short:
            targets |= poured
            break
        for name in short:
            targets[name] = caps[name]
            rest -= caps[name]
        open_names -= short
    rows: list[Row] = []
    for name, target in targets.items():
        documents = [row for row in pool if row[1] == name]
        documents.sort(key=lambda row: order(asked.seed, row[0]))
        if not available[name]:
            continue
        whole, part = divmod(target, available[name])
        totals = [0]
        for row in documents:
            totals.append(totals[-1] + row[2])
        best = min(totals, key=lambda total: (abs(part - total), total))
        # Several cuts have the same total where documents have no tokens.
        cut = totals.index(best) if best >= part else len(totals) - 1 - totals[::-1].index(best)
        for position, row in enumerate(documents):
            copies = int(whole) + (position < cut)
            if copies:
                rows.append((row[0], name, copies, row[2]))
    return sorted(rows)
