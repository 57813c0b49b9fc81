"""cuvee sql: a question to the lake, answered as a table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from udfs.errors import CuveeError, UsageError
from warehouse.cli.output import Output, lake_option, open_lake, output_options

if TYPE_CHECKING:
    import duckdb


@click.command()
@click.argument("statement", required=False)
@lake_option
@output_options
def sql(statement: str | None, lake_dir: Path | None, out: Output) -> None:
    """Answer STATEMENT as a table. Without one, a session begins; what is piped in is a statement too.

    The lake is open for reading only: tables change by ingest and build.

        cuvee sql "select source, count(*) as documents from raw.occurrences group by source"
    """
    cursor = open_lake(lake_dir).reader()
    if statement is None and sys.stdin.isatty():
        from warehouse.cli.lake.shell import shell

        return shell(cursor, lambda line: answer(cursor, line, out), out)
    return answer(cursor, sys.stdin.read() if statement in (None, "-") else statement or "", out)


def answer(cursor: duckdb.DuckDBPyConnection, statement: str, out: Output) -> None:
    """Run a statement and print its rows. Raises UsageError if it is wrong, CuveeError if it fails."""
    import duckdb

    from warehouse.graph.parsing import unknown_function

    if not statement.strip(" \t\r\n;"):
        raise UsageError("the statement is empty", hint='for example: cuvee sql "from raw.files"')
    try:
        relation: duckdb.DuckDBPyRelation | None = _ask(cursor, statement)
        if relation is None:  # a statement without rows, such as SET
            out.rows((), ())
        else:
            out.rows(relation.columns, relation.fetchall())
    except duckdb.Error as error:
        if isinstance(error, duckdb.ParserException | duckdb.CatalogException | duckdb.BinderException):
            hint = unknown_function(str(error))
            raise UsageError(str(error), hint=hint and f"{hint}; such functions are called in models") from error
        raise CuveeError(str(error)) from error


def _ask(cursor: duckdb.DuckDBPyConnection, statement: str) -> duckdb.DuckDBPyRelation | None:
    """Run a statement. Register vectorized functions only when one is missing: loading them takes 0.3 s."""
    import duckdb

    from udfs.registry import VECTORIZED, Resources, expensive_functions

    try:
        return cursor.sql(statement)
    except duckdb.CatalogException as error:
        if not any(f"Function with name {name} does not exist" in str(error) for name in VECTORIZED):
            raise
        from warehouse.build.scalar_functions import register

        register(cursor, expensive_functions(Resources(Path("sql/seeds"), Path("tokenizers"))))
        return cursor.sql(statement)
