"""The condensed form (Essential-Web, Algorithm 13): one line per category, ``primary,secondary``, in their order.

    513.212,510.71
    2,3
    3,skip

``skip`` means no secondary label. An abstention is ``-1,skip``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from operator import getitem

from udfs.labels.codecs.base import Decoded, checked, codes_pattern
from udfs.labels.taxonomies.pairs import Pair, Verdict, judge
from udfs.labels.taxonomies.taxonomy import ABSTAIN, Category

SKIP = "skip"

#: Lines whose meaning is remembered. Ten categories of eai but FDC have some 1,500 right lines in all.
_REMEMBERED = 65_536


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
    """The condensed form of some categories."""

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
