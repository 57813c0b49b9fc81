"""Digests of queries, of text and of plain values. A build compares them to find changes."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlglot import exp


def query_digest(tree: exp.Expr) -> str:
    """Return a digest of a query. Comments, layout and the letter case of keywords and unquoted names do not count."""
    from sqlglot.optimizer.normalize_identifiers import normalize_identifiers

    normal = normalize_identifiers(tree.copy(), dialect="duckdb")
    return sha256(normal.sql("duckdb", comments=False, identify=True).encode()).hexdigest()[:32]


def text_digest(sql: str) -> str:
    """Return a digest of SQL that is not parsed. Line breaks and spaces do not count."""
    return sha256(" ".join(sql.split()).encode()).hexdigest()[:32]


def values_digest(*values: object) -> str:
    """Return a digest of plain values."""
    return sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:32]
