"""Find the texts in the files of a benchmark: which fields of their records are its questions, answers, choices.

All records of a file are looked through, once: a list's longest length and the number of records without a field are
known only at the end. A field is a text of the benchmark if benchmarks use its name (``NAMES``) and its values are
texts. A number or a letter after the name does not count (``sol1``, ``option_a``), and a field may be inside one other
(``question.stem``). A field of one short word in all records (``A``, ``42``) is a label.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import orjson
import pyarrow.parquet as pq

from udfs.errors import CuveeError, UsageError, did_you_mean
from warehouse.ingest.bytestream import DamagedStreamError, blocks
from warehouse.ingest.formats.detection import detect
from warehouse.ingest.formats.giant import GIANT
from warehouse.ingest.formats.json_values import values
from warehouse.ingest.formats.jsonl import lines
from warehouse.ingest.formats.parquet import UNREADABLE
from warehouse.ingest.inputs import Input
from warehouse.ingest.records import MAX_RECORD, RAW_LIMIT
from warehouse.mds.index import MDSIndex
from warehouse.mds.reader import read_shard

#: What benchmarks call their texts.
_WORDS = """
    question questions query problem prompt instruction instructions input inputs text passage context story document
    paragraph article body abstract dialogue conversation description statement claim fact support explanation rationale
    sentence premise hypothesis goal sol ctx stem startphrase continuation ending endings
    answer answers solution canonical_solution reference completion target targets output outputs response label_text
    correct_answer incorrect_answer best_answer correct_answers incorrect_answers distractor code test tests test_list
    docstring choice choices option options op candidate candidates context_options input_text output_text full_text
    chain_of_thought cot quiz puzzle task summary title question_text question_stem problem_statement
