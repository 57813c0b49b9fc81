"""cuvee sql: questions to the lake, answered as tables, CSV, JSON, markdown or a Parquet file."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from udfs.errors import CuveeError, UsageError
from warehouse.cli.output import Output, lake_option, open_lake, output_options, project_option
from warehouse.cli.tables import View, as_objects, counted, write_csv, write_markdown
from warehouse.lake.statements import check, lock

if TYPE_CHECKING:
    import duckdb

    from warehouse.cli.tables import Row

_NOT_IN_PARQUET = ("INTERVAL", "UNION", "TIME WITH TIME ZONE", "BIT", "BIGNUM")
_ROW_GROUP = 122_880
_FILES = "--allow-files lets the statements read other files than the lake's"


@click.command()
@click.argument("statement", required=False)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "markdown"]),
    help="How rows are written.  [default: table]",
)
@click.option("--csv", "as_csv", is_flag=True, help="Write the rows as CSV, like --format csv.")
@click.option(
    "--parquet",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the rows to a Parquet file.",
)
@click.option("--force", is_flag=True, help="Write over the file that --parquet names.")
@click.option("--allow-files", is_flag=True, help="Let the statements read other files than the lake's.")
@click.option("--all", "all_rows", is_flag=True, help="Show all rows on a terminal, not the first 40.")
@project_option
@lake_option
@output_options
def sql(
    statement: str | None,
    form: str | None,
    as_csv: bool,
    parquet: Path | None,
    force: bool,
    allow_files: bool,
    all_rows: bool,
    project_dir: Path,
    lake_dir: Path | None,
    out: Output,
) -> None:
    """Answer STATEMENT as a table. Without one, a session begins; what is piped in is a statement too.

    The lake is open for reading only: SELECT, EXPLAIN, USE, SET VARIABLE and temporary tables pass. Statements read no
    files but the lake's, unless --allow-files is given. On a terminal long tables and values are cut.
    Several statements, with a semicolon after each, are answered one after the other; in JSON as a list of answers.

        cuvee sql "select source, count(*) as documents from raw.occurrences group by source"
    """
    form = _one_form(form, as_csv, out.as_json)
    if parquet:
        _check_target(parquet, form, force)
    elif force:
        raise UsageError(
            "--force is for --parquet", hint="for example: cuvee sql --parquet rows.parquet --force STATEMENT"
        )
    view = View(most=None if all_rows else View().most, see_whole="--csv")
    lake = open_lake(lake_dir)
    cursor = lake.reader()
    lock(cursor, lake.data, files=allow_files)
    asking = Asking(cursor, project_dir, replace(out, as_json=form == "json"), form, allow_files)
    if statement is None and sys.stdin.isatty():
        if parquet:
            raise UsageError("--parquet needs a statement", hint='for example: cuvee sql --parquet F "from raw.files"')
        from warehouse.cli.lake.shell import shell

        return shell(asking.cursor, asking.answer, view, out)
    text = sys.stdin.read() if statement in (None, "-") else statement or ""
    return asking.write_parquet(text, parquet) if parquet else asking.answer(text, view)


def _one_form(form: str | None, as_csv: bool, as_json: bool) -> str:
    named = [name for name, is_named in ((form, form), ("csv", as_csv), ("json", as_json)) if name and is_named]
    if len(set(named)) > 1:
        raise UsageError(f"rows are written as {' or as '.join(named)}, not as both", hint="leave one out")
    return named[0] if named else "table"


def _check_target(path: Path, form: str, force: bool) -> None:
    if form in ("csv", "markdown"):
        raise UsageError(f"rows are written as {form} or to {path}, not both", hint=f"leave out --parquet or --{form}")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"cannot write {path}: there is no folder {path.parent}", hint=f"mkdir -p {path.parent}")
    if path.exists() and not force:
        raise UsageError(f"{path} exists", hint="write over it with --force, or name another file")


@dataclass(frozen=True, slots=True)
class Asking:
    """A connection to the lake, and how the answers to its statements are written."""

    cursor: duckdb.DuckDBPyConnection
    project_dir: Path
    out: Output
    form: str
    files: bool

    def answer(self, text: str, view: View) -> None:
        """Run statements and print their rows. Raises UsageError if one is wrong, CuveeError if it fails."""
        with _clear_errors():
            statements = self._statements(text)
            if self.form == "json":
                results = [(answer.columns, answer.fetchall()) for answer in self._answers(statements)]
                if len(results) == 1:
                    self.out.result(*results[0], view)
                else:
                    self.out.json([as_objects(*result) for result in results])
                return
            if self.form == "csv":
                _only_one(statements, "CSV")
            for number, answer in enumerate(self._answers(statements)):
                if number and self.form == "markdown":
                    self.out.text("")  # ends the table before
                if self.form == "csv":
                    write_csv(answer.columns, _rows(answer))
                elif self.form == "markdown":
                    write_markdown(answer.columns, _rows(answer))
                else:
                    self.out.result(answer.columns, _rows(answer), view)

    def write_parquet(self, text: str, path: Path) -> None:
        """Write the rows of a statement to a file, which is there when it is whole, and say how many they are."""
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        with _clear_errors():
            statements = self._statements(text)
            _only_one(statements, "a Parquet file")
            answers = self._answers(statements)
            if (answer := next(answers, None)) is None:
                raise UsageError("the statement has no rows to write", hint="--parquet takes a select")
            try:
                rows = _write_parquet(answer, part)
                part.replace(path)
            except OSError as error:
                raise CuveeError(f"cannot write {path}: {error.strerror or error}") from error
            finally:
                part.unlink(missing_ok=True)
            list(answers)  # the statements behind it
        if self.out.as_json:
            self.out.json({"file": str(path), "rows": rows})
        self.out.text(f"{counted(rows, 'row')} written to {path}")

    def _statements(self, text: str) -> list[duckdb.Statement]:
        statements = check(self.cursor, text, files=self.files)
        if not statements:
            raise UsageError("the statement is empty", hint='for example: cuvee sql "from raw.files"')
        return statements

    def _answers(self, statements: list[duckdb.Statement]) -> Iterator[duckdb.DuckDBPyRelation]:
        """Run one statement after the other. Those without rows, such as SET, have no answer."""
        for statement in statements:
            if (answer := self._ask(statement)) is not None:
                yield answer

    def _ask(self, statement: duckdb.Statement) -> duckdb.DuckDBPyRelation | None:
        """Run a statement. Register vectorized functions only when one is missing: loading them takes 0.3 s."""
        import duckdb

        from udfs.registry import VECTORIZED, Resources, expensive_functions

        try:
            return self.cursor.sql(statement)
        except duckdb.CatalogException as error:
            if not any(f"Function with name {name} does not exist" in str(error) for name in VECTORIZED):
                raise
            from warehouse.build.scalar_functions import register
            from warehouse.project.package import project_folders

            register(self.cursor, expensive_functions(Resources(project_folders(self.project_dir), Path("tokenizers"))))
            return self.cursor.sql(statement)


def _write_parquet(answer: duckdb.DuckDBPyRelation, path: Path) -> int:
    """Write rows by Arrow, which needs no leave of DuckDB to write files, and return how many there are.

    Raises UsageError for types that Arrow or Parquet would alter. Whole numbers beyond 64 bits, such as sums, become
    DECIMAL(38, 0).
    """
    import pyarrow.parquet as pq

    for name, kind in zip(answer.columns, map(str, answer.types), strict=True):
        if other := next((each for each in _NOT_IN_PARQUET if re.search(rf"\b{each}\b", kind)), None):
            raise UsageError(f"Parquet has no {other}, which column {name} holds", hint=f'cast("{name}" as varchar)')
    if twice := {name for name in answer.columns if answer.columns.count(name) > 1}:
        raise UsageError(f"two columns are called {min(twice)}", hint="tell them apart with AS")
    rows = 0
    with answer.to_arrow_reader(_ROW_GROUP) as batches, pq.ParquetWriter(path, batches.schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def _only_one(statements: list[duckdb.Statement], what: str) -> None:
    """Check that no more than one statement has rows. Raises UsageError."""
    import duckdb

    count = sum(1 for each in statements if each.expected_result_type == [duckdb.ExpectedResultType.QUERY_RESULT])
    if count > 1:
        raise UsageError(f"{count} statements have rows, and {what} holds those of one", hint="ask one at a time")


def _rows(answer: duckdb.DuckDBPyRelation) -> Iterator[Row]:
    """Yield the rows without holding them all: a table of documents may be larger than memory."""
    while rows := answer.fetchmany(1000):
        yield from rows


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Turn DuckDB's errors into ours."""
    import duckdb

    try:
        yield
    except (duckdb.ParserException, duckdb.CatalogException, duckdb.BinderException) as error:
        from warehouse.graph.parsing import unknown_function

        hint = unknown_function(str(error))
        hint = f"{hint}; such functions are called in models" if hint else None
        if re.search(r"Table with name \S*[/.]\S* does not exist", str(error)):
            hint = _FILES
        raise UsageError(str(error), hint=hint) from error
    except duckdb.PermissionException as error:
        raise UsageError(str(error), hint=_FILES) from error
    except duckdb.Error as error:
        raise CuveeError(str(error)) from error
    except RuntimeError as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # DuckDB's word for Ctrl-C
            raise KeyboardInterrupt from error
        raise
