"""Label by OpenAI's batch files: requests about documents without an answer, and responses as answers.

``write`` calls no model: a file of requests goes to a service, or to ``vllm run-batch``, and ``read`` takes the
responses. Answers go into the labeler's store as those of a build do.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Self

import duckdb
import pyarrow as pa

from udfs.atomic_files import open_atomically
from udfs.errors import UsageError
from udfs.expensive import INPUT_SCHEMA
from udfs.labels import batchfile
from udfs.labels.backends.wire import CHAT, Wire, endpoint, name_at_server
from udfs.labels.batchfile import Responses
from udfs.labels.label_document import BoundLabeler
from udfs.labels.labelers.labeler_registry import LabelerRegistry
from udfs.labels.labelers.prompt_batch import PromptMaker
from udfs.labels.labelers.prompted import PromptedLabeler
from warehouse.answers import store
from warehouse.answers.store import Retry
from warehouse.lake.connection import reading, relation_of, stream_texts
from warehouse.lake.lake import Lake

#: Documents whose prompts are made together.
_BATCH = 256

_AUTHOR = "cuvee batch"


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """The documents to take, and the size of files.

    At most ``limit`` documents are taken; answers with a status of ``retry`` do not count. With ``split`` a file has at
    most that many requests, and files are numbered: ``out-1.jsonl``.
    """

    limit: int | None = None
    split: int | None = None
    retry: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WrittenRequests:
    """The result of ``write``. ``answered`` documents had an answer; ``aside`` are those that need no model."""

    files: tuple[Path, ...]
    documents: int
    requests: int
    answered: int
    aside: int


@dataclass(frozen=True, slots=True)
class ReadResponses:
    """The result of ``read``: documents stored by status, and what was left out."""

    statuses: dict[str, int]
    answered: int
    incomplete: int
    unknown: int
    foreign: int
    repeated: int
    broken: int
    first_broken: int | None


def labeler(folders: Sequence[Path], name: str) -> PromptedLabeler:
    """Get a labeler of the project that batch files can be written for. Raises UsageError."""
    found = LabelerRegistry(folders).get(name)
    if not isinstance(found, PromptedLabeler) or found.spec.backend != "openai":
        raise UsageError(f"batch files are for labelers with the backend openai, which {name} does not have")
    path, _ = endpoint(found.spec)
    if path != CHAT:
        raise UsageError(
            f"the labeler {name} sends token ids, but batch files hold messages",
            hint="give it engine: {endpoint: chat}; the server then renders its own chat template",
        )
    return found


def write(
    lake: Lake,
    asked: PromptedLabeler,
    source: str,
    out: Path,
    options: BatchOptions,
    progress: Callable[[int], None] = lambda documents: None,
) -> WrittenRequests:
    """Write requests about the documents of ``source`` (a model's name, or SQL that yields a doc_id) without answer.

    Documents are taken in the order of their ids. A file appears when it is complete. A document with nothing to read
    abstains at once and is stored. Raises UsageError for a bad source.
    """
    bound = BoundLabeler(asked)
    wire = Wire(asked.spec, name_at_server(asked.spec), None)
    prompt_maker = PromptMaker(asked.spec, None)
    files = _RequestFiles(out, options.split)
    documents = 0
    skipped: list[pa.RecordBatch] = []
    with contextlib.closing(lake.reader()) as reader, files:
        reader.execute("begin transaction")  # the choice of documents and their texts are of one snapshot
        chosen, missing = _choose(reader, source, bound, options)
        for batch in _texts(reader):
            made = prompt_maker.batch(batch["key"].to_pylist(), batch["text"].to_pylist())
            lines = [batchfile.line(prompt, wire, bound.fingerprint) for prompt in made.prompts]
            passes = len(asked.spec.passes)
            for start in range(0, len(lines), passes):
                files.write(lines[start : start + passes])
            documents += len(lines) // passes
            if made.skipped:
                skipped.extend(map(bound.batch, asked.judged(iter(()), made.skipped)))
            progress(batch.num_rows)
    n_aside = sum(stored.num_rows for stored in store.Answers(lake, bound, author=_AUTHOR).collect(skipped))
    return WrittenRequests(tuple(files.done), documents, files.requests, answered=chosen - missing, aside=n_aside)


def read(
    lake: Lake, asked: PromptedLabeler, paths: Sequence[Path], progress: Callable[[int], None] = lambda documents: None
) -> ReadResponses:
    """Store the responses in files that a service wrote. Reading a file twice changes nothing.

    A document is skipped if it has an answer other than an error, is not in the lake, or lacks the answer to a pass in
    these files.
    """
    bound = BoundLabeler(asked)
    responses = Responses(bound.fingerprint, len(asked.spec.passes))
    statuses: Counter[str] = Counter()
    known = _AnswerFilter(lake, bound)
    n_documents = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal n_documents
        answers = (answer for path in paths for answer in responses.read(_lines(path)))
        for verdicts in asked.judged(answers):
            batch = bound.batch(verdicts)
            n_documents += batch.num_rows
            progress(batch.num_rows)
            if (new := known.new(batch)).num_rows:
                statuses.update(new["status"].to_pylist())
                yield new

    with contextlib.closing(known):
        for _ in store.Answers(lake, bound, author=_AUTHOR).collect(batches()):
            pass
    return ReadResponses(
        statuses=dict(statuses),
        answered=known.answered,
        incomplete=responses.documents() - n_documents,
        unknown=known.unknown,
        foreign=responses.foreign,
        repeated=responses.repeated,
        broken=responses.broken,
        first_broken=responses.first_broken,
    )


class _RequestFiles:
    """The files that requests go into; each appears when it is complete."""

    def __init__(self, out: Path, split: int | None) -> None:
        self.done: list[Path] = []
        self.requests = 0
        self._out = out
        self._split = split
        self._lines = 0
        self._file: BinaryIO | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is None:
            self._finish()
        else:
            self._stack.__exit__(*error)

    def write(self, lines: Sequence[bytes]) -> None:
        """Write a document's requests; they stay together."""
        if self._split is not None and self._lines + len(lines) > self._split:
            self._finish()
        if self._file is None:
            try:
                self._file = self._stack.enter_context(open_atomically(self._path()))
            except OSError as error:
                raise UsageError(f"cannot write {self._path()}: {error.strerror}") from error
        self._file.writelines(lines)
        self._lines += len(lines)
        self.requests += len(lines)

    def _path(self) -> Path:
        if self._split is None:
            return self._out
        return self._out.with_name(f"{self._out.stem}-{len(self.done) + 1}{self._out.suffix}")

    def _finish(self) -> None:
        if self._file is not None:
            self._stack.close()
            self.done.append(self._path())
            self._file, self._lines = None, 0


class _AnswerFilter:
    """Keeps answers that may be stored: those about documents of the lake that have no answer."""

    def __init__(self, lake: Lake, function: BoundLabeler) -> None:
        self.answered = 0
        self.unknown = 0
        self._function = function
        self._reader = lake.reader()

    def close(self) -> None:
        self._reader.close()

    def new(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the rows of a batch of answers whose documents are in the lake and have no answer."""
        asked = pa.table({"key": batch["key"]})
        self._reader.register("asked", asked)
        found = self._reader.execute("select key from asked semi join raw.documents on doc_id = key").fetchall()
        keys = {key for (key,) in found}
        new, bettered = (
            keys & {key for (key,) in self._reader.execute(query).fetchall()}
            for query in (
                store.missing(self._reader, "asked", self._function),
                store.missing(self._reader, "asked", self._function, _again(("error",))),
            )
        )
        self._reader.unregister("asked")
        # An error gives way to an answer, but not to another error.
        wanted = [
            key in new or (key in bettered and status != "error")
            for key, status in zip(batch["key"].to_pylist(), batch["status"].to_pylist(), strict=True)
        ]
        self.unknown += batch.num_rows - len(keys)
        self.answered += len(keys) - sum(wanted)
        return batch.filter(pa.array(wanted, pa.bool_()))


def _choose(
    reader: duckdb.DuckDBPyConnection, source: str, function: BoundLabeler, options: BatchOptions
) -> tuple[int, int]:
    """Fill the table ``chosen`` with documents without an answer; return the numbers of documents and of these."""
    with reading(reader, source, "label"):
        reader.execute(
            f"create temp table asked as select doc_id as key from raw.documents"
            f" semi join (select doc_id from {relation_of(source)}) using (doc_id)"
        )
    limit = f"limit {options.limit}" if options.limit is not None else ""
    missing = store.missing(reader, "asked", function, _again(options.retry))
    row = reader.execute(f"select (select count(*) from asked), (select count(*) from ({missing}))").fetchone()
    assert row is not None
    reader.execute(f"create temp table chosen as select key from ({missing}) order by key {limit}")
    return int(row[0]), int(row[1])


def _again(statuses: tuple[str, ...]) -> Retry | None:
    return Retry(statuses, datetime.now(UTC)) if statuses else None


def _texts(reader: duckdb.DuckDBPyConnection) -> Iterator[pa.RecordBatch]:
    query = "select doc_id as key, text from raw.documents semi join chosen on key = doc_id"
    for batch in stream_texts(reader, query, _BATCH):
        if batch.num_rows:
            yield batch.cast(INPUT_SCHEMA)


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from file
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
