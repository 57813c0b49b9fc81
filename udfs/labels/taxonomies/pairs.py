"""Pairs of codes, primary and secondary, and the rules by which two codes become one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from udfs.labels.taxonomies.taxonomy import ABSTAIN, Category


class Pair(NamedTuple):
    """A category's codes. The secondary is None where there is none; it never equals the primary."""

    primary: str
    secondary: str | None


#: A document's labels by category.
Verdict = Mapping[str, Pair]


def judge(category: Category, first: str, second: str | None) -> Pair | str:
    """Return the pair that two codes make, or what is wrong with them. ``second`` is None without a secondary.

    A secondary that repeats the primary, or abstains, is none. FDC codes that no rule allows (``641.563.2``, ``92``)
    are refused and not repaired: which of their digits are right is unknown, and the raw answer is kept.
    """
    if first == ABSTAIN:
        if not category.abstains:
            return f"{category.name} does not abstain"
        return Pair(ABSTAIN, None) if second in (None, ABSTAIN) else "abstains and has a secondary label"
    for code in (first, second):
        if code is not None and not category.accepts(code) and not (code == ABSTAIN and code is second):
            shown = code if len(code) <= 40 else f"{code[:40]}…"
            return f"{shown!r} is no FDC code" if category.decimal else f"{shown!r} is no code of {category.name}"
    return Pair(first, None if second in (first, ABSTAIN) else second)
