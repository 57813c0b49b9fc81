"""Where an export goes: a folder, or a URL: S3, Google Cloud Storage, HDFS, and what else fsspec knows.

An export is assembled in a local folder of links, then put in place. A folder is renamed, so it is there as a whole or
not at all. A URL gets the files one by one, ``manifest.json`` last: a shard's name has its checksum, so what is there
under its name and of its size is not sent again, after a kill or for another share.

``lake.remote`` opens the URLs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
import uuid
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pyarrow import fs

from udfs.errors import CuveeError, UsageError
from warehouse.export import manifest as manifests
from warehouse.export.manifest import Manifest
from warehouse.export.store import stored
from warehouse.lake.remote import file_system

#: The name that the manifest has at a URL while files are being sent.
UNFINISHED = "unfinished.json"
#: Files sent at a time. Each is read and sent in pieces.
CONNECTIONS = 8


def parse_destination(out: str | Path) -> Destination:
    """Return the destination that ``--out`` names. Raises UsageError for a URL that nothing here can read."""
    text = str(out)
    if "://" not in text:
        return FolderDestination(Path(out).absolute())
    if text.startswith("file://"):
        return FolderDestination(Path(urlsplit(text).path))
    return UrlDestination(text.rstrip("/"))


@dataclass(frozen=True)
class FolderDestination:
    """A folder of this machine."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def check(self, mixture: str) -> None:
        """Refuse a folder with anything in it but an export of the same mixture. Raises UsageError."""
        if not self.path.exists() or (self.path.is_dir() and not any(self.path.iterdir())):
            return
        try:
            other = self.manifest().mixture
        except UsageError as error:
            hint = "choose another --out, or remove it"
            raise UsageError(f"{self} is not empty and no export", hint=hint) from error
        _same(self, other, mixture)

    def check_free_space(self, store: Path, size: int) -> None:
        """Raise CuveeError if the export must be copied, for it is on another file system, and does not fit."""
        there = next(folder for folder in self.path.parents if folder.exists())
        if there.stat().st_dev == store.stat().st_dev:
            return
        free = shutil.disk_usage(there).free
        if free < size:
            raise CuveeError(
                f"{there} has {free >> 20:,} MiB free; this export needs about {size >> 20:,} MiB there",
                hint="free some space, or choose an --out on the lake's file system, where shards are linked",
            )

    def manifest(self) -> Manifest:
        """Read the export's manifest. Raises UsageError where there is none."""
        return Manifest.read(self.path)

    def present(self, export_id: str) -> Manifest | None:
        """Return the manifest, if this export is there and none of its files is missing or of another size."""
        try:
            manifest = self.manifest()
            if manifests.checksum(self.path / manifests.SAMPLES) != manifest.samples_checksum:
                return None
            indexes = {
                stream.path: (self.path / stream.path / "index.json").read_bytes() for stream in manifest.streams
            }
            found = {path: (self.path / path).stat().st_size for path in _files(indexes)}
            return manifest if _whole(manifest, export_id, indexes, found) else None
        except (CuveeError, OSError, ValueError, KeyError):
            return None

    @contextlib.contextmanager
    def draft(self, staging: Path) -> Iterator[Path]:
        """Make an empty hidden folder next to the export. Remove those of killed exports."""
        draft = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex[:8]}.cuvee")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            for leftover in self.path.parent.glob(f".{self.path.name}.*.cuvee"):
                shutil.rmtree(leftover)  # no other export runs now
            draft.mkdir()
        except OSError as error:
            raise UsageError(f"cannot write to {self}: {error.strerror}", hint="choose another --out") from error
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def publish(self, draft: Path) -> None:
        """Put a draft in place of an older export, if there is one."""
        if self.path.exists() and any(self.path.iterdir()):
            old = draft.with_name(draft.name.replace(".cuvee", ".old.cuvee"))
            self.path.rename(old)
            draft.rename(self.path)
            shutil.rmtree(old)
        else:
            draft.rename(self.path)  # replaces an empty folder

    def stream(self, path: str) -> dict[str, str]:
        """Return where Streaming finds a stream."""
        return {"local": str(self.path / path)}

    @contextlib.contextmanager
    def reading(self) -> Iterator[ExportReader]:
        """Open the files of the export for reading."""
        yield ExportReader(self, self.path)


