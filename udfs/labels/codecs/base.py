"""Functions that all codecs share, and the result of reading an answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from udfs.errors import LabelerError
from udfs.labels.taxonomies.pairs import Pair, Verdict, judge
from udfs.labels.taxonomies.taxonomy import ABSTAIN, DECIMAL_CODE, Category


class CodecError(LabelerError):
    """A verdict or a taxonomy that a codec cannot write."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The result of reading an answer: the categories that are well-formed, and why each of the others is not.

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
        """Join the answers of several passes."""
        if len(parts) == 1:
            return parts[0]
        verdict: dict[str, Pair] = {}
        problems: dict[str, str] = {}
        for part in parts:
            verdict |= part.verdict
            problems |= part.problems
        return cls(verdict, problems, "; ".join(part.note for part in parts if part.note) or None)


def checked(category: Category, verdict: Verdict) -> Pair:
    """Return a category's pair in a verdict that is to be written. Raises CodecError."""
    pair = verdict.get(category.name)
    if pair is None or pair.primary is None:
        raise CodecError(f"no label for {category.name}", hint=f"write {ABSTAIN} for an abstention")
    judged = judge(category, *pair)
    if isinstance(judged, str):
        raise CodecError(f"{category.name}: {judged}")
    if judged != pair:
        raise CodecError(f"{category.name}: the secondary label {pair.secondary!r} is not valid", hint="write NULL")
    return judged


def codes_pattern(category: Category) -> str:
    """Return a regular expression for the codes that a labeler may give; not for an abstention."""
    if category.decimal:
        return DECIMAL_CODE
    return "(?:" + "|".join(literal(label.code) for label in category.choices) + ")"


def literal(text: str) -> str:
    """Escape a text for a regular expression. ``re.escape`` also escapes spaces, which some grammars refuse."""
    return re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", text)
