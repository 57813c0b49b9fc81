"""What the codecs share: verdicts, and the rules by which two codes become one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from udfs.errors import CuveeError
from udfs.labels.taxonomies.taxonomy import ABSTAIN, DECIMAL_CODE, Category


class CodecError(CuveeError):
    """A verdict or a taxonomy that a codec cannot write."""


class Pair(NamedTuple):
    """A category's codes. The secondary is None where there is none; it never equals the primary."""

    primary: str
    secondary: str | None


#: A document's labels by category.
Verdict = Mapping[str, Pair]


@dataclass(frozen=True, slots=True)
class Decoded:
    """What was read of an answer: the categories in form, and why each of the others is not.

    ``note`` is what is wrong with the answer as a whole, although the labels could be read.
    """

    verdict: dict[str, Pair]
    problems: dict[str, str] = field(default_factory=dict)
    note: str | None = None

    @property
    def status(self) -> str:
        """``ok``, ``partial`` if something is wrong, ``unparsed`` if nothing could be read."""
        if not self.verdict:
            return "unparsed"
        return "partial" if self.problems or self.note else "ok"

    @classmethod
    def together(cls, parts: Sequence[Decoded]) -> Decoded:
        """The answers of several passes as one."""
        if len(parts) == 1:
            return parts[0]
        verdict: dict[str, Pair] = {}
        problems: dict[str, str] = {}
        for part in parts:
            verdict |= part.verdict
            problems |= part.problems
        return cls(verdict, problems, "; ".join(part.note for part in parts if part.note) or None)


def judge(category: Category, first: str, second: str | None) -> Pair | str:
    """The pair that two codes make, or what is wrong with them. ``second`` is None where there is no secondary.

    A secondary that repeats the primary, or abstains, is none. FDC codes that no rule allows (``641.563.2``, ``92``)
    are refused and not repaired: which of their digits are right nobody knows, and the raw answer is kept.
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


def checked(category: Category, verdict: Verdict) -> Pair:
    """A category's pair in a verdict that is to be written. Raises CodecError."""
    pair = verdict.get(category.name)
    if pair is None or pair.primary is None:
        raise CodecError(f"no label for {category.name}", hint=f"write {ABSTAIN} for an abstention")
    judged = judge(category, *pair)
    if isinstance(judged, str):
        raise CodecError(f"{category.name}: {judged}")
    if judged != pair:
        raise CodecError(f"{category.name}: the secondary label {pair.secondary!r} is none", hint="write NULL")
    return judged


def codes_pattern(category: Category) -> str:
    """A regular expression for the codes that a labeler may give; not for an abstention."""
    if category.decimal:
        return DECIMAL_CODE
    return "(?:" + "|".join(literal(label.code) for label in category.choices) + ")"


def literal(text: str) -> str:
    """A regular expression for this text only. ``re.escape`` also escapes spaces, which some grammars refuse."""
    return re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", text)
