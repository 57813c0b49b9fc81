"""Labelling by OpenAI's batch files: requests about documents without an answer, and responses as answers.

``write`` asks nobody: a file of requests goes to a service, or to ``vllm run-batch``, and ``read`` takes what comes
back. Answers go into the labeler's store as those of a build do.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

import pyarrow as pa

from udfs.errors import UsageError
from udfs.expensive import INPUT_SCHEMA
from warehouse.answers import store
from warehouse.answers.store import Retry
from warehouse.lake.documents import reading, relation_of
from warehouse.lake.lake import texts

if TYPE_CHECKING:
    import duckdb

    from udfs.labels.labelers.prompted import PromptedLabeler
    from udfs.labels.labels import BoundLabeler
    from warehouse.lake.lake import Lake


#: Documents whose prompts are made together.
_BATCH = 256

_AUTHOR = "cuvee batch"


@dataclass(frozen=True, slots=True)
class Written:
    """What ``write`` did. ``answered`` documents had an answer; ``aside`` are those that need no model."""

    files: tuple[Path, ...]
    documents: int
    requests: int
    answered: int
    aside: int


@dataclass(frozen=True, slots=True)
class Read:
    """What ``read`` found: documents stored by status, and what was left alone."""

    statuses: dict[str, int]
    answered: int
    incomplete: int
    unknown: int
    foreign: int
    repeated: int
    broken: int
    first_broken: int | None


def labeler(seeds: Path, name: str) -> PromptedLabeler:
    """A labeler of the project that can be asked by batch files. Raises UsageError."""
    from udfs.labels.backends.wire import CHAT, Settings, endpoint
    from udfs.labels.labelers.labeler_registry import Catalogue
    from udfs.labels.labelers.prompted import PromptedLabeler

    found = Catalogue(seeds).get(name)
    if not isinstance(found, PromptedLabeler) or found.spec.backend != "openai":
        raise UsageError(f"batch files are for labelers with the backend openai, which {name} does not have")
    path, _ = endpoint(found.spec, found.spec.engine or Settings())
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
    *,
    limit: int | None = None,
    split: int | None = None,
    retry: tuple[str, ...] = (),
    progress: Callable[[int], None] = lambda documents: None,
) -> Written:
    """Write requests about the documents of ``source`` (a model's name, or SQL that yields a doc_id) without answer.

    Documents are taken in the order of their ids, at most ``limit``; answers with a status of ``retry`` do not
    count. With ``split`` a file has at most so many requests and they are numbered: ``out-1.jsonl``. A file appears
    when it is complete. A document with nothing to read abstains at once and is stored. Raises UsageError for a bad
    source.
    """
    from udfs.labels import batchfile
    from udfs.labels.backends.openai import name_at_server
    from udfs.labels.backends.wire import Settings, Wire
    from udfs.labels.labelers.prompt_batch import Asking
    from udfs.labels.labels import BoundLabeler

    bound = BoundLabeler(asked)
    settings = asked.spec.engine or Settings()
    wire = Wire(asked.spec, settings, name_at_server(asked.spec, settings), None)
    asking = Asking(asked.spec, None)
    files = _Files(out, split)
    documents = 0
    aside: list[pa.RecordBatch] = []
    with contextlib.closing(lake.reader()) as reader, files:
        reader.execute("begin transaction")  # the choice of documents and their texts are of one snapshot
        chosen, missing = _choose(reader, source, bound, limit, _again(retry))
        for batch in _texts(reader):
            made = asking.ask(batch["key"].to_pylist(), batch["text"].to_pylist())
            lines = [batchfile.line(prompt, wire, bound.fingerprint) for prompt in made.prompts]
            passes = len(asked.spec.passes)
            for start in range(0, len(lines), passes):
                files.write(lines[start : start + passes])
            documents += len(lines) // passes
            if made.aside:
                aside.extend(map(bound.batch, asked.judged(iter(()), made.aside)))
            progress(batch.num_rows)
    n_aside = sum(stored.num_rows for stored in store.Answers(lake, bound, author=_AUTHOR).collect(aside))
    return Written(tuple(files.done), documents, files.requests, chosen - missing, n_aside)


def read(
    lake: Lake, asked: PromptedLabeler, paths: Sequence[Path], progress: Callable[[int], None] = lambda documents: None
) -> Read:
    """Store the responses in files that a service wrote. Reading a file twice changes nothing.

    A document is left alone if it has an answer that is no error, is none of the lake's, or lacks the answer to a pass
    in these files.
    """
    from udfs.labels.batchfile import Responses
    from udfs.labels.labels import BoundLabeler

    bound = BoundLabeler(asked)
    responses = Responses(bound.fingerprint, len(asked.spec.passes))
    statuses: Counter[str] = Counter()
    known = _Known(lake, bound)
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
    return Read(
        dict(statuses),
        known.answered,
        responses.documents() - n_documents,
        known.unknown,
        responses.foreign,
        responses.repeated,
        responses.broken,
        responses.first_broken,
    )


class _Files:
    """The files that requests go into; each appears when it is complete."""

    def __init__(self, out: Path, split: int | None) -> None:
        self.done: list[Path] = []
        self.requests = 0
        self._out = out
        self._split = split
        self._lines = 0
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._file is None:
            return
        if kind is None:
            self._finish()
        else:
            self._file.close()
            self._partial().unlink(missing_ok=True)

    def write(self, lines: Sequence[bytes]) -> None:
        """Write a document's requests; they stay together."""
        if self._file is not None and self._split is not None and self._lines + len(lines) > self._split:
            self._finish()
        if self._file is None:
            self._file = self._open()
        self._file.writelines(lines)
        self._lines += len(lines)
        self.requests += len(lines)

    def _open(self) -> IO[bytes]:
        try:
            return self._partial().open("wb")
        except OSError as error:
            raise UsageError(f"cannot write {self._partial()}: {error.strerror}") from error

    def _path(self) -> Path:
        if self._split is None:
            return self._out
        return self._out.with_name(f"{self._out.stem}-{len(self.done) + 1}{self._out.suffix}")

    def _partial(self) -> Path:
        path = self._path()
        return path.with_name(f".{path.name}.part")

    def _finish(self) -> None:
        assert self._file is not None
        self._file.close()
        self._file, self._lines = None, 0
        path = self._path()
        self._partial().replace(path)
        self.done.append(path)


class _Known:
    """Tells documents that may be stored from those that are none, or have an answer."""

    def __init__(self, lake: Lake, function: BoundLabeler) -> None:
        self.answered = 0
        self.unknown = 0
        self._function = function
        self._reader = lake.reader()

    def close(self) -> None:
        self._reader.close()

    def new(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows of a batch of answers whose documents are the lake's and have no answer."""
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
    reader: duckdb.DuckDBPyConnection, source: str, function: BoundLabeler, limit: int | None, retry: Retry | None
) -> tuple[int, int]:
    """Fill the temporary table ``chosen`` with documents without an answer; returns how many there are, and these."""
    with reading(reader, source, "label"):
        reader.execute(
            f"create temp table asked as select doc_id as key from raw.documents"
            f" semi join (select doc_id from {relation_of(source)}) using (doc_id)"
        )
    least = f"limit {limit}" if limit is not None else ""
    missing = store.missing(reader, "asked", function, retry)
    row = reader.execute(f"select (select count(*) from asked), (select count(*) from ({missing}))").fetchone()
    assert row is not None
    reader.execute(f"create temp table chosen as select key from ({missing}) order by key {least}")
    return int(row[0]), int(row[1])


def _again(statuses: tuple[str, ...]) -> Retry | None:
    return Retry(statuses, datetime.now(UTC)) if statuses else None


def _texts(reader: duckdb.DuckDBPyConnection) -> Iterator[pa.RecordBatch]:
    query = "select doc_id as key, text from raw.documents semi join chosen on key = doc_id"
    for batch in texts(reader, query, _BATCH):
        if batch.num_rows:
            yield batch.cast(INPUT_SCHEMA)


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from file
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
