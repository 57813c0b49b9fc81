"""The taxonomies of a project, by name: ``eai``, and those that users add as a file, without Python.

``seeds/taxonomies/NAME.csv`` is a list of labels, and as a seed also a table: columns category, code, label, and if
wanted description, example, parent, level, prefixes (FDC codes, separated by spaces). ``taxonomies/NAME.yml`` is a
list of categories and can say more of them: a title, a description, a range, and whether a labeler may abstain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from udfs.errors import Location, UsageError, did_you_mean
from udfs.labels.section import Section
from udfs.labels.taxonomies.taxonomy import ABSTAIN, NAME, Category, Label, Taxonomy, TaxonomyError, rows

#: The taxonomy that the seeds taxonomy.csv and fdc.csv make.
EAI = "eai"

#: A code is between commas in answers, so it has none, and no white space. ``skip`` is an answer's word.
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_RESERVED = ("skip", "none", ABSTAIN)

_PREFIX = re.compile(r"\d{1,3}|\d{3}\.\d+", re.ASCII)
_RANGE = re.compile(r"(\d+)-(\d+)", re.ASCII)

_COLUMNS = ("category", "code", "label")
_MORE = ("position", "family", "title", "description", "example", "parent", "level", "prefixes")


@dataclass(frozen=True, slots=True)
class Taxonomies:
    """The taxonomies in a project's ``folders``: its own first, then those of packages.

    A folder has them in ``seeds/`` and ``taxonomies/``. A taxonomy of an earlier folder replaces a later one's.
    """

    folders: Sequence[Path]

    def files(self) -> dict[str, Path]:
        """List the files of added taxonomies by name. Raises TaxonomyError if two have the same name."""
        found: dict[str, Path] = {}
        for folder in reversed(self.folders):
            found |= _files(folder)
        return found

    def names(self) -> list[str]:
        """List all taxonomies' names, ``eai`` first."""
        return [EAI, *self.files()]

    def get(self, name: str) -> Taxonomy:
        """Read a taxonomy by name. Raises UsageError with the nearest names; TaxonomyError with file and line."""
        if name == EAI:
            seeds = (folder / "seeds" for folder in self.folders)
            found = next((each for each in seeds if (each / "taxonomy.csv").is_file()), None)
            if found is None:
                raise UsageError("no taxonomy 'eai': no folder has seeds/taxonomy.csv")
            return Taxonomy.load(found)
        files = self.files()
        if name not in files:
            raise UsageError(f"no taxonomy {name!r}", hint=did_you_mean(name, [EAI, *files]))
        return read(files[name])


def _files(folder: Path) -> dict[str, Path]:
    """List the files of the taxonomies in one folder by name. Raises TaxonomyError if two have the same name."""
    found: dict[str, Path] = {}
    patterns = ("seeds/taxonomies/*.csv", "taxonomies/*.yml", "taxonomies/*.yaml")
    for path in sorted(file for pattern in patterns for file in folder.glob(pattern)):
        if path.stem in found or path.stem == EAI:
            other = found.get(path.stem, folder / "seeds" / "taxonomy.csv")
            raise TaxonomyError(
                f"two taxonomies are named {path.stem}", where=Location(str(path)), hint=f"the other is {other}"
            )
        if not NAME.fullmatch(path.stem):
            raise TaxonomyError(
                f"{path.stem!r} is not a valid taxonomy name", where=Location(str(path)), hint="use a-z, 0-9 and _"
            )
        found[path.stem] = path
    return found


def read(path: Path) -> Taxonomy:
    """Read a taxonomy from a CSV or YAML file, named like the file. Raises TaxonomyError with file and line."""
    categories = _of_csv(path) if path.suffix == ".csv" else _of_yaml(path)
    if not categories:
        raise TaxonomyError("no categories", where=Location(str(path)))
    return Taxonomy(path.stem, tuple(categories))


def labels(taxonomy: Taxonomy) -> Iterator[dict[str, object]]:
    """Yield a taxonomy's labels as rows."""
    for position, category in enumerate(taxonomy.categories, 1):
        for label in category.labels:
            yield {
                "category": category.name,
                "position": position,
                "code": label.code,
                "label": label.label,
                "description": label.description,
                "example": label.example,
                "level": label.level,
                "parent": label.parent,
                "prefixes": " ".join(label.prefixes),
            }


