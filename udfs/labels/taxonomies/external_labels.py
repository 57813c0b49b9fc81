"""Labels from outside, as codes or as names, in whatever way tables write them.

The rules for codes are those for a model's answers (``udfs.labels.taxonomies.pairs.judge``), so labels from outside
mean what those of any labeler mean.
"""

from __future__ import annotations

import re
from functools import cached_property

from udfs.errors import did_you_mean
from udfs.labels.taxonomies.taxonomy import ABSTAIN, Category, Pair, judge

#: Raised when the same table is read differently.
VERSION = 2

#: How tables write that there is no label.
_NOTHING = frozenset({"", "skip", "none", "null", "nan", "n/a"})

#: A whole number that a table of floating-point numbers has made of a code.
_FLOAT = re.compile(r"(-?\d+)\.0+", re.ASCII)

#: What models put around a label, besides white space.
_QUOTES = " \t\"'"

#: Pairs of labels whose meaning is remembered.
_REMEMBERED = 1 << 18


class ExternalCategory:
    """Reads the external labels of one category."""

    def __init__(self, category: Category) -> None:
        self.category = category
        self._known: dict[tuple[str | None, str | None], Pair | str | None] = {}

    def read(self, first: str | None, second: str | None) -> Pair | str | None:
        """Return the codes of two labels, or what is wrong with them, or None without a label. Never raises.

        A label is a code or a name, in any case. Blank, ``skip`` and ``none`` are none; ``-1`` and ``Abstain`` are an
        abstention, which as a second label is none.
        """
        key = first, second
        if key in self._known:
            return self._known[key]
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[key] = self._read(first, second)
        return self._known[key]

    def pair(self, first: str, second: str) -> Pair | str:
        """Return the codes of a line that a model wrote, read in the same way, or what is wrong with it."""
        first = first.strip(_QUOTES)
        primary, secondary = self._code(first) or first, self._code(second.strip(_QUOTES))
        return self._shared_name(primary, secondary) or judge(self.category, primary, secondary)

    def near(self, first: str | None, second: str | None) -> str | None:
        """Return the names nearest to an unknown label. None for FDC, and where both labels are known."""
        if self.category.decimal:
            return None
        for label in (first, second):
            code = self._code(label)
            if code not in (None, ABSTAIN) and not self.category.accepts(code or ""):
                return did_you_mean(code or "", [each.label for each in self.category.choices])
        return None

    def _read(self, first: str | None, second: str | None) -> Pair | str | None:
        primary, secondary = self._code(first), self._code(second)
        if primary is None:
            return None if secondary in (None, ABSTAIN) else "a secondary label without a primary one"
        return self._shared_name(primary, secondary) or judge(self.category, primary, secondary)

    def _shared_name(self, *codes: str | None) -> str | None:
        """Return what is wrong if one of two codes is a name that several labels have."""
        for code in codes:
            if code is not None and (shared := self._shared.get(code.casefold())):
                return f"several labels of {self.category.name} are named {code!r}: {', '.join(shared)}"
        return None

    def _code(self, label: str | None) -> str | None:
        """Return the code of a label. An unknown label stays as it is."""
        label = (label or "").strip()
        if label == ABSTAIN or self.category.accepts(label):
            return label
        folded = label.casefold()
        if folded in self._codes:
            return self._codes[folded]
        if folded in _NOTHING:
            return None
        if folded == "abstain":
            return ABSTAIN
        whole = _FLOAT.fullmatch(label)
        return whole[1] if whole and not self.category.decimal else label

    @cached_property
    def _codes(self) -> dict[str, str]:
        """The code of each name that only one label has, and of each code in small letters that is not a name."""
        small: dict[str, list[str]] = {}
        for label in self.category.choices:
            small.setdefault(label.code.casefold(), []).append(label.code)
        return {
            name: codes[0]
            for name, codes in {**small, **self._names}.items()
            if len(codes) == 1 and name not in self._shared
        }

    @cached_property
    def _shared(self) -> dict[str, list[str]]:
        return {name: codes for name, codes in self._names.items() if len(codes) > 1}

    @cached_property
    def _names(self) -> dict[str, list[str]]:
        names: dict[str, list[str]] = {}
        for label in self.category.choices:
            names.setdefault(label.label.casefold(), []).append(label.code)
        return names

    def identity(self) -> list[object]:
        """Return which labels are read, and as what: for fingerprints."""
        names = sorted(self._names.items())
        return [self.category.name, self.category.decimal, self.category.abstains, names]
