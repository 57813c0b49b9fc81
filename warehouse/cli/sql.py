"""cuvee sql: a question to the lake, answered as a table."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from udfs.errors import CuveeError, UsageError
from warehouse.cli.output import Output, lake_option, open_lake, output_options


@click.command()
@click.argument("statement")
@lake_option
@output_options
def sql(statement: str, lake_dir: Path | None, out: Output) -> None:
    """Answer STATEMENT as a table ("-" reads it from standard input).

    The lake is open for reading only: tables change by ingest and build.

        cuvee sql "select source, count(*) as documents from raw.occurrences group by source"
    """
    import duckdb

    from warehouse.graph import unknown_function

    question = sys.stdin.read() if statement == "-" else statement
    if not question.strip(" \t\r\n;"):
        raise UsageError("the statement is empty", hint='for example: cuvee sql "from raw.files"')
    cursor = open_lake(lake_dir).reader()
    try:
        relation: duckdb.DuckDBPyRelation | None = cursor.sql(question)
    except duckdb.Error as error:
        if isinstance(error, duckdb.ParserException | duckdb.CatalogException | duckdb.BinderException):
            hint = unknown_function(str(error))
            raise UsageError(str(error), hint=hint and f"{hint}; such functions are called in models") from error
        raise CuveeError(str(error)) from error
    if relation is None:  # a statement without rows, such as SET
        out.rows((), ())
    else:
        try:
            out.rows(relation.columns, relation.fetchall())
        except duckdb.Error as error:
            raise CuveeError(str(error)) from error
