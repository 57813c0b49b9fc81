"""Read tar and zip archives of files of any other format, and WebDataset shards.

Each file inside is unpacked into the lake's staging while it is read. Positions count the records of the whole archive;
a record's metadata has the name of its file under ``member``. Files of one name with several endings are one sample of
a WebDataset: ``000017.json`` has the fields, ``000017.txt`` the text, and other files are named with their size.
"""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeAlias

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from udfs.errors import Location, first_line
from warehouse.ingest.bytestream import BlockFile, blocks
from warehouse.ingest.formats.detection import DetectedFormat, detect
from warehouse.ingest.formats.jsonl import add_json
from warehouse.ingest.record_builder import RecordBuilder
from warehouse.ingest.records import (
    MAX_RECORD,
    OCCURRENCES,
    DocumentBatch,
    IngestOptions,
    Reject,
    RejectCollector,
    StrictError,
)

#: What is written between a reason and the name of the file in the archive.
IN_FILE = ", in the file "

#: A reader of one file inside: its path, its name in the archive, its format, the source.
Reader: TypeAlias = "Callable[[Path, str, DetectedFormat, str, IngestOptions], Iterator[DocumentBatch]]"

#: What zip archives of programs have inside, and what they are.
_PROGRAMS = {
    "[Content_Types].xml": "an Office document: extract its text first",
    "mimetype": "an e-book or OpenDocument file: extract its text first",
    "META-INF/MANIFEST.MF": "a Java archive",
    "data.pkl": "a checkpoint of PyTorch",
}
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)


