"""Find the files that a request names: paths, globs, folders and URLs become a list of inputs.

A folder is searched with all its subfolders, without hidden files and folders (``.git``), ``__pycache__`` and lakes.
An MDS folder is one input; its shards are not inputs of their own. Symbolic links to files are followed, those to
folders are not.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from udfs.errors import UsageError, did_you_mean
from warehouse.ingest.formats.environment import SOURCE, PackageFile, package_files
from warehouse.lake.lake import CATALOG
from warehouse.lake.remote import fetch, is_url
from warehouse.mds.index import find_folders

_SHARD = re.compile(r"-\d+-of-\d+$")


@dataclass(frozen=True, slots=True)
class Input:
    """A file or an MDS folder to read.

    ``source`` is the source of its documents unless the caller or the record names another. ``folder_source`` is that
    of a text file found in a folder, which shares one with its neighbours. ``name`` is the path below what the caller
    named. ``url`` is where a file was downloaded from.
    """

    path: Path
    source: str
    folder_source: str
    name: str
    is_mds: bool = False
    package: PackageFile | None = None
    url: str | None = None

    @property
    def place(self) -> str:
        """Its path in raw.files."""
        return self.url or path_text(self.path)


def find_inputs(paths: Sequence[str], downloads: Path | None = None) -> list[Input]:
    """Find all inputs that paths, folders, globs and URLs name, each once, in the order of their paths.

    Files at URLs are downloaded into folders in ``downloads``; without one, a URL is a path. Raises UsageError for a
    path that does not exist and for a glob that matches nothing, CuveeError for a URL that cannot be read.
    """
    found: dict[Path, Input] = {}
    for number, text in enumerate(paths):
        if downloads is not None and is_url(text) and not os.path.lexists(text):
            folder = downloads / str(number)
            fetch(text, folder)
            for entry in _walk(folder):
                found[entry.path] = _downloaded(entry, text.rstrip("/"), folder)
            continue
        for path in _expand(text):
            for entry in _walk(path) if path.is_dir() else [_file(path)]:
                found.setdefault(entry.path, entry)
    return [found[path] for path in sorted(found)]


def _downloaded(entry: Input, url: str, folder: Path) -> Input:
    """Make an input below a URL. A file at the URL itself was downloaded under its own name."""
    below = entry.path.relative_to(folder).as_posix()
    name = url.rpartition("/")[2]
    source = name if entry.path == folder else entry.source
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
    return Input(path, _stem(path), _stem(path), path.name)


def _walk(root: Path) -> Iterator[Input]:
    shard_folders = find_folders(root)
    above = {parent for folder in shard_folders for parent in folder.parents}
    yield from (_mds(folder) for folder in shard_folders)
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        if CATALOG in files:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__pycache__")
        for name in sorted(files):
            path = here / name
            # An index above folders of shards merges theirs; it is not a document.
            part = here in shard_folders and ".mds" in name
            index = name == "index.json" and (here in shard_folders or here in above)
            if not (part or index or name.startswith(".")) and path.is_file():
                yield Input(path, _stem(path), root.name or "root", path_text(path.relative_to(root)))


def _mds(folder: Path) -> Input:
    return Input(folder, folder.name, folder.name, folder.name, is_mds=True)


def _stem(path: Path) -> str:
    """Return a file's name up to its first dot, without the numbers of a shard, or each would be a source."""
    name = path_text(Path(path.name))
    stem = (name[0] + name[1:].split(".")[0]) if name else "root"
    return _SHARD.sub("", stem) or stem
