"""Read the installed Python environment as documents: every machine with Python has some.

One document is one file of an installed distribution, or the description in its metadata. By kind:

    description     the long description (README) in METADATA
    licence         LICENSE, COPYING, NOTICE, AUTHORS and files in dist-info/licenses
    documentation   .md, .rst, .txt
    source          Python, Cython, C, C++, CUDA, Rust, Go, JavaScript, TypeScript, Fortran, SQL, shell, HTML, CSS

Left out: empty files, files over 256 KiB, and files whose lines are longer than 200 bytes on average in their first
64 KiB; those are data, or were written by a program. A document's URL is its package URL
(``pkg:pypi/numpy@2.1.3#numpy/linalg/_linalg.py``). With a limit of bytes, documents are taken in the order of the md5
of their URLs, so the choice depends only on what is installed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.policy import compat32
from importlib import metadata
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from warehouse.ingest.formats.text import read_text
from warehouse.ingest.record_builder import RecordBuilder
from warehouse.ingest.records import DocumentBatch, IngestOptions

SOURCE = "pypi"
MAX_FILE = 256 << 10
MAX_MEAN_LINE = 200

_DOCUMENTATION = frozenset((".md", ".rst", ".txt"))
_PYTHON = (".py", ".pyi", ".pyx", ".pxd")
_C = (".c", ".h", ".cc", ".cpp", ".hpp", ".cu", ".cuh")
_SOURCE = frozenset((*_PYTHON, *_C, ".rs", ".go", ".js", ".ts", ".f90", ".sql", ".sh", ".html", ".css"))
_LICENCE = re.compile(r"(licen[sc]e|copying|notice|authors)([._-].*)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PackageFile:
    """A file of an installed distribution that is a document."""

    file: Path
    url: str
    package: str
    version: str
    kind: str
    path: str
    licence: str | None
    bytes: int


def package_files(limit_bytes: int | None = None) -> list[PackageFile]:
    """List the documents of the environment, in the order of the md5 of their URLs, up to ``limit_bytes``.

    Descriptions, documentation and licences come first, up to half of the limit: there are few, and many sources.
    """
    found = {file.url: file for distribution in metadata.distributions() for file in _files(distribution)}
    ordered = sorted(found.values(), key=lambda file: (hashlib.md5(file.url.encode()).digest(), file.url))
    prose = [file for file in ordered if file.kind != "source"]
    chosen = _fitting(prose, None if limit_bytes is None else limit_bytes // 2)
    rest = None if limit_bytes is None else limit_bytes - sum(file.bytes for file in chosen)
    return chosen + _fitting([file for file in ordered if file.kind == "source"], rest)


def _fitting(files: list[PackageFile], limit_bytes: int | None) -> list[PackageFile]:
    """Take the first files, without those that programs wrote, that have at most ``limit_bytes`` together."""
    chosen: list[PackageFile] = []
    size = 0
    for file in files:
        if file.kind == "description" or _written_by_hand(file.file):
            size += file.bytes
            if limit_bytes is not None and size > limit_bytes:
                break
            chosen.append(file)
    return chosen


def read_package_file(file: PackageFile, options: IngestOptions) -> Iterator[DocumentBatch]:
    """Read the document of a package's file."""
    record = {
        options.url_field: file.url,
        options.id_field: file.path,
        "package": file.package,
        "version": file.version,
        "kind": file.kind,
        "path": file.path,
    }
    if file.licence:
        record["license"] = file.licence
    if file.kind != "description":
        yield from read_text(file.file, SOURCE, options, record=record)
        return
    builder = RecordBuilder(file.file, SOURCE, options)
    text = _description(file.file)
    builder.add_text(text.encode("utf-8", "replace"), len(text), 1, record=record)
    yield builder.take()


def _files(distribution: metadata.Distribution) -> Iterator[PackageFile]:
    meta = distribution.metadata
    name, version = meta["Name"], distribution.version
    if not name or not version:
        return
    package = re.sub(r"[-_.]+", "-", name).lower()
    licence = _licence(meta)
    base = f"pkg:pypi/{package}@{quote(version, safe='.+!')}"
    for entry in distribution.files or ():
        path = PurePosixPath(entry)
        described = path.name == "METADATA" and path.parent.name.endswith(".dist-info")
        kind = "description" if described else _kind(path)
        if kind is None or ".." in path.parts or path.is_absolute():
            continue
        file = Path(str(entry.locate()))
        try:
            size = file.stat().st_size
            if described:
                size = len(_description(file).encode("utf-8", "replace"))
        except OSError:
            continue
        if 0 < size <= MAX_FILE and file.is_file():
            url = base if described else f"{base}#{quote(str(path))}"
            yield PackageFile(
                file=file, url=url, package=package, version=version, kind=kind, path=str(path), licence=licence,
                bytes=size,
            )  # fmt: skip


def _kind(path: PurePosixPath) -> str | None:
    information = any(part.endswith((".dist-info", ".egg-info")) for part in path.parts)
    if _LICENCE.match(path.name) and path.suffix.lower() not in (".py", ".pyc", ".pyi"):
        return "licence"
    if information:
        return "licence" if "licenses" in path.parts else None
    suffix = path.suffix.lower()
    return "documentation" if suffix in _DOCUMENTATION else "source" if suffix in _SOURCE else None


def _description(file: Path) -> str:
    """Return the body of a METADATA file, or its Description field; empty if the package gives none."""
    message = message_from_bytes(file.read_bytes(), policy=compat32)
    body = message.get_payload(decode=True)
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else ""
    text = text.strip() or str(message.get("Description") or "").strip()
    return "" if text == "UNKNOWN" else text.replace("\0", "")


def _licence(meta: metadata.PackageMetadata) -> str | None:
    """Return the licence as the package names it: an SPDX expression, a short name, or the classifiers."""
    for name in ("License-Expression", "License"):
        text = "; ".join(meta.get_all(name) or ()).strip()
        if text and text != "UNKNOWN" and "\n" not in text and len(text) <= 100:
            return text
    classifiers = [
        value.rsplit(" :: ", 1)[-1] for value in meta.get_all("Classifier") or () if value.startswith("License ::")
    ]
    return "; ".join(sorted(classifiers)) or None


def _written_by_hand(file: Path) -> bool:
    """Tell whether a file looks like text that people write: its lines are short."""
    try:
        with file.open("rb") as handle:
            start = handle.read(64 << 10)
    except OSError:
        return False
    return len(start) <= MAX_MEAN_LINE * (start.count(b"\n") + 1) and b"\0" not in start
