"""Taxonomies: categories, each with a fixed set of labels, read from the seeds that SQL reads too.

This module defines a taxonomy and reads ``eai``; ``udfs.labels.taxonomies.taxonomies`` reads those that users add.
``taxonomy.csv`` has one row per label of eai (category, code, label, description, example), in a category's order. The
Free Decimal Correspondence (FDC), a hierarchy, has its classes in ``fdc.csv``: the same columns, with level and parent
in place of category.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from udfs.errors import LabelerError, Location, UsageError, did_you_mean
from udfs.expensive import fingerprint

#: The code of an explicit abstention, in every category. It is not one of a category's labels.
ABSTAIN = "-1"

#: The category whose labels are FDC classes.
FDC = "free_decimal_correspondence"

NAME = re.compile(r"[a-z][a-z0-9_]*")
_FDC_CODE = re.compile(r"\d{1,3}|\d{3}\.\d+", re.ASCII)

#: Decimals that a labeler may give a class of FDC. The deepest code seen in published rows has seven; a model that
#: repeats a digit without end gives hundreds.
DECIMALS = 12

#: What a decimal code is, as a regular expression.
DECIMAL_CODE = rf"[0-9]{{3}}(?:\.[0-9]{{1,{DECIMALS}}})?"
_DECIMAL = re.compile(DECIMAL_CODE)


class TaxonomyError(LabelerError):
    """A taxonomy's file is missing or says something that cannot be."""


@dataclass(frozen=True, slots=True)
class Label:
    """One label of a category.

    ``description`` says what documents it is for, ``example`` is what such a document may read like; labelers work
    with these. ``level`` and ``parent`` place a label in a hierarchy; a flat category has level 1 only. ``prefixes``
    are the FDC codes whose documents the label is for, where it is defined by them.
    """

    code: str
    label: str
    description: str = ""
    example: str = ""
    level: int = 1
    parent: str | None = None
    prefixes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Category:
    """A fixed set of labels of which a document gets one primary and at most one secondary.

    ``decimal`` is FDC's rule: a code is three digits and as many decimals as the labeler likes (up to ``DECIMALS``).
    ``abstains`` says whether a labeler may answer ``-1``. ``allowed`` restricts the codes a labeler may give to whole
    numbers from a lowest to a highest; other labels still name codes that are there already.
    """

    name: str
    labels: tuple[Label, ...]
    title: str = ""
    description: str = ""
    decimal: bool = False
    abstains: bool = True
    allowed: tuple[int, int] | None = None

    @cached_property
    def by_code(self) -> dict[str, Label]:
        """Labels by code."""
        return {label.code: label for label in self.labels}

    @cached_property
    def heading(self) -> str:
        """The category's name as people write it: its title, or ``document_type_v2`` as Document Type V2."""
        return self.title or self.name.replace("_", " ").title()

    @cached_property
    def choices(self) -> tuple[Label, ...]:
        """The labels a verdict may carry: those with none below them, the named classes of level 3 in FDC."""
        if self.decimal:
            return tuple(label for label in self.labels if label.level == 3 and label.label)
        parents = {label.parent for label in self.labels}
        leaves = (label for label in self.labels if label.label and label.code not in parents)
        if self.allowed is None:
            return tuple(leaves)
        low, high = self.allowed
        return tuple(leaf for leaf in leaves if leaf.code.isdecimal() and low <= int(leaf.code) <= high)

    @cached_property
    def codes(self) -> frozenset[str]:
        """The codes a labeler may give; of a decimal category the three digits only."""
        return frozenset(label.code for label in self.choices)

    def accepts(self, code: str) -> bool:
        """Return whether a labeler may give this code. An abstention is not one of the codes.

        >>> subject = Category("subject", (), decimal=True)
        >>> [subject.accepts(code) for code in ("513.212", "641.563.2", "92", "-1")]
        [True, False, False, False]
        """
        return bool(_DECIMAL.fullmatch(code)) if self.decimal else code in self.codes

    def code(self, label: str) -> str:
        """Return the code of a label, which is named by its name, in any case, or by its code.

        Where a name is there twice, the higher label of a hierarchy is meant. Raises UsageError with the nearest
        names, or if unrelated labels share the name.
        """
        found = [entry.code for entry in self.labels if entry.label.casefold() == label.casefold()]
        if not found and label in self.by_code:
            return label
        if not found:
            names = [entry.label for entry in self.labels if entry.label]
            raise UsageError(f"{self.name} has no label {label!r}", hint=did_you_mean(label, names))
        if unrelated := [code for code in found if self.by_code[found[0]] not in self.path(code)]:
            raise UsageError(
                f"{self.name} has several labels {label!r}", hint=f"name a code: {', '.join([found[0], *unrelated])}"
            )
        return found[0]

    def below(self, code: str) -> tuple[str, ...]:
        """Return a code and all codes under it, in the taxonomy's order."""
        return tuple(label.code for label in self.labels if any(above.code == code for above in self.path(label.code)))

    def path(self, code: str) -> tuple[Label, ...]:
        """Return the label of a code and those above it, the highest first.

        In FDC a code is as deep as its author liked: ``513.212`` has the labels of ``5``, ``51`` and ``513`` and of
        the longest decimals that FDC names. A malformed or unknown code has the labels of its known prefixes.
        """
        entry = self.by_code.get(code)
        if entry is None:
            if not self.decimal:
                return ()
            shorter = [code[:end].rstrip(".") for end in range(len(code) - 1, 0, -1)]
            entry = next((self.by_code[prefix] for prefix in shorter if prefix in self.by_code), None)
        path: list[Label] = []
        while entry is not None:
            path.append(entry)
            entry = self.by_code.get(entry.parent) if entry.parent else None
        return tuple(reversed(path))


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


