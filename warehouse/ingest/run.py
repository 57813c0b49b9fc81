"""Ingest inputs: read files, and commit their documents.

The format of a file is detected by its content. The file is read batch by batch, staged, and committed whole. Files
that fit into memory share a unit of commit, a larger one has its own. Nothing of a unit is in the lake before its
commit, everything after.
"""

from __future__ import annotations

import gc
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any

from udfs.errors import CuveeError
from warehouse.ingest import known_files
from warehouse.ingest.commit import bounded_memory, commit_unit
from warehouse.ingest.formats.archives import IN_FILE, read_members
from warehouse.ingest.formats.arrow_files import read_arrow, read_orc
from warehouse.ingest.formats.delimited import read_delimited
from warehouse.ingest.formats.detection import DetectedFormat, detect
from warehouse.ingest.formats.environment import read_package_file
from warehouse.ingest.formats.jsonl import read_json, read_jsonl
from warehouse.ingest.formats.mds import read_mds
from warehouse.ingest.formats.parquet import read_parquet
from warehouse.ingest.formats.text import read_text
from warehouse.ingest.inputs import Input
from warehouse.ingest.known_files import FileStamp, KnownFiles
from warehouse.ingest.records import DocumentBatch, IngestOptions, RejectCollector
from warehouse.ingest.unit import CommitUnit, FileEntry
from warehouse.ingest.web.pages import read_arc, read_html, read_warc
from warehouse.lake.commit import Staging
from warehouse.lake.lake import Lake

#: A file whose rows take more than this is a unit of its own.
SMALL = 32 << 20

#: The shared unit is committed at this size, number of files or age, whichever comes first.
UNIT_BYTES = 512 << 20
UNIT_FILES = 20_000
UNIT_SECONDS = 60.0

#: This much of a file that is not a document is kept with its rejection.
_HEAD = 4 << 10

AUTHOR = "cuvee ingest"

#: Formats of files that are one document or none.
WHOLE = ("text", "html", "empty", "unknown")

_READERS = {
    "jsonl": read_jsonl,
    "json": read_json,
    "parquet": read_parquet,
    "warc": read_warc,
    "arc": read_arc,
    "mds": read_mds,
    "csv": read_delimited,
    "arrow": read_arrow,
    "arrow_stream": read_arrow,
    "orc": read_orc,
}


@dataclass(frozen=True, slots=True)
class FileReport:
    """The result of one input.

    ``outcome`` is ingested, unchanged, touched, copy (of ``note``), elsewhere (another process ingested it meanwhile),
    left out (it is not a document), or unreadable (for the reason in ``note``; it is not in the lake, and the next run
    tries again).
    """

    path: str
    outcome: str
    format: str | None = None
    rows: int = 0
    duplicates: int = 0
    rejected: int = 0
    note: str | None = None
    forgotten: int = 0
    passed_over: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class IngestReport:
    """The results of all inputs, in the order in which they were done.

    ``reasons`` counts what was rejected, ``notes`` what was not kept as it was found next to a text that was.
    """

    files: list[FileReport] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    def count(self, *outcomes: str) -> int:
        """Count the files with one of these outcomes."""
        return sum(file.outcome in outcomes for file in self.files)

    @property
    def rows(self) -> int:
        """The number of occurrences that were added."""
        return sum(file.rows for file in self.files)

    @property
    def documents(self) -> int:
        """The number of documents that were added."""
        return sum(file.rows - file.duplicates for file in self.files)

    @property
    def rejected(self) -> int:
        """The number of records that went to raw.rejects."""
        return sum(file.rejected for file in self.files)

    @property
    def passed_over(self) -> Counter[str]:
        """The number of records that are no documents, though nothing is wrong with them, by reason."""
        return sum((Counter(file.passed_over) for file in self.files), Counter())

    @property
    def forgotten(self) -> int:
        """The number of records left out because their text was forgotten."""
        return sum(file.forgotten for file in self.files)


