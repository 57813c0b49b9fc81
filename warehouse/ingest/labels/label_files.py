"""Read labels from outside: what people, another model or a published table say becomes a labeler's answers.

    file ─▶ rows with labels as written ─▶ which document each row is about ─▶ codes ─▶ labels.<taxonomy>

- **Documents** are named by doc_id, by their text, by url or by the source's own id (``raw.occurrences``). The first
  two work for documents that the lake does not have yet. A row that names none, or a url of several, goes to
  raw.rejects.
- **Labels** are codes or names (``udfs.labels.taxonomies.external_labels``). An invalid label is NULL; ``raw`` keeps
  it as it was written, and why. Status is ``ok`` where every category has a label, ``unparsed`` where none has, else
  ``partial``.
- **The last word counts**: of several rows on one document in one file the last one; of several files the one that
  came into the lake last, document by document (``labelled_at``). Another content is another fingerprint, so older
  answers stay next to the new ones.
- **Again**: a file that the lake has changes nothing, unless it names documents that came meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from udfs.errors import CuveeError, LakeError, Location
from udfs.expensive import fingerprint
from warehouse.answers import store
from warehouse.ingest import known_files
from warehouse.ingest.commit import bounded_memory, stage_files
from warehouse.ingest.inputs import Input, path_text
from warehouse.ingest.known_files import FileStamp
from warehouse.ingest.labels.external_labeler import ExternalLabeler, LabelReader, LabelsReport
from warehouse.ingest.labels.label_matching import LabelMatcher
from warehouse.ingest.labels.label_tables import BrokenRow, label_columns, open_table
from warehouse.ingest.records import RAW_LIMIT, IngestOptions
from warehouse.ingest.unit import REJECT_FILE, FileEntry, open_writer
from warehouse.lake.commit import Staging
from warehouse.lake.lake import Lake

AUTHOR = "cuvee ingest"
FORMAT = "labels"

#: Documents whose labels are read together.
_ROWS = 1 << 16

#: Memory for DuckDB; more than that is spilled to the lake's staging folder.
_MEMORY = "1GB"

#: How many rows of a file were rejected when it was read; NULL if the lake does not have it.
_KNOWN = "select max(rejected) from lake.raw.files where file_id = ?"


class StrictLabelsError(LakeError):
    """Under --strict, a label could not be read or a row names no document."""


def ingest_labels(
    lake: Lake,
    inputs: Sequence[Input],
    labeler: ExternalLabeler,
    options: IngestOptions,
    advance: Callable[[float, str], None] = lambda *_: None,
) -> list[LabelsReport]:
    """Read files of labels and commit each as a whole; ``advance`` is told the bytes and the name of each.

    Raises LabelFileError for a file that is not a table of labels, StrictLabelsError under ``options.strict``; the
    files before it are in the lake.
    """
    reports = []
    with bounded_memory(lake, _MEMORY) as cursor, lake.staging() as staging:
        for entry in inputs:
            try:
                file = _LabelFile(lake, staging, cursor, entry, labeler=labeler, options=options)
                reports.append(file.take())
            except OSError as error:
                message = f"cannot be read: {error.strerror or error}"
                raise CuveeError(message, where=Location(str(entry.path))) from error
            advance(file.stamp.bytes, entry.path.name)
    return reports


class _LabelFile:
    """One file on its way into the lake."""

    def __init__(
        self, lake: Lake, staging: Staging, cursor: duckdb.DuckDBPyConnection, entry: Input, labeler: ExternalLabeler,
        options: IngestOptions,
    ) -> None:  # fmt: skip
        self.stamp = FileStamp.of(entry)
        self._lake, self._staging, self._cursor = lake, staging, cursor
        self._entry, self._labeler, self._options = entry, labeler, options
        self._report = LabelsReport(path_text(entry.path))

    def take(self) -> LabelsReport:
        """Read the file and commit what is new."""
        report = self._report
        checksum = known_files.checksum(self._entry)
        version = self._labeler.fingerprint(checksum, self._options)
        file_id = fingerprint(FORMAT, report.path, version, self._options.source)
        (known,) = self._cursor.execute(_KNOWN, [file_id]).fetchone() or (None,)
        if known == 0:
            report.unchanged = True
            return report
        table = open_table(self._cursor, self._entry.path)
        names = [category.name for category in self._labeler.taxonomy.categories]
        columns = label_columns(self._entry.path, table, names, self._options)
        matcher = LabelMatcher(self._cursor, columns, self._labeler.taxonomy, self._options.source)
        matcher.load(table.relation)
        report.hints |= matcher.match()
        answers = self._answers(matcher, version)
        rejects = self._rejects(matcher.unmatched(), table.broken, file_id)
        if FileStamp.of(self._entry) != self.stamp:
            raise OSError("it changed while it was read; run again")
        if self._options.strict and report.reasons:
            reason, count = report.reasons.most_common(1)[0]
            hint = report.hints.get(reason)
            raise StrictLabelsError(f"{count:,} times: {reason}", where=Location(report.path), hint=hint)
        if known is not None and not answers and known == report.rejected:
            report.unchanged = True
            return report
        row = FileEntry(
            file_id=file_id, path=report.path, bytes=self.stamp.bytes, checksum=checksum, format=FORMAT,
            source=self._labeler.name, modified_ns=self.stamp.modified_ns, rejected=report.rejected,
        )  # fmt: skip
        files = stage_files(self._staging, [row])
        with self._lake.commit(f"labels by {self._labeler.name}: {self._entry.path.name}", author=AUTHOR) as commit:
            if commit.sql(_KNOWN, [file_id]).fetchall() != [(known,)]:
                raise OSError("another process read it meanwhile; run again")
            for name in ("raw.files", "raw.rejects"):
                commit.sql(f"delete from {name} where file_id = ?", [file_id])
            commit.add("raw.files", [files])
            commit.add("raw.rejects", rejects)
            if answers:
                store.ensure(commit, self._labeler.store, self._labeler.columns)
                commit.add(self._labeler.store, answers)
        return report

    def _answers(self, matcher: LabelMatcher, version: str) -> list[Path]:
        """Write the answers that the store does not have yet; return the file, if there are any."""
        answered = None
        if store.exists(self._cursor, self._labeler.store):
            answered = f"select doc_id from lake.{self._labeler.store} where fingerprint = '{version}'"
        matcher.judge(answered)
        path = self._staging.file(self._labeler.store)
        reader = LabelReader(self._labeler, version, self._report)
        with open_writer(path, reader.schema) as writer:
            for batch in self._cursor.sql("from judged").to_arrow_reader(_ROWS):
                writer.write_table(reader.answers(batch))
        self._report.overruled, self._report.unknown, reasons = matcher.counts()
        self._report.reasons.update(reasons)
        if self._report.answers:
            return [path]
        path.unlink()
        return []

    def _rejects(self, unmatched: pa.Table, broken: list[BrokenRow], file_id: str) -> list[Path]:
        """Write the rows that are about no document."""
        self._report.rejected = unmatched.num_rows + len(broken)
        self._report.reasons.update(reason for _, reason, _ in broken)
        if not self._report.rejected:
            return []
        tables = [unmatched]
        if broken:
            tables.append(pa.table([list(each) for each in zip(*broken, strict=True)], schema=unmatched.schema))
        table = pa.concat_tables(tables)
        file_ids = pa.repeat(file_id, table.num_rows)
        raw = pc.binary_slice(table["raw"], 0, RAW_LIMIT)
        table = pa.table([file_ids, table["position"], table["reason"], raw], schema=REJECT_FILE)
        path = self._staging.file("raw.rejects")
        pq.write_table(table, path, compression="zstd")
        return [path]
