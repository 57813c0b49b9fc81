"""Calls taken out of queries, by pairs of a query and what becomes of it, in tests/fixtures/rewrite."""

from __future__ import annotations

from types import SimpleNamespace

import duckdb
import pyarrow as pa
import pytest
import sqlglot
from sqlglot import exp

from tests.warehouse.helpers import sql_cases, step
from warehouse.answers import rewrite
from warehouse.answers.calls import CallError


class Function:
    def __init__(self, name: str) -> None:
        self.name = name

    def bind(self, options: tuple[object, ...]) -> SimpleNamespace:
        pair = pa.struct([("primary", pa.string()), ("secondary", pa.string())])
        wide = self.name == "label"
        columns = pa.schema([("a", pair), ("b", pa.string())] if wide else [("n", pa.int64())])
        store = "labels.x" if wide else "counts.n"
        return SimpleNamespace(
            store=store, labeler=self.name, fingerprint=self.name, columns=columns, result=None if wide else "n"
        )


def pretty(sql: str) -> str:
    """Return a query over several lines, with ``key(x)`` for left(sha256(cast(x as text)), 32)."""

    def short(node: exp.Expression) -> exp.Expression:
        match node:
            case exp.Left(this=exp.SHA2(this=exp.Cast(this=text))):
                return exp.Anonymous(this="key", expressions=[text.transform(short)])
            case exp.Paren(this=exp.Column() as column):
                return column
        return node

    tree = sqlglot.parse_one(sql, read="duckdb").transform(short)
    return tree.sql("duckdb", pretty=True, normalize_functions="lower", max_text_width=110)


@pytest.mark.parametrize(("given", "expected"), sql_cases("rewrite"))
def test_rewrite(given: str, expected: str) -> None:
    with duckdb.connect() as connection:
        connection.execute("create schema raw; create table o (id int, t varchar); create table p (id int, u varchar)")
        connection.execute("create table raw.documents (doc_id varchar, text varchar, n_chars bigint, first varchar)")
        functions = {name: Function(name) for name in ("n_tokens", "label")}
        try:
            done = rewrite.rewrite(step(given), functions, connection)  # type: ignore[arg-type]
            lines = [*(f"inputs:\n{pretty(stage.keys)}" for stage in done.stages), f"query:\n{pretty(done.sql)}"]
            connection.execute(f"describe {done.sql}")
        except CallError as error:
            assert error.where is not None
            lines = [f"refused at {error.where.line}:{error.where.column}: {error.message}"]
    assert "\n".join(lines).lower() == expected.lower()