@dataclass(frozen=True)
class Taxonomy:
    """Categories, in the order in which a labeler writes them."""

    name: str
    categories: tuple[Category, ...]

    @classmethod
    def load(cls, folder: Path) -> Taxonomy:
        """Read the taxonomy ``eai`` from the seeds in ``folder``. Raises TaxonomyError with file and line."""
        path = folder / "taxonomy.csv"
        labels: dict[str, list[Label]] = {}
        for line, row in rows(path, ("category", "code", "label", "description", "example")):
            where = Location(str(path), line)
            name, code = row["category"], row["code"]
            if not NAME.fullmatch(name):
                raise TaxonomyError(f"{name!r} is not a valid category name", where=where, hint="use a-z, 0-9 and _")
            if not code or not row["label"]:
                raise TaxonomyError(f"a label of {name} has no code or no name", where=where)
            known = labels.setdefault(name, [])
            if any(code == label.code for label in known):
                raise TaxonomyError(f"{name} has the code {code} twice", where=where)
            known.append(Label(code, row["label"], row["description"], row["example"]))
        if FDC in labels:
            labels[FDC] = _fdc(folder / "fdc.csv")
        categories = [
            Category(name, tuple(label for label in found if label.code != ABSTAIN), decimal=name == FDC)
            for name, found in labels.items()
        ]
        if empty := [category.name for category in categories if not category.labels]:
            raise TaxonomyError(f"{empty[0]} has no label", where=Location(str(path)))
        if not categories:
            raise TaxonomyError("no categories", where=Location(str(path)))
        return cls("eai", tuple(categories))

    def category(self, name: str) -> Category:
        """Find a category by name. Raises UsageError with the nearest names."""
        for category in self.categories:
            if category.name == name:
                return category
        hint = did_you_mean(name, [category.name for category in self.categories])
        raise UsageError(f"the taxonomy {self.name} has no category {name!r}", hint=hint)

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits over everything a labeler can know of the taxonomy."""
        labels = [
            [each.name, [(x.code, x.label, x.description, x.example, x.level, x.parent) for x in each.labels]]
            for each in self.categories
        ]
        return fingerprint(self.name, labels)


def _fdc(path: Path) -> list[Label]:
    """FDC's classes. A class without a label of its own is unassigned, or a ten (``50``) that FDC does not name."""
    classes: dict[str, Label] = {}
    for line, row in rows(path, ("code", "level", "parent", "label", "description", "example")):
        where = Location(str(path), line)
        code, parent = row["code"], row["parent"] or None
        if not _FDC_CODE.fullmatch(code):
            raise TaxonomyError(f"{code!r} is not a valid FDC code", where=where, hint="write 5, 51, 513 or 513.2")
        if code in classes:
            raise TaxonomyError(f"the code {code} is there twice", where=where)
        if parent is not None and parent not in classes:
            raise TaxonomyError(f"{code} lies under {parent}, which is not above it in the file", where=where)
        level = len(code.replace(".", ""))
        if row["level"] != str(level):
            raise TaxonomyError(f"{code} is of level {level}, not {row['level']!r}", where=where)
        classes[code] = Label(code, row["label"], row["description"], row["example"], level, parent)
    if not classes:
        raise TaxonomyError("no classes", where=Location(str(path)))
    return list(classes.values())


def rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a CSV file with their line numbers. Every column of ``columns`` is there and holds text."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if missing := [column for column in columns if column not in (reader.fieldnames or ())]:
                raise TaxonomyError(f"no column {missing[0]!r}", where=Location(str(path), 1))
            for row in reader:
                if None in row or None in row.values():
                    raise TaxonomyError(
                        "not as many values as there are columns", where=Location(str(path), reader.line_num)
                    )
                yield reader.line_num, row
    except FileNotFoundError:
        raise TaxonomyError(f"no file {path}", hint="taxonomies are seeds of the project: sql/seeds") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise TaxonomyError(f"not a CSV file in UTF-8: {error}", where=Location(str(path))) from error
