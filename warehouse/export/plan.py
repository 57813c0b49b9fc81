"""Which documents form which unit, and which units are still to be written.

A level's documents are ordered by md5(seed:doc_id), as mixtures order them. That order is halved, and halves are halved
again, until each has at most ``BUCKET`` bytes of samples: these are the buckets. A range below the cut of a
share has the same documents and so the same buckets whatever the share is; only the bucket with the cut
changes. So two mixtures, or `all` and `more` of one mixture, share every unit but that one. A bucket drops at most one
sequence less a token, under 0.02 % of it at 2,048 tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from warehouse.export.packing import Packing, TokenSequences
from warehouse.export.store import ShardOptions, ShardStore, ShardTask, ShardUnit, unit_key
from warehouse.lake.quoting import quote
from warehouse.mixtures.mixture import Mixture

#: Bytes of samples in a bucket at most, so that a bucket is mostly one shard of 64 MiB.
BUCKET = 48 << 20
#: The order is halved this often at most.
BITS = 20
#: The small range of the order in which a document is.
_RANGE = f"('0x' || left(documents.place, 15))::bigint >> {60 - BITS}"
#: Documents with the buckets that they are in.
_PLACED = f"""temp.mixture_documents as documents
            join temp.levels on levels.component = documents.component and levels.copies <= documents.copies
            join temp.buckets on buckets.level = levels.level and buckets.range = {_RANGE}"""


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """What an export consists of: all tasks in its order, and the units that the store has. The others are missing."""

    packing: Packing
    options: ShardOptions
    tasks: tuple[ShardTask, ...]
    done: Mapping[str, ShardUnit]

    @property
    def missing(self) -> dict[str, ShardTask]:
        """One task per unit that is not in the store, by key."""
        return {task.key: task for task in reversed(self.tasks) if task.key not in self.done}


def make_plan(
    cursor: duckdb.DuckDBPyConnection,
    mixture: Mixture,
    packing: Packing,
    options: ShardOptions,
    store: ShardStore,
    seed: int,
) -> ExportPlan:
    """Cut a frozen mixture into tasks, and look up which units the store has."""
    cursor.execute("create temp table levels (level int, component varchar, copies bigint)")
    for number, level in enumerate(mixture.levels):
        cursor.execute("insert into temp.levels values (?, ?, ?)", [number, level.component, level.copies])
    cursor.register("cut_buckets", _buckets(cursor, packing))
    cursor.execute("create temp table buckets as from cut_buckets")
    cursor.unregister("cut_buckets")
    values = ", ".join(f"documents.{quote(name)}::varchar" for name in packing.label_names)
    entry = f"concat_ws(' ', doc_id, to_json([{values}]))" if values else "doc_id"
    cursor.execute(
        f"""
        create temp table parts as
        select row_number() over (order by level, bucket)::int - 1 as part, * from (
            select buckets.level, buckets.bucket,
                md5(concat_ws(' ', count(*), sum(md5_number_lower({entry})::hugeint),
                    sum(md5_number_upper({entry})::hugeint))) as digest,
                count(*) as documents, sum(n_tokens)::bigint as n_tokens, sum(n_chars)::bigint as n_chars
            from {_PLACED} group by buckets.level, buckets.bucket
        )
        """
    )
    tasks = []
    query = "select part, level, digest, documents, n_tokens, n_chars from temp.parts order by part"
    for number, index, digest, documents, tokens, chars in cursor.execute(query).fetchall():
        level = mixture.levels[index]
        key = unit_key(packing, options, level.component, seed, digest)
        size = _size(packing, tokens + documents, chars)
        tasks.append(ShardTask(number, level, key, documents=documents, bytes=size))
    done = {key: unit for key in {task.key for task in tasks} if (unit := store.get(key))}
    return ExportPlan(packing, options, tuple(tasks), done)


def _buckets(cursor: duckdb.DuckDBPyConnection, packing: Packing) -> pa.Table:
    """Return the bucket of each small range of the order: level, range, bucket (the number of its first range)."""
    tables = []
    (levels,) = cursor.execute("select count(*) from temp.levels").fetchone() or (0,)
    for level in range(levels):
        found = cursor.execute(
            f"""
            select {_RANGE} as range, sum(n_tokens + 1)::bigint as tokens, sum(n_chars)::bigint as chars
            from temp.mixture_documents as documents
            join temp.levels on levels.component = documents.component and levels.copies <= documents.copies
            where level = ? group by all order by all
            """,
            [level],
        ).fetchnumpy()
        ranges = np.asarray(found["range"])
        sizes = _size(packing, np.asarray(found["tokens"]), np.asarray(found["chars"]))
        ends = np.concatenate([[0], np.cumsum(sizes)])
        firsts = np.array(list(_halved(ranges, ends, 0, 1 << BITS)))
        buckets = firsts[np.searchsorted(firsts, ranges, side="right") - 1]
        tables.append(pa.table({"level": pa.repeat(level, len(ranges)), "range": ranges, "bucket": buckets}))
    return pa.concat_tables(tables)


def _halved(ranges: NDArray[Any], ends: NDArray[Any], first: int, last: int) -> Iterator[int]:
    """Yield where the buckets of first <= range < last begin. ``ends`` are bytes up to each of ``ranges``."""
    begin, end = ranges.searchsorted([first, last])
    if ends[end] - ends[begin] <= BUCKET or last - first == 1:
        yield first
    else:
        middle = (first + last) // 2
        yield from _halved(ranges, ends, first, middle)
        yield from _halved(ranges, ends, middle, last)


T = TypeVar("T", int, "NDArray[Any]")


def _size(packing: Packing, tokens: T, chars: T) -> T:
    """Estimate how many bytes of samples these make."""
    if isinstance(packing, TokenSequences):
        return tokens * (2 if packing.dtype == "uint16" else 4)
    return chars


def place_documents(cursor: duckdb.DuckDBPyConnection, plan: ExportPlan) -> list[str]:
    """Make the temporary table ``needed``: where the texts of missing units are. Return the files in their order.

    A row per document and unit: file (its index in the list), row (in the file), part, rank (in the unit), n_tokens,
    and labels.
    """
    numbers = pa.table({"part": pa.array([task.number for task in plan.missing.values()], pa.int32())})
    cursor.register("missing_parts", numbers)
    cursor.execute(
        "create temp table files as select row_number() over (order by file)::int - 1 as number, file"
        " from (select distinct file from temp.mixture_documents)"
    )
    further = "".join(f", documents.{quote(label)}" for label in plan.packing.label_names)
    cursor.execute(
        f"""
        create temp table needed as
        select files.number as file, documents.row, parts.part,
            row_number() over (partition by parts.part order by documents.place, documents.doc_id)::int as rank,
            documents.n_tokens{further}
        from {_PLACED}
        join temp.parts on parts.level = buckets.level and parts.bucket = buckets.bucket
        join missing_parts on missing_parts.part = parts.part
        join temp.files on files.file = documents.file
        order by files.number, documents.row, parts.part
        """
    )
    cursor.unregister("missing_parts")
    return [row[0] for row in cursor.execute("select file from temp.files order by number").fetchall()]