def ingest(
    lake: Lake, inputs: Sequence[Input], options: IngestOptions, advance: Callable[[float, str], None] = lambda *_: None
) -> IngestReport:
    """Read every input that the lake does not have and commit it.

    ``advance`` is told the bytes of each finished input and its name. Under ``options.strict`` the first record that
    cannot be read raises StrictError: what was complete before it is committed, nothing of its file is.
    """
    with ExitStack() as stack:
        stack.enter_context(bounded_memory(lake))
        stack.enter_context(_without_cycles())
        staging = stack.enter_context(lake.staging())
        options = replace(options, scratch=staging.folder)
        run = _Run(lake, staging, options, KnownFiles(lake, inputs, options))
        try:
            for entry in inputs:
                size = run.take(entry)
                advance(size, entry.path.name)
        finally:
            run.finish()
        return run.report


@contextmanager
def _without_cycles() -> Iterator[None]:
    """Pause the search for reference cycles: decoded records have none, and looking costs 4 % of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _Run:
    def __init__(self, lake: Lake, staging: Staging, options: IngestOptions, known: KnownFiles) -> None:
        self._lake, self._staging, self._options, self._known = lake, staging, options, known
        self._shared = CommitUnit(staging)
        self._pool = ThreadPoolExecutor(1)
        self._touched: list[tuple[int, str]] = []
        self.report = IngestReport()

    def take(self, entry: Input) -> int:
        """Ingest one input unless it is known; return its size in bytes."""
        path = entry.place
        if entry.refused or entry.left_out:
            outcome = "unreadable" if entry.refused else "left out"
            self.report.files.append(FileReport(path, outcome, note=entry.refused or entry.left_out))
            return 0
        try:
            stamp = FileStamp.of(entry)
            if self._known.unchanged(entry, stamp):
                self.report.files.append(FileReport(path, "unchanged"))
                return stamp.bytes
            # The checksum decides whether the file is new; its beginning is read meanwhile, as if it were.
            waiting = self._pool.submit(known_files.checksum, entry)
            kind = _detect(entry, self._options)
            source = self._options.source or (entry.folder_source if kind.format in WHOLE else entry.source)
            start = _Start(_open(entry, kind, source, replace(self._options, columns=entry.columns)))
            checksum = waiting.result()
            file_id = known_files.file_id(path, checksum, self._options, kind.format)
            if (known := self._is_known(path, kind, stamp, checksum=checksum, file_id=file_id)) is not None:
                self.report.files.append(known)
                return stamp.bytes
            row = FileEntry(
                file_id=file_id, path=path, bytes=stamp.bytes, checksum=checksum, format=kind.format, source=source,
                modified_ns=stamp.modified_ns,
            )  # fmt: skip
            self._add(entry, row, start, stamp)
        except OSError as error:
            self.report.files.append(FileReport(path, "unreadable", note=error.strerror or str(error)))
            return 0
        self._known.remember(path, checksum, file_id, source, kind.format)
        return stamp.bytes

    def _is_known(
        self, path: str, kind: DetectedFormat, stamp: FileStamp, checksum: str, file_id: str
    ) -> FileReport | None:
        if self._known.touched(path, file_id):
            self._touched.append((stamp.modified_ns, file_id))
            return FileReport(path, "touched", kind.format)
        if kind.format not in WHOLE and (twin := self._known.copy_of(checksum)) is not None:
            return FileReport(path, "copy", kind.format, note=twin)
        return None

    def finish(self) -> None:
        """Commit what is complete."""
        self._pool.shutdown(cancel_futures=True)
        self._commit(self._shared)
        if self._touched:
            with self._lake.commit(f"note {len(self._touched)} touched files", author=AUTHOR) as commit:
                for modified_ns, file_id in self._touched:
                    commit.sql("update raw.files set modified_ns = ? where file_id = ?", [modified_ns, file_id])

    def _add(self, entry: Input, row: FileEntry, start: _Start, stamp: FileStamp) -> None:
        if start.error is not None:
            raise start.error
        if not start.whole:
            unit = CommitUnit(self._staging)
            try:
                for part in itertools.chain(start.drain(), start.rest):
                    unit.add(row, part)
                    self._note(part)
                self._check(entry, stamp)
            except BaseException:
                unit.discard()
                raise
            unit.entries.append(row)
            return self._commit(unit)
        self._check(entry, stamp)
        try:
            for part in start.batches:
                self._shared.add(row, part)
                self._note(part)
            self._shared.entries.append(row)
        except BaseException:
            # Rows of half a file must not be committed with the files before it: these are read again next time.
            self._shared.discard()
            self._shared = CommitUnit(self._staging)
            raise
        if (
            self._shared.size >= UNIT_BYTES
            or len(self._shared.entries) >= UNIT_FILES
            or monotonic() - self._shared.started >= UNIT_SECONDS
        ):
            self._commit(self._shared)
            self._shared = CommitUnit(self._staging)
        return None

    def _note(self, batch: DocumentBatch) -> None:
        self.report.reasons.update(_general(reject.reason) for reject in batch.rejects)
        self.report.notes.update(batch.notes)

    @staticmethod
    def _check(entry: Input, stamp: FileStamp) -> None:
        """Check that the file did not change: its checksum was taken before it was read."""
        if FileStamp.of(entry) != stamp:
            raise OSError("it changed while it was read; run again")

    def _commit(self, unit: CommitUnit) -> None:
        unit.close()
        if not unit.entries:
            return
        names = [entry.path.rsplit("/", 1)[-1] for entry in unit.entries]
        message = f"ingest {names[0]}" if len(names) == 1 else f"ingest {len(names)} files: {names[0]}, …"
        taken = commit_unit(self._lake, unit, message, AUTHOR)
        elsewhere = {entry.file_id for entry in taken}
        for entry in unit.entries:
            report = FileReport(entry.path, "elsewhere", entry.format)
            if entry.file_id not in elsewhere:
                counts = (entry.rows, entry.duplicates, entry.rejected)
                left_out: dict[str, Any] = {"forgotten": entry.forgotten, "passed_over": +entry.passed_over}
                report = FileReport(entry.path, "ingested", entry.format, *counts, **left_out)
            self.report.files.append(report)


class _Start:
    """The first batches of a file, up to SMALL bytes; all of them if ``whole``. An error is kept for later."""

    def __init__(self, batches: Iterator[DocumentBatch]) -> None:
        self.batches: list[DocumentBatch] = []
        self.rest = batches
        self.whole = False
        self.error: Exception | None = None
        size = 0
        try:
            for batch in batches:
                self.batches.append(batch)
                size += batch.size
                if size > SMALL:
                    return
        except (CuveeError, OSError) as error:
            self.error = error
        self.whole = True

    def drain(self) -> Iterator[DocumentBatch]:
        """Yield the batches, each released as it is taken."""
        while self.batches:
            yield self.batches.pop(0)


def _detect(entry: Input, options: IngestOptions) -> DetectedFormat:
    if entry.is_mds:
        return DetectedFormat("mds")
    if entry.package is not None:
        return DetectedFormat("text")
    return detect(entry.path, text_field=options.text_field, delimiter=options.delimiter)


def _open(entry: Input, kind: DetectedFormat, source: str, options: IngestOptions) -> Iterator[DocumentBatch]:
    if entry.package is not None:
        return read_package_file(entry.package, options)
    return _read_file(entry.path, entry.name, kind, source, options)


def _read_file(
    path: Path, name: str, kind: DetectedFormat, source: str, options: IngestOptions
) -> Iterator[DocumentBatch]:
    if kind.format == "text":
        return read_text(path, source, options, name=name)
    if kind.format == "html":
        return read_html(path, source, options, name=name)
    if kind.format in ("zip", "tar"):
        return read_members(path, source, options, _read_file)
    if kind.format in _READERS:
        return _READERS[kind.format](path, source, options)
    rejects = RejectCollector(path, options.strict)
    if kind.reason:
        with path.open("rb") as handle:
            rejects.add(0, kind.reason, handle.read(_HEAD))
    return iter([rejects.batch()])


def _general(reason: str) -> str:
    """Remove from a reason what differs from record to record, for counting."""
    return reason.split(IN_FILE)[0].split(" at offset ")[0].split(" (the first ")[0].split(": byte 0x")[0]
