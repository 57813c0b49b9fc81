"""Read Essential-Web's published schema (arXiv 2506.14111): labels go to the label store, under their own labeler.

A row holds ``eai_taxonomy.<field>.{primary,secondary}.code`` for the ten fields of the taxonomy. The code ``-1`` is an
abstention: as a primary it is kept, as a secondary it means that there is none, so NULL. Codes are kept as published,
also the few that are not valid (``641.563.2``); a row without some primary has the status ``partial``. The label
texts are left out: they follow from the codes. Everything else becomes the occurrence's metadata.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc

from warehouse.answers.store import store_schema

LABELER = "essential_web"
STORE = "labels.eai"
COLUMN = "eai_taxonomy"

#: The labels were made elsewhere: their fingerprint is of the labeler's name.
FINGERPRINT = hashlib.sha256(LABELER.encode()).hexdigest()[:32]

FIELDS = (
    "free_decimal_correspondence",
    "bloom_cognitive_process",
    "bloom_knowledge_domain",
    "document_type_v1",
    "extraction_artifacts",
    "missing_content",
    "document_type_v2",
    "reasoning_depth",
    "technical_correctness",
    "education_level",
)
_PAIR = pa.struct([pa.field("primary", pa.string()), pa.field("secondary", pa.string())])

#: The answer columns of the store ``labels.eai``.
ANSWERS = pa.schema([pa.field(name, _PAIR) for name in FIELDS])


def is_published(schema: pa.Schema) -> bool:
    """Tell whether a schema is the published one: a taxonomy struct with codes for the ten fields."""
    index = schema.get_field_index(COLUMN)
    if index < 0 or not pa.types.is_struct(schema.field(index).type):
        return False
    taxonomy = schema.field(index).type
    return all(_has_codes(taxonomy, name) for name in FIELDS)


def _has_codes(taxonomy: pa.StructType, name: str) -> bool:
    if taxonomy.get_field_index(name) < 0:
        return False
    pair = taxonomy.field(name).type
    return pa.types.is_struct(pair) and all(
        pair.get_field_index(rank) >= 0
        and pa.types.is_struct(pair.field(rank).type)
        and pair.field(rank).type.get_field_index("code") >= 0
        for rank in ("primary", "secondary")
    )


def labels(rows: pa.RecordBatch) -> pa.Table:
    """Return the store rows of published labels, with empty doc_ids to be filled."""
    taxonomy, n = rows.column(COLUMN), rows.num_rows
    answers = {name: _pair(taxonomy, name) for name in FIELDS}
    complete = reduce(pc.and_, (answer.field("primary").is_valid() for answer in answers.values()))
    constants = {
        "doc_id": pa.repeat("", n),
        "labeler": pa.repeat(LABELER, n),
        "fingerprint": pa.repeat(FINGERPRINT, n),
        "status": pc.if_else(complete, "ok", "partial"),
        "raw": pa.nulls(n, pa.string()),
        "tokens": pa.nulls(n, pa.int64()),
        "labelled_at": pa.repeat(pa.scalar(datetime.now(UTC), pa.timestamp("us", "UTC")), n),
    }
    schema = store_schema(ANSWERS)
    return pa.table([answers.get(name, constants.get(name)) for name in schema.names], schema=schema)


def _pair(taxonomy: pa.StructArray, name: str) -> pa.StructArray:
    primary, secondary = (_code(taxonomy, name, rank) for rank in ("primary", "secondary"))
    none = pc.fill_null(pc.or_kleene(pc.equal(secondary, "-1"), pc.equal(secondary, primary)), False)
    secondary = pc.if_else(none, None, secondary)
    return pa.StructArray.from_arrays([primary, secondary], fields=list(_PAIR))


def _code(taxonomy: pa.StructArray, name: str, rank: str) -> pa.StringArray:
    code = pc.struct_field(taxonomy, [name, rank, "code"]).cast(pa.string())
    return pc.if_else(pc.equal(code, ""), None, code)
