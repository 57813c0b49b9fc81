"""Codecs: writing labels as text, and reading them from what a model wrote.

    codec = make("condensed", taxonomy.categories)
    codec.decode(codec.encode(verdict)).verdict == verdict

``condensed`` is the form in which the distilled labeler answers, ``verbose`` that of a teacher. Both are strict: what
is not well-formed is not a label. They are also patient: each category is judged by itself, and what could not be read
has a reason.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import getitem
from typing import Protocol

from udfs.errors import LabelerError
from udfs.labels.taxonomies.taxonomy import ABSTAIN, DECIMAL_CODE, Category, Pair, Verdict, judge

SKIP = "skip"

#: Lines whose meaning is remembered. Ten categories of eai but FDC have some 1,500 right lines in all.
_REMEMBERED = 65_536

FINAL = "Final labels"
_NAMELESS = "unnamed"
_ABSTAIN_NAME = "Abstain"

#: Characters of a class's name in the regular expression, and lines and characters per line of an analysis.
_NAME_LENGTH = 120
_ANALYSIS = (200, 2000)

_LINE = re.compile(r"([^:]+):\s*(primary|secondary) classification\s*:\s*(\S+)(?:\s.*)?", re.IGNORECASE)

#: What models put around lines: list marks, headings, quotes, bold and code.
_DECORATION = str.maketrans("", "", "*`")


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


class Codec(Protocol):
    """A way of writing the labels of some categories."""

    categories: tuple[Category, ...]

    @property
    def identity(self) -> tuple[str, int]:
        """The codec's name, and its version: raised when the same text is read differently."""

    @property
    def pattern(self) -> str:
        """A regular expression for whole answers, for engines that keep a model to a form.

        Every text that it matches as a whole is decoded with status ``ok``, and it matches whatever ``encode`` gives.
        It uses only groups ``(?:…)``, alternatives, character classes and counted repetition.
        """

    def encode(self, verdict: Verdict) -> str:
        """Write a verdict on all categories as text. Raises CodecError for a verdict that is not valid."""

    def decode(self, text: str, *, complete: bool = True) -> Decoded:
        """Read the labels in a text. Never raises.

        ``complete`` is false for an answer that was cut off at its length limit: then a last line without an end is
        not believed, because ``1`` may have been going to be ``17``.
        """


class _Unreadable(Exception):
    """A line without a meaning; its argument is the reason."""


class _Lines(dict[str, Pair]):
    """What the lines of a category mean; judged when they are first asked for. Raises _Unreadable."""

    def __init__(self, category: Category) -> None:
        self._category = category

    def __missing__(self, line: str) -> Pair:
        first, comma, second = map(str.strip, line.partition(","))
        if not comma:
            raise _Unreadable(f"no comma in {line[:40]!r}" if line else "cut off")
        pair = judge(self._category, first, None if second in (SKIP, "") else second)
        if isinstance(pair, str):
            raise _Unreadable(pair)
        if len(self) >= _REMEMBERED:
            self.clear()
        self[line] = pair
        return pair


class Condensed:
    """The condensed form (Essential-Web, Algorithm 13): one line per category, ``primary,secondary``, in their order.

        513.212,510.71
        2,3
        3,skip

    ``skip`` means no secondary label. An abstention is ``-1,skip``.
    """

    identity = ("condensed", 1)

    def __init__(self, categories: Sequence[Category]) -> None:
        self.categories = tuple(categories)
        self._names = tuple(category.name for category in categories)
        self._lines = tuple(_Lines(category) for category in self.categories)

    def encode(self, verdict: Verdict) -> str:
        """Write one line per category, no newline at the end. Raises CodecError for a verdict that is not valid."""
        pairs = [checked(category, verdict) for category in self.categories]
        return "\n".join(f"{pair.primary},{pair.secondary or SKIP}" for pair in pairs)

    def pairs(self, text: str) -> list[Pair] | None:
        """Read a complete answer in which nothing is wrong, category by category. Returns None for any other.

        Most answers are like that, and this takes a quarter of the time that ``decode`` takes.
        """
        lines = text.split("\n")
        if len(lines) != len(self._lines):
            return None
        try:
            return list(map(getitem, self._lines, lines))
        except _Unreadable:
            return None

    def decode(self, text: str, *, complete: bool = True) -> Decoded:
        """Judge line by line; blank lines do not count. See ``Codec.decode``.

        A line's category is its place. So with more lines than categories, the first ones are believed only if all of
        them are well-formed: an introduction of one line would otherwise shift every label into the category before.
        """
        lines = [line for line in map(str.strip, text.split("\n")) if line]
        if not complete and lines and not text.endswith("\n"):
            lines[-1] = ""
        verdict: dict[str, Pair] = {}
        problems: dict[str, str] = {}
        for index, (name, line) in enumerate(zip(self._names, lines, strict=False)):
            try:
                verdict[name] = self._lines[index][line]
            except _Unreadable as reason:
                problems[name] = str(reason)
        extra = len(lines) - len(self._names)
        if extra > 0:
            note = f"{extra} more {'line' if extra == 1 else 'lines'} than categories"
            if problems:
                return Decoded({}, {name: problems.get(name, note) for name in self._names}, note)
            return Decoded(verdict, problems, note)
        for name in self._names[len(lines) :]:
            problems[name] = "no line"
        return Decoded(verdict, problems)

    @cached_property
    def pattern(self) -> str:
        """See ``Codec.pattern``."""
        return "\\n".join(_line(category) for category in self.categories)


def _line(category: Category) -> str:
    codes = codes_pattern(category)
    line = f"{codes},(?:{SKIP}|{codes})"
    return f"(?:{line}|{ABSTAIN},{SKIP})" if category.abstains else line


class Verbose:
    """The verbose form, for a teacher that thinks before it answers: an analysis in any words, then the final lines.

        … what the document is about, and which labels come near …
        Final labels
        Document Type V2: Primary Classification: 23 - Tutorial
        Document Type V2: Secondary Classification: -1 - Abstain

    Two lines per category, one after the other; ``-1`` as secondary means none. Only the code counts, what follows it
    is for readers. Nothing above the last line ``Final labels`` is an answer: an analysis may quote the document, and
    the document may contain lines that look like one.
    """

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
        lines = [line.translate(_DECORATION).strip().lstrip("-#> ").strip() for line in text.split("\n")]
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
        return Decoded({each.name: verdict[each.name] for each in self.categories if each.name in verdict}, problems)

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


CODECS: dict[str, type[Condensed] | type[Verbose]] = {"condensed": Condensed, "verbose": Verbose}


def make(name: str, categories: Sequence[Category]) -> Codec:
    """Make the codec of this name for some categories. Raises CodecError if it cannot write them."""
    return CODECS[name](categories)
