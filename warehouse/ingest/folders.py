"""Know folders whose files are not all documents: tables with a log, data sets of Hugging Face, links to elsewhere.

_delta_log, Iceberg's metadata, .hoodie      refused: their folders keep the rows of removed files
save_to_disk                                 the Arrow files that state.json names
a repository, or the hub's cache of one      data files of one revision; README, LICENSE and scripts are left out
a link to a file outside of the folder       left out, unless links are followed
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

#: The reasons for files that are left out.
LEAVES = "links that lead out of their folder; --follow-links reads them"
NO_DATA = "files of a data set that hold no data"
OLDER = "other revisions of a data set"

_SHARD = re.compile(r"[-_.]\d+[-_]of[-_]\d+.*$|[-_]\d{4,}$")
_DATA = re.compile(
    r"\.(parquet|jsonl?|ndjson|csv|tsv|tab|psv|txt|arrow|feather|orc|zip|tar|tgz|warc|wet|arc|mds)(\.(gz|zst|bz2|xz|lz4))?$"
    r"|\.(gz|zst|bz2|xz|lz4)$",
    re.IGNORECASE,
)
_ABOUT = re.compile(
    r"(readme|licen[cs]e|notice|citation|changelog|contributing)\b.*|dataset_infos?\.json", re.IGNORECASE
)

#: What a card of a data set says of itself, at least one of these.
_CARD = re.compile(r"^(configs|dataset_info|task_categories|size_categories|pretty_name|license|language)\s*:", re.M)


def table_format(folder: Path, folders: Sequence[str]) -> str | None:
    """Say what table a folder is, if its files alone are not the table, and what to do."""
    if "_delta_log" in folders:
        return _refusal("a Delta table", f"install delta; copy (from delta_scan('{folder}')) to 'rows.parquet'")
    if "metadata" in folders and any((folder / "metadata").glob("*.metadata.json")):
        return _refusal("an Iceberg table", f"install iceberg; copy (from iceberg_scan('{folder}')) to 'rows.parquet'")
    if ".hoodie" in folders:
        return "a Hudi table: its files hold removed rows too; write its rows as Parquet first"
    return None


def table_above(path: Path) -> str | None:
    """Say what table a file is part of, also below folders such as ``date=2024-01-01``."""
    folder = path.parent
    while True:
        names = [each for each in ("_delta_log", ".hoodie") if (folder / each).is_dir()]
        if folder.name == "data" and (folder.parent / "metadata").is_dir():
            found = table_format(folder.parent, ["metadata"])
        else:
            found = table_format(folder, names)
        if found or "=" not in folder.name:
            return found
        folder = folder.parent


def _refusal(what: str, command: str) -> str:
    return f"{what}: its files hold removed rows too; write its rows as Parquet first, by DuckDB: {command}"


def leaves(path: Path, root: Path) -> bool:
    """Tell whether a link leads to a file outside of a folder. The hub's cache links to its own blobs."""
    if not path.is_symlink():
        return False
    target = path.resolve()
    home = _hub_folder(root) or _hub_folder(path) or root
    return not (target.is_relative_to(root.resolve()) or target.is_relative_to(home.resolve()))