@dataclass(frozen=True)
class UrlDestination:
    """A folder at a URL."""

    url: str

    def __str__(self) -> str:
        return self.url

    @cached_property
    def _system(self) -> tuple[Any, str]:
        """The file system, an Arrow one, and the path in it."""
        try:
            return file_system(self.url)
        except OSError as error:
            raise self._failed("reach", error) from error

    def _failed(self, what: str, error: Exception) -> CuveeError:
        hint = "are the credentials set? for S3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT_URL"
        return CuveeError(f"cannot {what} {self}: {str(error).partition(chr(10))[0]}", hint=hint)

    def check(self, mixture: str) -> None:
        """Refuse a URL with anything in it but an export of the same mixture. Raises UsageError."""
        found = self._listing()
        name = manifests.FILE if manifests.FILE in found else UNFINISHED
        if found and name not in found:
            raise UsageError(f"{self} is not empty and no export", hint="choose another --out, or remove it")
        if found:
            _same(self, self._manifest(name).mixture, mixture)

    def check_free_space(self, store: Path, size: int) -> None:
        """Do nothing: a URL does not tell how much space is free."""

    def manifest(self) -> Manifest:
        """Read the export's manifest. Raises UsageError where there is none."""
        if manifests.FILE not in (found := self._listing()):
            unfinished = "an export that was not finished" if UNFINISHED in found else "not an export"
            raise UsageError(f"{self} is {unfinished}: no {manifests.FILE} in it", hint="make one with: cuvee export")
        return self._manifest(manifests.FILE)

    def _manifest(self, name: str) -> Manifest:
        return Manifest.parse(json.loads(self._bytes(name)), where=f"{self}/{name}")

    def present(self, export_id: str) -> Manifest | None:
        """Return the manifest, if this export is there and none of its files is missing or of another size."""
        found = self._listing()
        if manifests.FILE not in found or UNFINISHED in found or manifests.SAMPLES not in found:
            return None
        try:
            manifest = self.manifest()
            indexes = {stream.path: self._bytes(f"{stream.path}/index.json") for stream in manifest.streams}
            return manifest if _whole(manifest, export_id, indexes, found) else None
        except (CuveeError, ValueError, KeyError):
            return None

    @contextlib.contextmanager
    def draft(self, staging: Path) -> Iterator[Path]:
        """Make an empty folder on the lake's file system: shards are linked there."""
        draft = staging / "draft"
        draft.mkdir()
        yield draft

    def publish(self, draft: Path) -> None:
        """Send a draft's files, then remove those of an older export."""
        found = self._listing()
        files = {path.relative_to(draft).as_posix(): path for path in sorted(draft.rglob("*")) if path.is_file()}
        last = files.pop(manifests.FILE)
        shards = {name: path for name, path in files.items() if path.name.startswith("shard.")}
        try:
            self._send(UNFINISHED, last)
            self._remove({manifests.FILE} & found.keys())
            missing = {name: path for name, path in shards.items() if found.get(name) != path.stat().st_size}
            for group in (missing, {name: path for name, path in files.items() if name not in shards}):
                with ThreadPoolExecutor(CONNECTIONS) as pool:
                    list(pool.map(self._send, group.keys(), group.values()))
            self._send(manifests.FILE, last)
            self._remove({UNFINISHED} | found.keys() - files.keys() - {manifests.FILE}, kept=files.keys())
        except OSError as error:
            raise self._failed("write to", error) from error

    def _send(self, name: str, path: Path) -> None:
        system, root = self._system
        target = f"{root}/{name}"
        if system.type_name not in ("s3", "gcs"):  # these have no folders
            system.create_dir(target.rpartition("/")[0], recursive=True)
        fs.copy_files(str(path), target, destination_filesystem=system, use_threads=False)

    def _remove(self, names: set[str], kept: Collection[str] = ()) -> None:
        """Remove files; of folders that hold none of ``kept``, all."""
        system, root = self._system
        folders = {name.rpartition("/")[0] for name in names} - {"/".join(part) for part in _above(kept)} - {""}
        for name in sorted(names):
            if not kept or name.rpartition("/")[0] not in folders:
                system.delete_file(f"{root}/{name}")
        for folder in sorted(folders) if kept else ():
            system.delete_dir(f"{root}/{folder}")

    def _listing(self) -> dict[str, int]:
        """List every file there with its size."""
        system, root = self._system
        try:
            found = system.get_file_info(fs.FileSelector(root, allow_not_found=True, recursive=True))
        except OSError as error:
            raise self._failed("read", error) from error
        skip = len(root) + 1
        return {info.path[skip:]: info.size for info in found if info.type == fs.FileType.File}

    def _bytes(self, name: str) -> bytes:
        system, root = self._system
        try:
            with system.open_input_stream(f"{root}/{name}") as stream:
                data: bytes = stream.read()
                return data
        except OSError as error:
            raise self._failed("read", error) from error

    def stream(self, path: str) -> dict[str, str]:
        """Return where Streaming finds a stream."""
        return {"remote": f"{self}/{path}"}

    @contextlib.contextmanager
    def reading(self) -> Iterator[ExportReader]:
        """Open the files of the export for reading: each is fetched into a temporary folder."""
        with tempfile.TemporaryDirectory() as scratch:
            yield ExportReader(self, Path(scratch))

    def fetch(self, name: str, target: Path) -> None:
        """Copy a file from there. Raises CuveeError."""
        system, root = self._system
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            fs.copy_files(f"{root}/{name}", str(target), source_filesystem=system, use_threads=False)
        except OSError as error:
            raise self._failed("read", error) from error


