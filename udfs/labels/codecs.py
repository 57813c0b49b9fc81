"""Codecs: writing labels as text, and reading them from what a model wrote.

    codec = make("condensed", taxonomy.categories)
    codec.decode(codec.encode(verdict)).verdict == verdict

``condensed`` is the form in which the distilled labeler answers, ``verbose`` that of a teacher. Both are strict: what
could mean two things is not a label. They are also patient: labels are read as those of people are (names, any case),
each category is judged by itself where its place is certain, and what could not be read has a reason.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import getitem
from typing import Protocol

from udfs.errors import LabelerError
from udfs.labels.taxonomies.external_labels import ExternalCategory
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

_LINE = re.compile(r"([^:]+):\s*(primary|secondary) classification\s*:\s*(\S.*)", re.IGNORECASE)

#: What models put around lines: list marks, headings, quotes, bold and code.
_DECORATION = str.maketrans("", "", "*`")
_FENCE = "```"

#: A line that is a pair, though perhaps not one of its category: two words, of which the first has a digit or is none.
_PAIR_LIKE = re.compile(r"(?:[^\s,]*\d[^\s,]*|skip|none|)\s*,\s*(?:[^\s,]+(?:,[^\s,]+)*)?", re.IGNORECASE)


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
        verdict = {name: pair for part in parts for name, pair in part.verdict.items()}
        problems = {name: said for part in parts for name, said in part.problems.items()}
        return cls(verdict, problems, "; ".join(part.note for part in parts if part.note) or None)


def checked(category: Category, verdict: Verdict) -> Pair:
    """Return a category's pair in a verdict that is to be written. Raises CodecError."""
    pair = verdict.get(category.name)
    if pair is None or pair.primary is None:
        raise CodecError(f"no label for {category.name}", hint=f"write {ABSTAIN} for an abstention")
    judged = judge(category, *pair)
    if isinstance(judged, str):
        raise CodecError(f"{category.name}: {judged}")
    if judged == pair:
        return judged
    raise CodecError(f"{category.name}: the secondary label {pair.secondary!r} is not valid", hint="write NULL")


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
        """The codec's name, and the version of what it asks for. Stored labels stay when only the reading changes."""

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
        not believed, because ``1`` may have been going to be ``17``. What could mean two things is not a label.
        """


class _Unreadable(Exception):
    """A line without a meaning; its argument is the reason."""


class _Lines(dict[str, Pair]):
    """What the lines of a category mean; judged when they are first asked for. Raises _Unreadable."""

    def __init__(self, category: Category) -> None:
        self._category = category
        self._external = ExternalCategory(category)

    def __missing__(self, line: str) -> Pair:
        first, comma, second = map(str.strip, _plain_line(line).partition(","))
        if not comma:
            raise _Unreadable(f"no comma in {line[:40]!r}" if line else "cut off")
        pair = self._external.pair(first, second)
        if isinstance(pair, str):
            raise _Unreadable(pair)
        if len(self) >= _REMEMBERED:
            self.clear()
        self[line] = pair
        return pair

    def holds(self, line: str) -> bool:
        """Return whether a line has a meaning here."""
        try:
            return bool(self[line])
        except _Unreadable:
            return False

    def keeps_place(self, line: str) -> bool:
        """Return whether a line without a meaning is a line of the answer all the same, and no prose around it."""
        plain = _plain_line(line)
        return bool(_PAIR_LIKE.fullmatch(plain)) or self._category.accepts(plain)


def _plain_line(line: str) -> str:
    """Return a line without bold, code and the mark of a list."""
    return line.translate(_DECORATION).strip().removeprefix("- ").strip()


def _unfenced(lines: list[str]) -> list[str]:
    """Return the lines of the one fenced block, if there is one; else all."""
    fences = [index for index, line in enumerate(lines) if line.startswith(_FENCE)]
    if len(fences) == 2 and lines[fences[1]] == _FENCE:
        outside = lines[: fences[0]] + lines[fences[1] + 1 :]
        return lines[fences[0] + 1 : fences[1]] if not any("," in line for line in outside) else lines
    return lines[1:] if fences == [0] else lines


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
        """Judge line by line; blank lines and a fence around all do not count. See ``Codec.decode``.

        A line's category is its place, so a label is believed only where no line can be missing or too many before it:

        - with as many lines as categories, each is judged by itself, unless one is prose or the answer could as well be
          one that is shifted from there on;
        - with more lines, the first ones are believed if all of them are well-formed and no others in a row are;
        - with fewer lines none is believed, nor of an answer that was cut off before the last line ended.
        """
        lines = _unfenced([line for line in map(str.strip, text.split("\n")) if line])
        cut = not complete and bool(lines) and not text.endswith("\n")
        if cut:
            lines.pop()
        count, n = len(lines), len(self._names)
        extra = count + cut - n
        if extra > 0:
            note = f"{extra} more {'line' if extra == 1 else 'lines'} than categories"
            places = [start for start in range(count - n + 1) if self._fits(lines[start : start + n])]
            if places != [0] or (cut and self._fits(lines[count - n + 1 :])):
                return self._nothing(note)
            return Decoded(self._read(lines[:n]), {}, note)
        if count < n:
            said = f"{count} {'line' if count == 1 else 'lines'} for {n} categories"
            return self._nothing(f"cut off: {said}" if not complete else said)
        return self._by_place(lines)

    def _by_place(self, lines: Sequence[str]) -> Decoded:
        """Judge as many lines as there are categories, each by itself if its place is certain."""
        verdict: dict[str, Pair] = {}
        problems: dict[str, str] = {}
        wrong = []
        for index, (name, line) in enumerate(zip(self._names, lines, strict=True)):
            try:
                verdict[name] = self._lines[index][line]
            except _Unreadable as reason:
                problems[name] = str(reason)
                wrong.append(index)
        if any(not self._lines[index].keeps_place(lines[index]) for index in wrong):
            return self._nothing("not only lines of labels", problems)
        for index in wrong:
            before, behind = lines[index:-1], lines[index + 1 :]
            # A line is missing there, or this one is too many: then those behind it belong elsewhere.
            if (before and self._fits(before, index + 1)) or (behind and self._fits(behind, index)):
                return self._nothing("a line may be missing", problems)
        return Decoded(verdict, problems)

    def _fits(self, lines: Sequence[str], start: int = 0) -> bool:
        """Return whether lines are well-formed in the places from ``start`` on."""
        return all(known.holds(line) for known, line in zip(self._lines[start:], lines, strict=False))

    def _read(self, lines: Sequence[str]) -> dict[str, Pair]:
        return {name: known[line] for name, known, line in zip(self._names, self._lines, lines, strict=False)}

    def _nothing(self, note: str, problems: dict[str, str] | None = None) -> Decoded:
        return Decoded({}, {name: (problems or {}).get(name, note) for name in self._names}, note)

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
    is for readers. The answer is the last block of lines below ``Final labels``, complete, with nothing after it: an
    analysis may quote the document, and the document may contain such a block.
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
        self._external = {category.name: ExternalCategory(category) for category in categories}

    def encode(self, verdict: Verdict) -> str:
        """Write the final lines, without an analysis. Raises CodecError for a verdict that is not valid."""
        lines = [FINAL]
        for category in self.categories:
            pair = checked(category, verdict)
            for rank, code in (("Primary", pair.primary), ("Secondary", pair.secondary or ABSTAIN)):
                lines.append(f"{_plain(category.heading)}: {rank} Classification: {code} - {_name(category, code)}")
        return "\n".join(lines)

    def decode(self, text: str, *, complete: bool = True) -> Decoded:
        """Read the lines after the last ``Final labels``. Of an answer that was cut off nothing is believed."""
        lines = [line.translate(_DECORATION).strip().lstrip("-#> ").strip() for line in text.split("\n")]
        lines = [line for line in lines if line]
        start = max((index for index, line in enumerate(lines) if line.casefold() == FINAL.casefold()), default=None)
        if start is None:
            return self._nothing(f"no line {FINAL!r}")
        if not complete:
            return self._nothing("cut off")
        found: dict[str, Pair | str] = {}
        block = lines[start + 1 :]
        if len(block) != 2 * len(self.categories):
            return self._nothing(f"not two lines for each category below {FINAL!r}")
        for first, second in zip(block[::2], block[1::2], strict=True):
            primary, secondary = self._line(first), self._line(second)
            if primary is None or secondary is None:
                return self._nothing(f"not only lines of labels below {FINAL!r}")
            category, rank, code = primary
            if secondary[0] is not category or (rank, secondary[1]) != ("primary", "secondary"):
                return self._nothing(f"a primary line without its secondary one below {FINAL!r}")
            if category.name in found:
                return self._nothing(f"{category.name} twice below {FINAL!r}")
            found[category.name] = self._external[category.name].pair(code, secondary[2])
        verdict = {name: pair for name, pair in found.items() if isinstance(pair, Pair)}
        problems = {name: reason for name, reason in found.items() if isinstance(reason, str)}
        return Decoded({each.name: verdict[each.name] for each in self.categories if each.name in verdict}, problems)

    def _line(self, line: str) -> tuple[Category, str, str] | None:
        """Return what a final line says: its category, the rank and the code."""
        matched = _LINE.fullmatch(line)
        category = self._by_heading.get(matched[1].strip().casefold()) if matched else None
        if matched is None or category is None:
            return None
        code = matched[3].split(None, 1)[0]
        if not category.accepts(code) and code != ABSTAIN:
            code = matched[3].partition(" - ")[0].strip()  # a name may have several words
        return category, matched[2].casefold(), code

    def _nothing(self, reason: str) -> Decoded:
        return Decoded({}, {category.name: reason for category in self.categories})

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