@dataclass(frozen=True, slots=True)
class _Member:
    """A file inside an archive."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]

    @property
    def key(self) -> str:
        """What the files of one sample share: the path up to the first dot of the name."""
        path = PurePosixPath(self.name)
        return str(path.with_name(path.name.split(".")[0] or path.name))

    @property
    def ending(self) -> str:
        """The name behind its first dot."""
        return PurePosixPath(self.name).name.partition(".")[2].lower()


def read_members(path: Path, source: str, options: IngestOptions, reader: Reader) -> Iterator[DocumentBatch]:
    """Read the documents of the files in an archive."""
    rejects = RejectCollector(path, options.strict)
    last = 0
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        try:
            for sample in _samples(path, Path(scratch)):
                name, before = sample[0][0].name, last
                try:
                    for batch in _read(sample, source, options, reader):
                        moved = _moved(batch, name, before)
                        last = max(last, _last(moved))
                        yield moved
                except StrictError as error:
                    line = error.where.line if error.where else None
                    where = Location(f"{path}/{name}", line)
                    raise StrictError(error.message, where=where, hint=error.hint) from error
        except _ProgramError as error:
            rejects.add(0, str(error))
        except _DAMAGED as error:
            message = first_line(error)
            rejects.add(last + 1 if last else 0, f"the archive is damaged or cut off: {message}; nothing more is read")
    yield rejects.batch()


class _ProgramError(Exception):
    """A zip archive is a file of some program."""


#: A member and where it was unpacked.
_Unpacked: TypeAlias = "tuple[_Member, Path]"


def _samples(path: Path, scratch: Path) -> Iterator[list[_Unpacked]]:
    """Yield the unpacked files, those of one name together. They are there until the next is asked for."""
    with path.open("rb") as handle:
        is_zip = handle.read(2) == b"PK"
    members = _zip_members(path) if is_zip else _tar_members(path)
    with closing(members):
        waiting: list[_Unpacked] = []
        for number, member in enumerate(members):
            if waiting and waiting[0][0].key != member.key:
                yield from _grouped(waiting)
                waiting = []
            target = scratch / str(number) / (PurePosixPath(member.name).name[-200:] or "file")
            target.parent.mkdir()
            with member.open() as packed, target.open("wb") as file:
                shutil.copyfileobj(packed, file, 1 << 20)
            waiting.append((member, target))
        if waiting:
            yield from _grouped(waiting)


def _grouped(files: list[_Unpacked]) -> Iterator[list[_Unpacked]]:
    """Yield files as one sample if they are one, else each by itself; then remove them."""
    endings = [member.ending for member, _ in files]
    if len(files) > 1 and len(set(endings)) == len(files) and ("json" in endings or "txt" in endings):
        yield files
    else:
        yield from ([file] for file in files)
    for _, path in files:
        shutil.rmtree(path.parent, ignore_errors=True)


def _zip_members(path: Path) -> Generator[_Member, None, None]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        for inside, what in _PROGRAMS.items():
            if any(name == inside or name.endswith(f"/{inside}") for name in names[:50]):
                raise _ProgramError(what)
        if names and all(name.endswith(".npy") for name in names):
            raise _ProgramError("arrays of NumPy: write them as Parquet first")
        for info in archive.infolist():
            if not info.is_dir() and _is_wanted(info.filename):
                yield _Member(info.filename, info.file_size, lambda info=info: archive.open(info))  # type: ignore[misc]


def _tar_members(path: Path) -> Generator[_Member, None, None]:
    with closing(blocks(path)) as stream:
        file = BlockFile(stream)
        with tarfile.open(fileobj=io.BufferedReader(file, 1 << 20), mode="r|") as archive:
            for info in archive:
                if info.isreg() and _is_wanted(info.name):
                    yield _Member(info.name, info.size, lambda info=info: _extracted(archive, info))  # type: ignore[misc]
        if file.damage is not None:
            raise OSError(file.damage.message)


def _extracted(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    found = archive.extractfile(info)
    assert found is not None
    return found


def _is_wanted(name: str) -> bool:
    """Tell whether a file is looked at: not hidden, and not what macOS puts into archives."""
    return not any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts if part != ".")


def _read(files: list[_Unpacked], source: str, options: IngestOptions, reader: Reader) -> Iterator[DocumentBatch]:
    member, path = files[0]
    if len(files) > 1:
        yield from _read_sample(files, source, options)
        return
    kind = detect(path, text_field=options.text_field, delimiter=options.delimiter)
    if kind.format in ("zip", "tar"):
        kind = DetectedFormat("unknown", "an archive inside an archive: unpack it first")
    yield from reader(path, member.name, kind, source, options)


def _read_sample(files: list[_Unpacked], source: str, options: IngestOptions) -> Iterator[DocumentBatch]:
    """Read the files of one sample as one record."""
    builder = RecordBuilder(files[0][1], source, options)
    found = {member.ending: (member, path) for member, path in files}
    record: dict[str, Any] = {}
    try:
        if "json" in found:
            record = orjson.loads(_content(found.pop("json")))
        if "txt" in found and isinstance(record, dict) and options.text_field not in record:
            record[options.text_field] = _content(found.pop("txt")).decode("utf-8-sig")
        if not isinstance(record, dict):
            raise TypeError("its JSON is no object")
        record.setdefault(options.id_field, files[0][0].key)
        others = {ending: member.size for ending, (member, _) in found.items()}
        add_json(builder, orjson.dumps({**record, **({"files": others} if others else {})}), 1)
    except (ValueError, TypeError) as error:
        builder.rejects.add(1, f"no sample: {error}")
    yield builder.take()


def _content(file: _Unpacked) -> bytes:
    if file[0].size > MAX_RECORD:
        raise ValueError(f"{file[0].ending} is longer than {MAX_RECORD >> 20} MB")
    return file[1].read_bytes()


def _last(batch: DocumentBatch) -> int:
    """Return the last position in a batch, 0 if there is none."""
    found = batch.occurrences["position"]
    last: int = max(
        [0, *(reject.position for reject in batch.rejects), *([pc.max(found).as_py()] if len(found) else [])]
    )
    return last


def _moved(batch: DocumentBatch, member: str, before: int) -> DocumentBatch:
    """Count records on from the ``before`` that were read, and name their file."""
    rejects = [
        Reject(each.position and before + each.position, f"{each.reason}{IN_FILE}{member}", each.raw)
        for each in batch.rejects
    ]
    found = batch.occurrences
    if found.num_rows:
        metadata = found["metadata"].combine_chunks()
        inside = '{"member":' + orjson.dumps(member).decode()
        named = pc.binary_replace_slice(pc.fill_null(metadata.storage, "{}"), 0, 1, inside + ",")
        named = pc.replace_substring_regex(named, r",\}$", "}")
        columns = {
            "metadata": pa.ExtensionArray.from_storage(pa.json_(), named),
            "position": pc.add(found["position"].combine_chunks(), before),
        }
        for name, column in columns.items():
            index = OCCURRENCES.get_field_index(name)
            found = found.set_column(index, OCCURRENCES.field(index), column)
    return replace(batch, occurrences=found, rejects=rejects)
