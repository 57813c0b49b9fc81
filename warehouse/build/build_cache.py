"""The short way through a build that has nothing to do: nothing is rendered, parsed or even opened in DuckDB.

After a build without failures a small file in the lake remembers what it stood on: the bytes of the project's
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
from importlib.metadata import version
from pathlib import Path
from typing import Any

from warehouse.lake.lake import Lake
from warehouse.project.outcome import TESTS, Options, Result

_FOLDER = "cache"
_SUFFIXES = (".sql", ".yml", ".yaml", ".csv", ".md")


@dataclass(frozen=True, slots=True)
class Ground:
    """What a build stood on, besides the project's files."""

    environment: Mapping[str, str | None]
    functions: tuple[tuple[str, tuple[Any, ...], str], ...]  # name, options, fingerprint
    relations: Mapping[str, str]  # name → version


def look(
    lake: Lake, root: Path, chosen: Sequence[str], excluded: Sequence[str], options: Options
) -> list[Result] | None:
    """The results of a build of this selection if it has nothing to do; None if it might have."""
    if options.full_refresh or options.retry or not holds_again(options) or lake.is_attached:
        return None
    try:
        record = json.loads(_path(lake, root, chosen, excluded, options).read_bytes())
        ground = Ground(**record["ground"])
        if record["files"] != digest(root):
            return None
        if any(os.environ.get(name) != value for name, value in ground.environment.items()):
            return None
        if _versions(lake, ground.relations) != ground.relations or not _same_functions(lake, root, ground.functions):
            return None
        return [Result(**result) for result in record["results"]]
    except (OSError, ValueError, KeyError, TypeError, sqlite3.Error):
        return None


def holds_again(options: Options) -> bool:
    """Whether the same options ask for the same thing another time: an older state may be another one by then.

    A build of a part is no ground for a later one either, nor is one that keeps what breaks tests.
    """
    return (
        options.event_time_start is None
        and options.state is None
        and not options.empty
        and options.sample is None
        and not options.store_failures
    )


def remember(
    lake: Lake, root: Path, chosen: Sequence[str], excluded: Sequence[str], options: Options, ground: Ground,
    results: Iterable[Result], files: str,
) -> None:  # fmt: skip
    """Keep what a build without failures stood on; ``files`` is what ``digest`` said before the build."""
    path = _path(lake, root, chosen, excluded, options)
    path.parent.mkdir(exist_ok=True)
    kept = []
    for result in results:
        said = result.message.partition("\n")[0]
        if result.kind in TESTS and result.status != "unchanged":
            said = result.status
        kept.append({**asdict(result), "status": "unchanged", "seconds": 0.0, "message": said})
    body = json.dumps({"files": files, "ground": asdict(ground), "results": kept})
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(body)
    temporary.replace(path)


def digest(root: Path) -> str:
    """A digest over the bytes of every file that can matter to a build."""
    total = sha256()
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if name not in ("target", "logs", "__pycache__"))
        for name in sorted(names):
            if name.endswith(_SUFFIXES):
                path = os.path.join(folder, name)  # noqa: PTH118  (pathlib takes four times as long here)
                with open(path, "rb") as handle:  # noqa: PTH123
                    total.update(f"{path}\0".encode() + sha256(handle.read()).digest())
    return total.hexdigest()


def _path(lake: Lake, root: Path, chosen: Sequence[str], excluded: Sequence[str], options: Options) -> Path:
    asked = [
        str(root.resolve()),
        list(chosen),
        list(excluded),
        dict(options.variables),
        options.target,
        options.selector,
        version("cuvee"),
    ]
    name = sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:32]
    return lake.root / _FOLDER / f"{name}.json"


def _versions(lake: Lake, names: Iterable[str]) -> dict[str, str]:
    """Versions of these tables and views, read from the catalog itself."""
    from warehouse.lake.versions import QUERY

    with contextlib.closing(sqlite3.connect(f"file:{lake.catalog}?mode=ro", uri=True)) as catalog:
        found = {name: version for name, _, version in catalog.execute(QUERY.format(catalog=""))}
    return {name: found.get(name, "absent") for name in names}


def _same_functions(lake: Lake, root: Path, functions: Iterable[tuple[str, Sequence[Any], str]]) -> bool:
    functions = list(functions)
    if not functions:
        return True
    from udfs.registry import Resources, expensive_functions
    from warehouse.answers.benchmarks import Remembered

    known = expensive_functions(
        Resources(taxonomies=root / "seeds", tokenizers=lake.root / "tokenizers", benchmarks=Remembered(lake))
    )
    return all(
        name in known and known[name].bind(tuple(options)).fingerprint == fingerprint
        for name, options, fingerprint in functions
    )