def _of_csv(path: Path) -> list[Category]:
    found: dict[str, _Labels] = {}
    abstaining: set[str] = set()
    for line, row in rows(path, _COLUMNS):
        where = Location(str(path), line)
        if unknown := [column for column in row if column not in (*_COLUMNS, *_MORE)]:
            hint = did_you_mean(unknown[0], (*_COLUMNS, *_MORE))
            raise TaxonomyError(f"no column {unknown[0]!r} has a meaning", where=Location(str(path), 1), hint=hint)
        name = row["category"]
        if not NAME.fullmatch(name):
            raise TaxonomyError(f"{name!r} is not a valid category name", where=where, hint="use a-z, 0-9 and _")
        known = found.setdefault(name, _Labels(name))
        if row["code"] == ABSTAIN:
            abstaining.add(name)
            continue
        known.add(
            Label(row["code"], row["label"], row.get("description", ""), row.get("example", "")),
            row.get("parent", ""),
            row.get("level", ""),
            tuple(row.get("prefixes", "").split()),
            where,
        )
    categories = []
    for name, known in found.items():
        if not known.labels:
            raise TaxonomyError(f"{name} has no label", where=Location(str(path)))
        # Without any row for -1 nothing is said about abstaining, so it is allowed; with one, it is said where.
        categories.append(Category(name, tuple(known.labels.values()), abstains=not abstaining or name in abstaining))
    return categories


def _of_yaml(path: Path) -> list[Category]:
    file = Section.of_file(path, "a taxonomy", TaxonomyError)
    if (name := file.text("name", path.stem)) != path.stem:
        raise file.fail("name", f"the taxonomy {name!r} is in a file named {path.name}", "give both the same name")
    file.text("description", "")
    categories: dict[str, Category] = {}
    for entry in file.sections("categories", "a category"):
        name = entry.text("name")
        if not NAME.fullmatch(name):
            raise entry.fail("name", f"{name!r} is not a valid category name", "use a-z, 0-9 and _")
        if name in categories:
            raise entry.fail("name", f"two categories are named {name}")
        categories[name] = _category(entry, name)
    file.done()
    return list(categories.values())


def _category(entry: Section, name: str) -> Category:
    known = _Labels(name)
    for each in entry.sections("labels", f"a label of {name}"):
        label = Label(each.text("code"), each.text("label"), each.text("description", ""), each.text("example", ""))
        level = str(each.integer("level", 1, low=1)) if each.has("level") else ""
        known.add(label, each.text("parent", ""), level, each.texts("prefixes") or (), each.where("code"))
        each.done()
    category = Category(
        name,
        tuple(known.labels.values()),
        title=entry.text("title", ""),
        description=entry.text("description", ""),
        abstains=entry.flag("abstain", True),
    )
    if entry.has("range"):
        text = entry.text("range")
        bounds = _RANGE.fullmatch(text)
        if not bounds or int(bounds[1]) > int(bounds[2]):
            raise entry.fail("range", f"{text!r} is not a valid range", "write the lowest and the highest code: 1-9")
        category = replace(category, allowed=(int(bounds[1]), int(bounds[2])))
        if strange := [label.code for label in category.labels if not label.code.isdecimal()]:
            raise entry.fail("range", f"{name} has a range, but its code {strange[0]!r} is not a whole number")
    entry.done()
    if not category.choices:
        raise entry.fail("labels", f"{name} has no label" + (" in its range" if category.labels else ""))
    return category


class _Labels:
    """The labels of one category, each checked against those before it."""

    def __init__(self, category: str) -> None:
        self.category = category
        self.labels: dict[str, Label] = {}
        self._prefixes: dict[str, str] = {}

    def add(self, label: Label, parent: str, level: str, prefixes: tuple[str, ...], where: Location) -> None:
        """Add a label under the code ``parent`` (empty: none); ``level`` is what the file says (empty: nothing)."""
        if not label.code or not label.label:
            raise TaxonomyError(f"a label of {self.category} has no code or no name", where=where)
        if not _CODE.fullmatch(label.code) or label.code in _RESERVED:
            hint = "use letters, digits, '.', '_', '+' and '-'; skip, none and -1 mean something else"
            raise TaxonomyError(f"{label.code!r} cannot be a code", where=where, hint=hint)
        if label.code in self.labels:
            raise TaxonomyError(f"{self.category} has the code {label.code} twice", where=where)
        if parent and parent not in self.labels:
            hint = did_you_mean(parent, self.labels) or "a label stands below its parent in the file"
            raise TaxonomyError(f"{label.code} lies under {parent}, which is not above it", where=where, hint=hint)
        depth = self.labels[parent].level + 1 if parent else 1
        if level and level != str(depth):
            raise TaxonomyError(f"{label.code} is of level {depth}, not {level}", where=where)
        for prefix in prefixes:
            if not _PREFIX.fullmatch(prefix):
                raise TaxonomyError(
                    f"{prefix!r} is not a valid FDC code", where=where, hint="write 5, 51, 513 or 513.2"
                )
            if prefix in self._prefixes:
                raise TaxonomyError(f"{label.code} and {self._prefixes[prefix]} both claim FDC {prefix}", where=where)
            self._prefixes[prefix] = label.code
        self.labels[label.code] = replace(label, level=depth, parent=parent or None, prefixes=prefixes)