"""
NAMES = frozenset(_WORDS.split())

#: ``sol1``, ``option_a``, ``answerB``.
_NUMBERED = re.compile(r"[_-]?(\d+|[a-e])$")

#: A single word up to this length in every record is a label or a number; a text in Chinese has no blanks either.
_LABEL = 16

_ROWS = 1_000


@dataclass(slots=True)
class TextField:
    """A field of a file's records: how many of them have it, and what its values are.

    ``longest`` is the length of its longest list, 0 where no value is a list.
    """

    name: str
    records: int = 0
    texts: int = 0
    longest: int = 0
    others: Counter[str] = field(default_factory=Counter)
    words: bool = False

    def add(self, value: object) -> None:
        """Take note of the value that one record has."""
        if value is None or value in ("", []):
            return
        self.records += 1
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str):
                self.texts += 1
                self.words = self.words or len(each) > _LABEL or len(each.split()) > 1
            elif each is not None:
                self.others[type(each).__name__] += 1
        if isinstance(value, list):
            self.longest = max(self.longest, len(value))

    @property
    def named_as_text(self) -> bool:
        """Whether benchmarks use this name for a text."""
        name = self.name.rpartition(".")[2].lower()
        return name in NAMES or _NUMBERED.sub("", name) in NAMES

    @property
    def paths(self) -> tuple[str, ...]:
        """The fields to ingest: the field itself, or each element of its lists."""
        return tuple(f"{self.name}.{index}" for index in range(self.longest)) if self.longest else (self.name,)


@dataclass(frozen=True, slots=True)
class BenchmarkFile:
    """A file with the fields that its records have."""

    entry: Input
    records: int
    fields: dict[str, TextField]

    def chosen(self, wanted: Sequence[str]) -> tuple[TextField, ...]:
        """Return the fields that are texts of the benchmark: those that are wanted, else what is found."""
        found = {name: each for name, each in self.fields.items() if each.texts}
        if wanted:
            return tuple(found[name] for name in wanted if name in found)
        return tuple(each for each in found.values() if each.named_as_text and each.words)

    def left_out(self) -> dict[str, str]:
        """Return the fields that have the name of a text but are none, with the reason."""
        named = [each for each in self.fields.values() if each.named_as_text and not (each.texts and each.words)]
        return {each.name: _why_not(each) for each in named if each.records}


@dataclass(frozen=True, slots=True)
class Benchmark:
    """The files of a benchmark. ``ignored`` are those that hold no records, with the reason."""

    files: tuple[BenchmarkFile, ...]
    ignored: dict[str, str]
    wanted: tuple[str, ...] = ()

    def passes(self) -> dict[str, list[Input]]:
        """Return what to ingest: the files that have each field, or element of a list, by its path."""
        found: dict[str, list[Input]] = {}
        for file in self.files:
            for each in file.chosen(self.wanted):
                for path in each.paths:
                    found.setdefault(path, []).append(file.entry)
        return found

    def check(self) -> None:
        """Raise UsageError if there are no texts, or a wanted field is nowhere."""
        known = {name: each for file in self.files for name, each in file.fields.items() if each.texts}
        for name in self.wanted:
            if name not in known:
                raise UsageError(f"no record has a text in the field {name!r}", hint=did_you_mean(name, known))
        if not self.files:
            first, reason = next(iter(self.ignored.items()), ("", "no files"))
            raise UsageError(
                f"no file of records: {first}: {reason}" if first else "no file of records",
                hint="a benchmark is JSONL, JSON, Parquet or an MDS folder; write other files as one of them",
            )
        if not self.passes():
            raise UsageError(
                f"no text field was found in {self.files[0].entry.name}",
                hint=f"its fields are {_listed(self.files[0].fields)}; name one with --text-field",
            )


def look_through(inputs: Iterable[Input], wanted: Sequence[str] = ()) -> Benchmark:
    """Look through the files of a benchmark. Raises CuveeError if one cannot be read, UsageError without texts."""
    files: list[BenchmarkFile] = []
    ignored: dict[str, str] = {}
    for entry in inputs:
        try:
            kind = "mds" if entry.is_mds else detect(entry.path).format
            if kind not in ("jsonl", "json", "parquet", "mds"):
                ignored[entry.name] = "empty" if kind == "empty" else f"not records but {kind}"
                continue
            files.append(_look_through(entry, kind, wanted))
        except UNREADABLE as error:  # OSError is one of them
            raise CuveeError(f"{entry.path} cannot be read: {error}") from error
    benchmark = Benchmark(tuple(files), ignored, tuple(wanted))
    benchmark.check()
    return benchmark


def _look_through(entry: Input, kind: str, wanted: Sequence[str]) -> BenchmarkFile:
    fields: dict[str, TextField] = {}
    records = 0
    for record in _RECORDS[kind](entry):
        records += 1
        for name, value in _flat(record, wanted):
            fields.setdefault(name, TextField(name)).add(value)
    return BenchmarkFile(entry, records, fields)


def _flat(record: dict[str, Any], wanted: Sequence[str]) -> Iterator[tuple[str, object]]:
    """Yield the fields of a record and of the objects in it, and the deeper ones that are wanted."""
    for name, value in record.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", each) for inner, each in value.items() if not isinstance(each, dict))
        else:
            yield name, value
    for name in wanted:
        if name.count(".") > 1 and (value := _value(record, name)) is not None:
            yield name, value


def _value(record: object, name: str) -> object:
    for part in name.split("."):
        record = record.get(part) if isinstance(record, dict) else None
    return record


def _json_records(entry: Input, *, whole: bool) -> Iterator[dict[str, Any]]:
    with closing(blocks(entry.path)) as stream:
        if whole:
            pieces: Iterable[Any] = (value for value, size in values(stream, MAX_RECORD, RAW_LIMIT))
        else:
            pieces = (line for batch in lines(stream) if isinstance(batch, list) for line in batch)
        try:
            for raw in pieces:
                # What is damaged, or many megabytes, is for ingest itself to judge.
                if len(raw) <= GIANT and isinstance(record := _decoded(raw), dict):
                    yield record
        except DamagedStreamError:
            return


def _decoded(raw: bytes | memoryview) -> object:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


def _parquet_records(entry: Input) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(entry.path) as file:
        for rows in file.iter_batches(_ROWS, use_threads=False):
            yield from rows.to_pylist()


def _mds_records(entry: Input) -> Iterator[dict[str, Any]]:
    for shard in MDSIndex.read(entry.path).shards:
        for rows in read_shard(shard):
            yield from rows.to_pylist()


_RECORDS = {
    "jsonl": lambda entry: _json_records(entry, whole=False),
    "json": lambda entry: _json_records(entry, whole=True),
    "parquet": _parquet_records,
    "mds": _mds_records,
}


def _why_not(each: TextField) -> str:
    if each.texts:
        return "one short word in every record"
    kinds = {"dict": "objects", "list": "lists", "int": "numbers", "float": "numbers", "bool": "true or false"}
    return ", ".join(dict.fromkeys(kinds.get(kind, kind) for kind in each.others)) or "empty lists"


def _listed(fields: dict[str, TextField]) -> str:
    names = list(fields)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
