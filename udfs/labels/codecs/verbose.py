"""The verbose form, for a teacher that thinks before it answers: an analysis in any words, then the final lines.

    … what the document is about, and which labels come near …
    Final labels
    Document Type V2: Primary Classification: 23 - Tutorial
    Document Type V2: Secondary Classification: -1 - Abstain

Two lines per category, one after the other; ``-1`` as secondary means none. Only the code counts, what follows it is
for readers. Nothing above the last line ``Final labels`` is an answer: an analysis may quote the document, and the
document may contain lines that look like one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property

from udfs.labels.codecs.base import CodecError, Decoded, checked, codes_pattern, literal
from udfs.labels.taxonomies.pairs import Pair, Verdict, judge
from udfs.labels.taxonomies.taxonomy import ABSTAIN, Category

FINAL = "Final labels"
_NAMELESS = "unnamed"
_ABSTAIN_NAME = "Abstain"

#: Characters of a class's name in the regular expression, and lines and characters per line of an analysis.
_NAME_LENGTH = 120
_ANALYSIS = (200, 2000)

_LINE = re.compile(r"([^:]+):\s*(primary|secondary) classification\s*:\s*(\S+)(?:\s.*)?", re.IGNORECASE)

#: What models put around lines: list marks, headings, quotes, bold and code.
_DECORATION = str.maketrans("", "", "*`")


class Verbose:
    """The verbose form of some categories: those that are asked for in one pass."""

    identity = ("verbose", 1)

    def __init__(self, categories: Sequence[Category]) -> None:
        self.categories = tuple(categories)
        self._by_heading: dict[str, Category] = {}
        for category in categories:
            heading = _plain(category.heading)
            if ":" in heading or heading.translate(_DECORATION) != heading or not heading.strip("-#> "):
                raise CodecError(f"{category.heading!r} cannot stand before a colon", hint="give it another title")
            if heading.casefold() in self._by_heading:
                raise CodecError(f"two categories are titled {heading}", hint="give each a title of its own")
            self._by_heading[heading.casefold()] = category

    def encode(self, verdict: Verdict) -> str:
        """Write the final lines, without an analysis. Raises CodecError for a verdict that is not valid."""
        lines = [FINAL]
        for category in self.categories:
            pair = checked(category, verdict)
            for rank, code in (("Primary", pair.primary), ("Secondary", pair.secondary or ABSTAIN)):
                lines.append(f"{_plain(category.heading)}: {rank} Classification: {code} - {_name(category, code)}")
        return "\n".join(lines)

    def decode(self, text: str, *, complete: bool = True) -> Decoded:
        """Read the lines after the last ``Final labels``. Of two answers for one category the later one counts."""
        lines = [_undecorated(line) for line in text.split("\n")]
        if not complete and not text.endswith("\n"):
            lines.pop()
        start = max((index for index, line in enumerate(lines) if line.casefold() == FINAL.casefold()), default=None)
        if start is None:
            return Decoded({}, {category.name: f"no line {FINAL!r}" for category in self.categories})
        found: dict[str, Pair | str] = {}
        primary: tuple[Category, str] | None = None
        for line in filter(None, lines[start + 1 :]):
            matched = _LINE.fullmatch(line)
            category = self._by_heading.get(matched[1].strip().casefold()) if matched else None
            if matched is None or category is None:
                primary = None
            elif matched[2].casefold() == "primary":
                primary = (category, matched[3])
                found[category.name] = "no secondary line after the primary one"
            elif primary is not None and primary[0] is category:
                second = matched[3]
                found[category.name] = judge(category, primary[1], None if second == ABSTAIN else second)
                primary = None
        verdict = {name: pair for name, pair in found.items() if isinstance(pair, Pair)}
        problems = {name: reason for name, reason in found.items() if isinstance(reason, str)}
        for category in self.categories:
            if category.name not in found:
                problems[category.name] = "no final line"
        return Decoded({name: verdict[name] for name in self._names if name in verdict}, problems)

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(category.name for category in self.categories)

    @cached_property
    def pattern(self) -> str:
        """See ``Codec.pattern``. An analysis has at most 200 lines."""
        lines, characters = _ANALYSIS
        analysis = f"(?:[^\\n]{{0,{characters}}}\\n){{0,{lines}}}"
        return analysis + "\\n".join([FINAL, *(_final(category) for category in self.categories)])


def _final(category: Category) -> str:
    heading = literal(_plain(category.heading))
    none = literal(f"{ABSTAIN} - {_ABSTAIN_NAME}")
    if category.decimal:
        codes = f"{codes_pattern(category)} - [^\\n]{{1,{_NAME_LENGTH}}}"
    else:
        codes = "|".join(literal(f"{label.code} - {_name(category, label.code)}") for label in category.choices)
    primary, secondary = f"{heading}: Primary Classification: ", f"{heading}: Secondary Classification: "
    labels = f"{primary}(?:{codes})\\n{secondary}(?:{codes}|{none})"
    return f"(?:{labels}|{primary}{none}\\n{secondary}{none})" if category.abstains else labels


def _name(category: Category, code: str) -> str:
    if code == ABSTAIN:
        return _ABSTAIN_NAME
    path = category.path(code)
    return _plain(path[-1].label if path else "")[:_NAME_LENGTH].strip() or _NAMELESS


def _plain(text: str) -> str:
    return " ".join(text.split())


def _undecorated(line: str) -> str:
    return line.translate(_DECORATION).strip().lstrip("-#> ").strip()
