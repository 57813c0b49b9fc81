"""Find the files that a request names: paths, globs, folders and URLs become a list of inputs.

A folder is searched with all its subfolders, without hidden files and folders (``.git``), ``__pycache__`` and lakes.
An MDS folder is one input; its shards are not inputs of their own. Symbolic links to files in the folder are followed,
those to folders are not; see ``folders`` for links that lead outside, and for folders that are tables or data sets.

Folders right above a file that are called ``key=value``, as in Hive, are columns of its records.
"""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from udfs.errors import UsageError, did_you_mean
from warehouse.ingest import folders
from warehouse.ingest.folders import Repository
from warehouse.ingest.formats.environment import SOURCE, PackageFile, package_files
from warehouse.lake.lake import CATALOG
from warehouse.lake.remote import fetch, is_url
from warehouse.mds.index import find_folders

_SHARD = re.compile(r"-\d+-of-\d+$")
#: A name that numbers a part of something: part-00000-c000, 000_00001, cc_en_head-0000. A year is not such a number.
_PART = re.compile(r"(part|shard|chunk|split|file|data|batch|train)?[-_.]?\d+([-_].*)?|.*[-_.]0\d+", re.IGNORECASE)
_HIVE = re.compile(r"[^=]+=.*", re.DOTALL)
_YEAR = re.compile(r"(19|20)\d\d([-_]\d\d){0,2}")


@dataclass(frozen=True, slots=True)
class Input:
    """A file or an MDS folder to read.

    ``source`` is the source of its documents unless the caller or the record names another. ``folder_source`` is that
    of a text file found in a folder, which shares one with its neighbours. ``name`` is the path below what the caller
    named. ``url`` is where a file was downloaded from. A ``refused`` input is not read, for this reason; one that is
    ``left_out`` is not a document.
    """

    path: Path
    source: str
    folder_source: str
    name: str
    is_mds: bool = False
    package: PackageFile | None = None
    url: str | None = None
    refused: str | None = None
    left_out: str | None = None

    @property
    def columns(self) -> tuple[tuple[str, str | None], ...]:
        """The names and values of its Hive folders, from the outermost."""
        return () if self.is_mds or self.package is not None else tuple(map(_column, _hive_folders(self.path)))

    @property
    def place(self) -> str:
        """Its path in raw.files."""
        return self.url or path_text(self.path)


def find_inputs(paths: Sequence[str], downloads: Path | None = None, *, follow_links: bool = False) -> list[Input]:
    """Find all inputs that paths, folders, globs and URLs name, each once, in the order of their paths.

    Files at URLs are downloaded into folders in ``downloads``; without one, a URL is a path. Raises UsageError for a
    path that does not exist and for a glob that matches nothing, CuveeError for a URL that cannot be read.
    """
    found: dict[Path, Input] = {}
    for number, text in enumerate(paths):
        if downloads is not None and is_url(text) and not os.path.lexists(text):
            folder = downloads / str(number)
            fetch(text, folder)
            for entry in _walk(folder, _published(text, folder)):
                found[entry.path] = _downloaded(entry, text.rstrip("/"), folder)
            continue
        for path in _expand(text):
            for entry in _walk(path, follow_links=follow_links) if path.is_dir() else [_file(path)]:
                found.setdefault(entry.path, entry)
    return [found[path] for path in sorted(found)]


def _published(url: str, folder: Path) -> Repository | None:
    """Return the data set that was downloaded from ``hf://datasets/organization/name``."""
    parts = url.removeprefix("hf://datasets/").strip("/").split("/")
    if not url.startswith("hf://datasets/") or len(parts) < 2:
        return None
    below = "/".join(part for part in parts[2:] if part != "data" and not (folder / part).is_file())
    return Repository.at(folder, "/".join(filter(None, (parts[1].partition("@")[0], below))))


def _downloaded(entry: Input, url: str, folder: Path) -> Input:
    """Make an input below a URL. A file at the URL itself was downloaded under its own name."""
    below = entry.path.relative_to(folder).as_posix()
    name = url.rpartition("/")[2]
    source = name if entry.path == folder or entry.source == folder.name else entry.source
    return replace(
        entry,
        source=source,
        folder_source=name if entry.folder_source == folder.name else entry.folder_source,
        url=url if below in (".", name) else f"{url}/{below}",
    )


def environment_inputs(limit_bytes: int | None) -> list[Input]:
    """List the documents of the installed Python environment."""
    return [
        Input(Path(os.path.abspath(file.file)), SOURCE, SOURCE, file.path, package=file)  # noqa: PTH100
        for file in package_files(limit_bytes)
    ]


