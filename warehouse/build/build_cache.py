"""A cache of build results. A build with nothing to do renders and parses nothing, and does not start DuckDB.

After a build without failures a small file in the lake records what it was made from: the bytes of the project's
files, the options, the environment variables that templates read, the fingerprints of the functions that models
call, and the version of every table it read or built. If all of that is still so, the build's results still hold.
The file is a hint and may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from udfs.atomic_files import write_atomically
from udfs.version import __version__
from warehouse.build.build_options import BuildOptions
from warehouse.lake.lake import Lake
from warehouse.project.options import Selection
from warehouse.project.package import package_folder, resources
from warehouse.project.results import TESTS, NodeResult

_FOLDER = "cache"
_SUFFIXES = (".sql", ".yml", ".yaml", ".csv", ".md")


@dataclass(frozen=True, slots=True)
class CacheKey:
    """The inputs of a build, besides the project's files."""

    environment: Mapping[str, str | None]
    functions: tuple[tuple[str, tuple[Any, ...], str], ...]  # name, options, fingerprint
    relations: Mapping[str, str]  # name → version


@dataclass(frozen=True, slots=True)
class BuildCache:
    """The cached results of one selection of one project, built with the same options."""

    lake: Lake
    root: Path
    selection: Selection
    options: BuildOptions

    def load(self) -> list[NodeResult] | None:
        """Return the results of a build if it has nothing to do; None if it might have."""
        asks_again = self.options.full_refresh or self.options.limits.retry
        if asks_again or not self.holds_again or self.lake.is_attached:
            return None
        try:
            record = json.loads(self._path().read_bytes())
            key = CacheKey(**record["ground"])
            if record["files"] != digest(self.root):
                return None
            if any(os.environ.get(name) != value for name, value in key.environment.items()):
                return None
            if _versions(self.lake, key.relations) != key.relations:
                return None
            if not _same_functions(self.lake, self.root, key.functions):
                return None
            return [NodeResult(**result) for result in record["results"]]
        except (OSError, ValueError, KeyError, TypeError, sqlite3.Error):
            return None

    @property
    def holds_again(self) -> bool:
        """Return whether the same options always mean the same build: an older state may be another one by then.

        A build of a part says nothing about a later one either, nor does one that keeps what breaks tests.
        """
        options = self.options
        given = (options.event_time_start, options.state, options.sample)
        return all(each is None for each in given) and not options.empty and not options.store_failures

    def save(self, key: CacheKey, results: Iterable[NodeResult], files: str) -> None:
        """Keep the results of a build without failures. ``files`` is the ``digest`` from before the build."""
        path = self._path()
        path.parent.mkdir(exist_ok=True)
        kept = []
        for result in results:
            said = result.message.partition("\n")[0]
            if result.kind in TESTS and result.status != "unchanged":
                said = result.status
            kept.append({**asdict(result), "status": "unchanged", "seconds": 0.0, "message": said})
        write_atomically(path, json.dumps({"files": files, "ground": asdict(key), "results": kept}))

    def _path(self) -> Path:
        asked = [
            str(self.root.resolve()),
            list(self.selection.select),
            list(self.selection.exclude),
            dict(self.options.variables),
            self.options.target,
            self.options.selector,
            __version__,
        ]
        name = sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:32]
        return self.lake.root / _FOLDER / f"{name}.json"


def digest(root: Path) -> str:
    """Return a digest over the bytes of every file that can matter to a build: the project's and Cuvée's package's."""
    total = sha256()
    package = package_folder()
    for folder, folders, names in (
        *os.walk(root, followlinks=True),
        *(os.walk(package) if root.resolve() != package else ()),
    ):
        folders[:] = sorted(name for name in folders if not _is_data(folder, name))
        for name in sorted(names):
            if name.endswith(_SUFFIXES):
                path = os.path.join(folder, name)  # noqa: PTH118  (pathlib takes four times as long here)
                with open(path, "rb") as handle:  # noqa: PTH123
                    total.update(f"{path}\0".encode() + sha256(handle.read()).digest())
    return total.hexdigest()


def _is_data(folder: str, name: str) -> bool:
    """Return whether a folder is not part of a project's text: outputs, lakes and exports may be next to its models."""
    if name.startswith(".") or name in ("target", "logs", "__pycache__"):
        return True
    return any((Path(folder) / name / mark).exists() for mark in ("catalog.sqlite", "index.json", "pyvenv.cfg"))


def _versions(lake: Lake, names: Iterable[str]) -> dict[str, str]:
    """Return the versions of these tables and views, read from the catalog itself."""
    from warehouse.lake.catalog import QUERY

    with contextlib.closing(sqlite3.connect(f"file:{lake.catalog}?mode=ro", uri=True)) as catalog:
        found = {name: version for name, _, version in catalog.execute(QUERY.format(catalog=""))}
    return {name: found.get(name, "absent") for name in names}


def _same_functions(lake: Lake, root: Path, functions: Iterable[tuple[str, Sequence[Any], str]]) -> bool:
    functions = list(functions)
    if not functions:
        return True
    from udfs.registry import expensive_functions
    from warehouse.lake.benchmarks import Remembered

    known = expensive_functions(resources(root, lake, Remembered(lake)))
    return all(
        name in known and known[name].bind(tuple(options)).fingerprint == fingerprint
        for name, options, fingerprint in functions
    )
