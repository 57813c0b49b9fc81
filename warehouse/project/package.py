"""The dbt package that comes with Cuvée: models, macros, tests and seeds over the documents of a lake.

A project that names something of it (a macro ``cuvee.…``, a model, a source, a config) is given all of it. It is always
that of the installed wheel: what ``cuvee deps`` copies for dbt is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from udfs.errors import CuveeError

if TYPE_CHECKING:
    from udfs.registry import Resources
    from udfs.text.contamination import Benchmarks
    from warehouse.lake.lake import Lake

#: The name of the package, which no other project may have.
NAME = "cuvee"
#: Where ``cuvee deps`` puts a copy for dbt, in the project's folder.
COPY = Path(".cuvee") / "package"

#: Models that a project is meant to replace, and the columns that what reads them needs.
REPLACEABLE = {
    "documents": ("doc_id",),
    "components": ("doc_id", "component"),
    "held_out": ("doc_id", "component", "copies", "n_tokens"),
}

_REF = re.compile(r"\bref\(\s*['\"](\w+)['\"]\s*[,)]")
_NAMED = re.compile(rf"\b{NAME}\b")


def package_folder() -> Path:
    """Find the package: ``warehouse/sql`` of an installed wheel, ``sql`` of a clone. Raises CuveeError."""
    rooms = Path(__file__).resolve().parents[1]
    for folder in (rooms / "sql", rooms.parent / "sql"):
        if (folder / "dbt_project.yml").is_file():
            return folder
    raise CuveeError("the installation lacks Cuvée's SQL", hint="install it again: pip install --force-reinstall cuvee")


def project_folders(root: Path) -> tuple[Path, ...]:
    """Return the folders with a project's seeds, taxonomies, labelers and fastText models: its own, the package's."""
    package = package_folder()
    return (root,) if root.resolve() == package else (root, package)


def resources(root: Path, lake: Lake, benchmarks: Benchmarks) -> Resources:
    """Return what a project's functions read: its folders, the lake's tokenizers, and the benchmarks."""
    from udfs.registry import Resources  # a build of nothing needs none

    return Resources(project_folders(root), tokenizers=lake.root / "tokenizers", benchmarks=benchmarks)


def is_used(texts: Sequence[str], known: Iterable[str]) -> bool:
    """Return whether any of a project's texts names the package, or a model or seed that only the package has.

    ``known`` are the names of the models and seeds that there are without it.
    """
    if any(map(_NAMED.search, texts)):
        return True
    folder = package_folder()
    found = {file.stem for part in ("models", "seeds") for file in (folder / part).rglob("*.*")} - set(known)
    return any(name in found for text in texts for name in _REF.findall(text))
