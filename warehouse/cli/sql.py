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

    question = sys.stdin.read() if statement == "-" else statement
    cursor = open_lake(lake_dir).reader()
    try:
        relation = cursor.sql(question)
    except duckdb.Error as error:
        if isinstance(error, duckdb.ParserException | duckdb.CatalogException | duckdb.BinderException):
            raise UsageError(str(error)) from error
        raise CuveeError(str(error)) from error
    if relation is not None:
        try:
            out.rows(relation.columns, relation.fetchall())
        except duckdb.Error as error:
            raise CuveeError(str(error)) from error
