"""The documents that a teacher has labelled: which they are, and their texts and labels one after the other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.distillation.recipe import Distillation
from udfs.errors import CuveeError, UsageError, did_you_mean
from udfs.labels.taxonomies.taxonomy import Pair, Taxonomy
from warehouse.lake.lake import Lake

if TYPE_CHECKING:
    import duckdb

_RELATION = re.compile(r"\w+(\.\w+){0,2}")

#: Documents that are sorted together, texts and all. A bucket is a part of all by hash, so what the order is depends
#: neither on memory nor on the order of ingest.
BUCKET = 1 << 18
BATCH = 1024


@dataclass(frozen=True, slots=True)
class Labelled:
    """Documents with the latest answer of a teacher about them, chosen in one snapshot of the lake.

    ``fingerprint`` is over documents, copies and labels. ``characters`` count every document once.
    """

    reader: duckdb.DuckDBPyConnection
    categories: tuple[str, ...]
    documents: int
    copies: int
    characters: int
    fingerprint: str
    snapshot_id: int

    def batches(self) -> Iterator[tuple[list[str], list[int], list[str], list[Mapping[str, Pair]]]]:
        """Yield ids, copies, texts and labels, in the order of a hash."""
        for bucket in range(-(-self.documents // BUCKET)):
            found = self.reader.execute(
                f"select doc_id, copies, text, {_quoted(self.categories)} from chosen"
                " join raw.documents using (doc_id) where place // ? = ? order by place",
                [BUCKET, bucket],
            )
            for batch in found.fetch_record_batch(BATCH):
                keys, copies, texts, *columns = (column.to_pylist() for column in batch.columns)
                verdicts: list[Mapping[str, Pair]] = [
                    {
                        name: Pair(pair["primary"], pair["secondary"])
                        for name, pair in zip(self.categories, pairs, strict=True)
                    }
                    for pairs in zip(*columns, strict=True)
                ]
                yield keys, copies, texts, verdicts


def choose(lake: Lake, recipe: Distillation, taxonomy: Taxonomy) -> Labelled:
    """Return the documents of a recipe that its teacher has labelled in full (status ``ok``, its latest answer).

    Raises UsageError where the relation, the teacher or its labels are not in the lake.
    """
    reader = lake.reader()
    reader.execute("begin transaction")  # labels, documents and texts are of one snapshot
    names = tuple(category.name for category in taxonomy.categories)
    _check_teacher(reader, recipe)
    _create_chosen(reader, recipe, names)
    rows = " || '|' || ".join(["doc_id", "copies", *(f'cast("{name}" as varchar)' for name in names)])
    found = reader.execute(
        f"select count(*), sum(copies), sum(n_chars), bit_xor(md5_number({rows})),"
        " (select max(snapshot_id) from lake.snapshots()) from chosen join raw.documents using (doc_id)"
    ).fetchone()
    assert found is not None
    documents, copies, characters, fingerprint, snapshot = found
    if not documents:
        raise UsageError(
            f"{recipe.teacher} has labelled none of the documents of {recipe.documents} in full",
            hint=f"label them: a model with label_document(text, '{recipe.teacher}')",
        )
    return Labelled(
        reader=reader,
        categories=names,
        documents=documents,
        copies=int(copies),
        characters=int(characters),
        fingerprint=f"{int(fingerprint) % 2**128:032x}",
        snapshot_id=int(snapshot),
    )


def _create_chosen(reader: duckdb.DuckDBPyConnection, recipe: Distillation, names: Sequence[str]) -> None:
    """Create the table ``chosen``: the labelled documents, in the order of a hash, with copies and labels."""
    import duckdb

    if not _RELATION.fullmatch(recipe.documents):
        raise UsageError(f"documents: {recipe.documents!r} is not a valid model name")
    try:
        columns = [row[0] for row in reader.execute(f"describe {recipe.documents}").fetchall()]
        if "doc_id" not in columns:
            raise UsageError(f"{recipe.documents} has no column doc_id", hint=f"it has {', '.join(columns)}")
        copies = "sum(copies)" if "copies" in columns else "1"
        reader.execute(
            f"""
            create temp table chosen as
            with asked as (select doc_id, cast({copies} as bigint) as copies from {recipe.documents} group by doc_id),
            answered as (
                select * from labels.{recipe.taxonomy} where labeler = ? and status <> 'error'
                qualify row_number() over (partition by doc_id order by labelled_at desc, fingerprint) = 1
            )
            select row_number() over (order by md5(? || ':' || doc_id), doc_id) - 1 as place,
                doc_id, copies, {_quoted(names)}
            from asked join answered using (doc_id) semi join raw.documents using (doc_id)
            where status = 'ok' and copies > 0
            """,
            [recipe.teacher, str(recipe.seed)],
        )
    except duckdb.CatalogException as error:
        hint = did_you_mean(recipe.documents, _tables(reader, "main")) or "build the model first: cuvee build"
        raise UsageError(f"nothing in the lake is called {recipe.documents}", hint=hint) from error
    except duckdb.BinderException as error:
        raise CuveeError(f"cannot read {recipe.documents}: {str(error).partition(chr(10))[0]}") from error


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _tables(reader: duckdb.DuckDBPyConnection, schema: str) -> list[str]:
    query = "select table_name from information_schema.tables where table_catalog = 'lake' and table_schema = ?"
    return [table for (table,) in reader.execute(query, [schema]).fetchall()]


def _check_teacher(reader: duckdb.DuckDBPyConnection, recipe: Distillation) -> None:
    stores = [table for table in _tables(reader, "labels") if not table.endswith("_long")]
    if recipe.taxonomy not in stores:
        raise UsageError(
            f"the lake has no labels of the taxonomy {recipe.taxonomy}", hint=did_you_mean(recipe.taxonomy, stores)
        )
    labelers: Sequence[str] = [
        name for (name,) in reader.execute(f"select distinct labeler from labels.{recipe.taxonomy}").fetchall()
    ]
    if recipe.teacher not in labelers:
        hint = did_you_mean(recipe.teacher, labelers) or f"these have labelled: {', '.join(sorted(labelers))}"
        raise UsageError(f"the lake has no labels by {recipe.teacher}", hint=hint)
