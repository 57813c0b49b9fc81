"""Expensive functions for tests: cheap, deterministic, and every call can be counted in a file.

length_class(text)   a number, NULL never; the same as the SQL macro of this name
mood(text)           struct(tone struct(primary, secondary), size varchar)
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from udfs.errors import UsageError
from udfs.expensive import BoundFunction, answer_schema

PAIR = pa.struct([("primary", pa.string()), ("secondary", pa.string())])

#: The same functions for DuckDB itself, to compare with.
MACROS = (
    "create or replace temp macro length_class(t) as case when t is not null then (length(t) * 7 + ascii(t)) % 5 end",
    """create or replace temp macro mood(t) as case when t is not null then {
        'tone': {'primary': left(t, 1), 'secondary': case when length(t) % 2 = 0 then right(t, 1) end},
        'size': case when length(t) > 2 then 'long' else 'short' end} end""",
)


@dataclass(frozen=True)
class Bound(BoundFunction):
    store: str
    labeler: str
    fingerprint: str
    columns: pa.Schema
    result: str | None
    calls: Path | None = None
    delay: float = 0.0

    def answers(self, inputs: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in inputs:
            for key, text in zip(batch["key"].to_pylist(), batch["text"].to_pylist(), strict=True):
                if self.delay:
                    time.sleep(self.delay)
                if self.calls:
                    handle = os.open(self.calls, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
                    os.write(handle, f"{key}\n".encode())
                    os.close(handle)
                bad = text.startswith("bad")
                row = {"key": key, "status": "error" if bad else "ok", "raw": "no idea" if bad else None, "tokens": 1}
                if not bad:
                    row |= {name: value for name, value in answer(text).items() if name in self.columns.names}
                yield pa.RecordBatch.from_pylist([row], schema=answer_schema(self))


def answer(text: str) -> dict[str, object]:
    return {
        "n": (len(text) * 7 + (ord(text[0]) if text else 0)) % 5,
        "tone": {"primary": text[:1], "secondary": text[-1:] if len(text) % 2 == 0 else None},
        "size": "long" if len(text) > 2 else "short",
    }


@dataclass(frozen=True)
class Function:
    name: str
    calls: Path | None = None
    delay: float = 0.0
    version: str = "1"

    def bind(self, options: tuple[str | int | float | bool, ...]) -> Bound:
        if options and options != ("x",):
            raise UsageError(f"{self.name} knows no {options[0]!r}")
        mark = {"length_class": "a", "mood": "b"}[self.name] + self.version
        columns = {
            "length_class": pa.schema([("n", pa.int64())]),
            "mood": pa.schema([("tone", PAIR), ("size", pa.string())]),
        }[self.name]
        return Bound(
            store={"length_class": "counts.length_class", "mood": "labels.mood"}[self.name],
            labeler=self.name,
            fingerprint=mark.ljust(32, "0"),
            columns=columns,
            result="n" if self.name == "length_class" else None,
            calls=self.calls,
            delay=self.delay,
        )


def functions(calls: Path | None = None, delay: float = 0.0, version: str = "1") -> dict[str, Function]:
    return {name: Function(name, calls, delay, version) for name in ("length_class", "mood")}