Destination = FolderDestination | UrlDestination


@dataclass(frozen=True, slots=True)
class ExportReader:
    """Gives the files of an export as local ones, under ``folder``."""

    destination: Destination
    folder: Path

    def get(self, path: Path) -> Path:
        """Return a file of ``folder``, fetched if the export is at a URL. Raises CuveeError."""
        if isinstance(self.destination, UrlDestination):
            self.destination.fetch(path.relative_to(self.folder).as_posix(), path)
        return path

    def forget(self, path: Path) -> None:
        """Remove a fetched file that is not needed any more."""
        if isinstance(self.destination, UrlDestination):
            path.unlink(missing_ok=True)


def _same(destination: Destination, other: str, mixture: str) -> None:
    if other != mixture:
        raise UsageError(f"{destination} holds an export of {other}", hint="choose another --out, or remove it")


def _files(indexes: dict[str, bytes]) -> dict[str, int]:
    """Return the shards that indexes list: path to size."""
    files = {}
    for folder, index in indexes.items():
        for file in map(stored, json.loads(index)["shards"]):
            files[f"{folder}/{file['basename']}"] = int(file["bytes"])
    return files


def _above(names: Collection[str]) -> Iterator[tuple[str, ...]]:
    """Yield the folders that files are in, and those above."""
    for name in names:
        parts = tuple(name.split("/")[:-1])
        yield from (parts[:depth] for depth in range(len(parts) + 1))


def _whole(manifest: Manifest, export_id: str, indexes: dict[str, bytes], found: dict[str, int]) -> bool:
    """Check that this is the export, that its indexes are as they were written, and the sizes of all shards."""
    return (
        manifest.export_id == export_id
        and all(hashlib.sha256(indexes[stream.path]).hexdigest() == stream.checksum for stream in manifest.streams)
        and all(found.get(path) == size for path, size in _files(indexes).items())
    )