def path_text(path: Path) -> str:
    """Write a path as text for a table: bytes that are not UTF-8 become escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _expand(text: str) -> list[Path]:
    if not os.path.lexists(text) and glob.has_magic(text):
        matches = sorted(glob.glob(os.path.expanduser(text), recursive=True))  # noqa: PTH111, PTH207
        if not matches:
            raise UsageError(f"nothing matches {text}")
        return [_absolute(match) for match in matches]
    path = _absolute(text)
    if not path.exists():
        raise UsageError(f"no such file or folder: {text}", hint=_near(path))
    if not (path.is_file() or path.is_dir()):
        raise UsageError(f"{text} is a pipe or a device", hint="write it to a file first: a file is read twice")
    return [path]


def _absolute(text: str) -> Path:
    # Not resolve(): a link's own name says more than its target's (Hugging Face's cache links names to checksums).
    return Path(os.path.abspath(os.path.expanduser(text)))  # noqa: PTH100, PTH111


def _near(path: Path) -> str | None:
    """Suggest names like the missing one, where its folder exists."""
    folder = path.parent
    while not folder.is_dir():
        path, folder = folder, folder.parent
    hint = did_you_mean(path.name, [entry.name for entry in folder.iterdir()])
    return f"in {folder}: {hint}" if hint else None


def _file(path: Path) -> Input:
    if path.name == "index.json" and path.parent in find_folders(path.parent):
        return _mds(path.parent)
    source = repository.source(path) if (repository := Repository.above(path)) else _stem(path)
    return Input(path, source, source, path.name, refused=folders.table_above(path))


def _walk(root: Path, repository: Repository | None = None, *, follow_links: bool = False) -> Iterator[Input]:
    shard_folders = find_folders(root)
    above = {parent for folder in shard_folders for parent in folder.parents}
    yield from (_mds(folder) for folder in shard_folders)
    known = [repository] if repository else []
    for folder, inside, files in os.walk(root):
        here = Path(folder)
        if CATALOG in files:
            inside.clear()
            continue
        if (table := folders.table_format(here, inside)) is not None:
            inside.clear()
            yield Input(here, here.name, here.name, path_text(here.relative_to(root)), refused=table)
            continue
        inside[:] = sorted(name for name in inside if not name.startswith(".") and name != "__pycache__")
        if (kept := folders.hub_folders(here, inside)) is not None:
            if here.name == "snapshots":
                gone = [here / name for name in inside if name not in kept]
                yield from (Input(each, each.name, each.name, each.name, left_out=folders.OLDER) for each in gone)
            inside[:] = kept
        if found := Repository.at(here) if not repository else None:
            known.append(found)
        mine = next((each for each in reversed(known) if here.is_relative_to(each.root)), None)
        saved = folders.saved_files(here, files)
        for name in sorted(files):
            path = here / name
            # An index above folders of shards merges theirs; it is not a document.
            part = here in shard_folders and ".mds" in name
            index = name == "index.json" and (here in shard_folders or here in above)
            if part or index or name.startswith(".") or not path.is_file():
                continue
            entry = Input(path, _stem(path), root.name or "root", path_text(path.relative_to(root)))
            yield _judged(entry, root, mine, saved, follow_links=follow_links)


def _judged(
    entry: Input, root: Path, repository: Repository | None, saved: Sequence[str] | None, *, follow_links: bool
) -> Input:
    """Leave a file out that is not a document, and name the source of one that is part of a data set."""
    path = entry.path
    if not follow_links and folders.leaves(path, root):
        return replace(entry, left_out=folders.LEAVES)
    if saved is not None:
        source = folders.saved_source(path.parent)
        reason = None if path.name in saved else folders.NO_DATA
        return replace(entry, source=source, folder_source=source, left_out=reason)
    if repository is None:
        return entry
    source = repository.source(path)
    reason = None if repository.is_data(path) else folders.NO_DATA
    return replace(entry, source=source, folder_source=source, left_out=reason)


def _mds(folder: Path) -> Input:
    return Input(folder, folder.name, folder.name, folder.name, is_mds=True)


def _stem(path: Path) -> str:
    """Return a file's name up to its first dot; without the numbers of a shard, or each would be a source.

    A part that is only numbered has its folder's name.
    """
    name = path_text(Path(path.name))
    stem = (name[0] + name[1:].split(".")[0]) if name else "root"
    if _SHARD.search(stem):
        return _SHARD.sub("", stem) or stem
    if _PART.fullmatch(stem) and not _YEAR.fullmatch(stem):
        folder = path.parents[len(_hive_folders(path))]
        return path_text(Path(folder.name)) or "root"
    return stem


def _hive_folders(path: Path) -> list[str]:
    """Return the ``key=value`` folders right above a file, from the outermost."""
    names = (path_text(Path(parent.name)) for parent in path.parents)
    return list(itertools.takewhile(_HIVE.fullmatch, names))[::-1]


def _column(folder: str) -> tuple[str, str | None]:
    name, _, value = folder.partition("=")
    return unquote(name), None if value == "__HIVE_DEFAULT_PARTITION__" else unquote(value)