def saved_files(folder: Path, files: Sequence[str]) -> list[str] | None:
    """List the data of a folder that ``save_to_disk`` or the cache of ``datasets`` wrote; None for other folders."""
    if "dataset_dict.json" in files:
        return []
    if "dataset_info.json" not in files or not any(name.endswith(".arrow") for name in files):
        return None
    if "state.json" not in files:
        return [name for name in files if name.endswith(".arrow") and not name.startswith("cache-")]
    try:
        state = json.loads((folder / "state.json").read_bytes())
        named = {str(each["filename"]) for each in state["_data_files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return [name for name in files if name in named]


def saved_source(folder: Path) -> str:
    """Return the source of what ``save_to_disk`` wrote: the folder, below that of all splits."""
    return f"{folder.parent.name}/{folder.name}" if (folder.parent / "dataset_dict.json").is_file() else folder.name


@dataclass(frozen=True)
class Repository:
    """A data set's repository, or the part of it at ``root``. ``rules`` say what its card calls each file."""

    root: Path
    name: str
    rules: tuple[tuple[str, str, str], ...] = ()

    @classmethod
    def at(cls, folder: Path, name: str | None = None) -> Repository | None:
        """Return the repository in a folder, by its place in the hub's cache, its card, or the name that is told."""
        home = _hub_folder(folder)
        if home is not None and folder.parent == home / "snapshots":
            name = home.name.split("--")[-1]
        card = _card(folder / "README.md")
        if name is None and not (card and (folder / ".gitattributes").is_file()):
            return None
        return cls(folder, name or folder.name, tuple(_rules(card or {})))

    @classmethod
    def above(cls, path: Path) -> Repository | None:
        """Return the repository in the hub's cache that holds a file."""
        return next((found for folder in path.parents if _hub_folder(folder) and (found := _at(folder))), None)

    def is_data(self, path: Path) -> bool:
        """Tell whether a file holds records: not a card, a licence or a script."""
        return bool(_DATA.search(path.name)) and not _ABOUT.fullmatch(path.name)

    def source(self, path: Path) -> str:
        """Return the source of a file: the data set, its configuration and its split."""
        below = PurePosixPath(path.relative_to(self.root).as_posix())
        for pattern, config, split in self.rules:
            if _matches(below, pattern):
                return "/".join(part for part in (self.name, config if config != "default" else "", split) if part)
        folders = [part for part in below.parts[:-1] if part != "data"]
        stem = _SHARD.sub("", below.name.split(".")[0]) or ""
        split = "" if stem.isdecimal() or stem in folders[-1:] else stem
        return "/".join(part for part in (self.name, *folders, split) if part)


@cache
def _at(folder: Path) -> Repository | None:
    return Repository.at(folder)


def hub_folders(folder: Path, folders: Sequence[str]) -> list[str] | None:
    """List what to read of a data set in the hub's cache; None for other folders.

    The blobs are what the snapshots link to. Of several revisions the one that ``refs/main`` names is read.
    """
    if folder.name == "snapshots" and (home := _hub_folder(folder)) is not None and home == folder.parent:
        try:
            main = (home / "refs" / "main").read_text().strip()
        except OSError:
            main = ""
        newest = sorted(folders, key=lambda name: (folder / name).stat().st_mtime)[-1:]
        return [main] if main in folders else newest
    if _hub_folder(folder) == folder and "snapshots" in folders:
        return ["snapshots"]
    return None


def _hub_folder(path: Path) -> Path | None:
    """Return the folder of the hub's cache that a path is in: ``datasets--organization--name``."""
    return next((each for each in (path, *path.parents) if each.name.startswith("datasets--")), None)


@cache
def _card(path: Path) -> dict[str, Any] | None:
    """Read what a data set's card says, None if there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    head = text.split("\n---", 1)[0].removeprefix("---") if text.startswith("---") else ""
    if not _CARD.search(head):
        return None
    import yaml

    try:
        found = yaml.safe_load(head)
    except yaml.YAMLError:
        return None
    return found if isinstance(found, dict) else None


def _rules(card: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the pattern, the configuration and the split of each kind of file that a card names."""
    for config in _listed(card.get("configs")):
        if not isinstance(config, dict):
            continue
        name, folder = str(config.get("config_name", "")), str(config.get("data_dir") or "")
        if folder and not config.get("data_files"):
            yield f"{folder.rstrip('/')}/**", name, ""
        for files in _listed(config.get("data_files")):
            split = str(files.get("split", "")) if isinstance(files, dict) else ""
            for pattern in _listed(files.get("path") if isinstance(files, dict) else files):
                yield "/".join(part for part in (folder.rstrip("/"), str(pattern)) if part), name, split


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _matches(path: PurePosixPath, pattern: str) -> bool:
    return fnmatchcase(str(path), pattern.replace("/**/", "/*").removeprefix("**/").removeprefix("./")) or fnmatchcase(
        str(path), pattern.replace("**/", "")
    )
