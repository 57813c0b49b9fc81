"""Which documents form which unit, and which units are still to be written.

A level's documents fall into buckets by the leading bits of md5(seed:doc_id), the digits by which mixtures order
documents too. So a bucket is a range of that order, a prefix is whole buckets and one that is cut, and two mixtures, or
`all` and `more` of one mixture, share every unit but the cut one. A component's number of buckets is the power of two
that brings a bucket to at most ``BUCKET`` bytes if its documents were spread over the whole order: it does not change
when a share does. A bucket drops at most one sequence less a token, under 0.02 % of it at 2,048 tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from warehouse.export.mixture import Amount, Level, Mixture, quoted
from warehouse.export.packing import Packing, Text, Tokens
from warehouse.export.store import Options, ShardStore, Unit, unit_key

if TYPE_CHECKING:
    import duckdb

#: Bytes of samples in a bucket at most, so that a bucket is mostly one shard of 64 MiB.
BUCKET = 48 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """A unit of the plan, in its level. ``number`` names it in the temporary tables."""

    number: int
    level: Level
    bucket: int
    key: str
    documents: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """All parts in the order of the export, the units that the store has, and those to be written."""

    parts: tuple[Part, ...]
    done: Mapping[str, Unit]

    @property
    def missing(self) -> dict[str, Part]:
        """One part per unit that is not in the store, by key."""
        return {part.key: part for part in reversed(self.parts) if part.key not in self.done}


def make_plan(
    cursor: duckdb.DuckDBPyConnection,
    mixture: Mixture,
    packing: Packing,
    options: Options,
    store: ShardStore,
    seed: int,
) -> Plan:
    """Cut a frozen mixture into parts, and look up which the store has."""
    cursor.execute("create temp table levels (level int, component varchar, copies bigint, bits int)")
    bits = {name: bucket_bits(amount, packing) for name, amount in mixture.components.items()}
    for number, level in enumerate(mixture.levels):
        cursor.execute(
            "insert into temp.levels values (?, ?, ?, ?)",
            [number, level.component, level.copies, bits[level.component]],
        )
    entry = f"concat_ws(' ', doc_id, to_json([{', '.join(values)}]))" if (values := _values(packing)) else "doc_id"
    cursor.execute(
        f"""
        create temp table parts as
        select
            row_number() over (order by level, bucket)::int - 1 as part, *
        from (
            select
                levels.level,
                ('0x' || left(documents.place, 15))::bigint >> (60 - levels.bits) as bucket,
                md5(concat_ws(' ', count(*), sum(md5_number_lower({entry})::hugeint),
                    sum(md5_number_upper({entry})::hugeint))) as digest,
                count(*) as documents,
                sum(n_tokens)::bigint as n_tokens,
                sum(n_chars)::bigint as n_chars
            from temp.mixture_documents as documents
            join temp.levels on levels.component = documents.component and levels.copies <= documents.copies
            group by levels.level, bucket
        )
        """
    )
    parts = []
    query = "select part, level, bucket, digest, documents, n_tokens, n_chars from temp.parts order by part"
    for number, index, bucket, digest, documents, tokens, chars in cursor.execute(query).fetchall():
        level = mixture.levels[index]
        key = unit_key(packing, options, level.component, seed, digest)
        parts.append(Part(number, level, bucket, key, documents, _size(packing, tokens + documents, chars)))
    done = {key: unit for key in {part.key for part in parts} if (unit := store.get(key))}
    return Plan(tuple(parts), done)


def bucket_bits(amount: Amount, packing: Packing) -> int:
    """How many leading bits of the order choose the bucket."""
    whole = _size(packing, amount.once_tokens + amount.documents, amount.n_chars) / amount.reach
    bits = 0
    while whole / (1 << bits) > BUCKET and bits < 30:
        bits += 1
    return bits


def _size(packing: Packing, tokens: int, chars: int) -> int:
    """About how many bytes of samples these make."""
    if isinstance(packing, Tokens):
        return tokens * (2 if packing.dtype == "uint16" else 4)
    return chars


def _values(packing: Packing) -> list[str]:
    """The label columns of samples, as text."""
    names = [name for name, _ in packing.labels] if isinstance(packing, Text) else []
    return [f"documents.{quoted(name)}::varchar" for name in names]


def place_documents(cursor: duckdb.DuckDBPyConnection, plan: Plan, labels: Sequence[str]) -> list[str]:
    """Make the temporary table ``needed``: where the texts of missing units lie. Gives the files, in their order.

    A row per document and unit: file (its index in the list), row (in the file), part, rank (in the unit), n_tokens,
    and ``labels``.
    """
    import pyarrow as pa

    numbers = pa.table({"part": pa.array([part.number for part in plan.missing.values()], pa.int32())})
    cursor.register("missing_parts", numbers)
    cursor.execute(
        "create temp table files as select row_number() over (order by file)::int - 1 as number, file"
        " from (select distinct file from temp.mixture_documents)"
    )
    further = "".join(f", documents.{quoted(label)}" for label in labels)
    cursor.execute(
        f"""
        create temp table needed as
        select
            files.number as file,
            documents.row,
            parts.part,
            row_number() over (partition by parts.part order by documents.place, documents.doc_id)::int as rank,
            documents.n_tokens{further}
        from temp.mixture_documents as documents
        join temp.levels on levels.component = documents.component and levels.copies <= documents.copies
        join temp.parts on parts.level = levels.level
            and parts.bucket = ('0x' || left(documents.place, 15))::bigint >> (60 - levels.bits)
        join missing_parts on missing_parts.part = parts.part
        join temp.files on files.file = documents.file
        order by files.number, documents.row, parts.part
        """
    )
    cursor.unregister("missing_parts")
    return [row[0] for row in cursor.execute("select file from temp.files order by number").fetchall()]
