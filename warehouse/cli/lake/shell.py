"""An interactive session of `cuvee sql`: several lines to a statement, history, and completion of names."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from udfs.errors import CuveeError
from warehouse.cli.output import Output

if TYPE_CHECKING:
    import duckdb

_PROMPT, _MORE = "cuvee> ", "   ... "
_HISTORY = 10_000
_NAMES = """
select distinct lower(name) from (
    select keyword_name as name from duckdb_keywords() where keyword_category = 'reserved'
    union all select schema_name from duckdb_tables() where database_name = 'lake'
    union all select schema_name || '.' || table_name from duckdb_tables() where database_name = 'lake'
    union all select view_name from duckdb_views() where database_name = 'lake'
    union all select table_name from duckdb_tables() where database_name = 'lake' and schema_name = 'main'
    union all select column_name from duckdb_columns() where database_name = 'lake'
) order by 1
"""


def shell(cursor: duckdb.DuckDBPyConnection, answer: Callable[[str], None], out: Output) -> None:
    """Give each statement to ``answer`` until the input ends. A mistake is printed, and the session goes on."""
    out.note('A statement ends with a semicolon. Ctrl-C drops it, Ctrl-D (or "exit") leaves.')
    with _readline(cursor):
        for statement in _statements():
            try:
                answer(statement)
            except CuveeError as error:
                click.echo(f"error: {error}", err=True)
            except KeyboardInterrupt:
                cursor.interrupt()
                click.echo("interrupted", err=True)


def _statements() -> Iterator[str]:
    """Yield what is typed, up to each semicolon that DuckDB takes for an end."""
    lines: list[str] = []
    while True:
        try:
            lines.append(input(_MORE if lines else _PROMPT))
        except EOFError:
            click.echo()
            return
        except KeyboardInterrupt:
            click.echo()
            lines = []
            continue
        text = "\n".join(lines).strip()
        if text.lower() in ("exit", "quit", ".exit", ".quit"):
            return
        if not text or text == ";":
            lines = []
        elif _is_complete(text):
            yield text
            lines = []


def _is_complete(text: str) -> bool:
    """Check whether a statement's semicolon was typed; one inside quotes or a comment does not count."""
    if not text.endswith(";"):
        return False
    bare = re.sub(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/|\$\$.*?\$\$", "", text, flags=re.DOTALL)
    return bare.rstrip().endswith(";") and "'" not in bare and '"' not in bare and "/*" not in bare


@contextlib.contextmanager
def _readline(cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Keep history between sessions, and complete names of tables and columns on Tab, where Python has readline."""
    try:
        import readline
    except ImportError:  # Python without it
        yield
        return
    history = Path(click.get_app_dir("cuvee")) / "history"
    with contextlib.suppress(OSError):
        readline.read_history_file(history)
    readline.set_history_length(_HISTORY)
    readline.set_completer_delims(" \t\n()[]{},;=<>+-*/|'\"")
    names = [row[0] for row in cursor.execute(_NAMES).fetchall()]

    def complete(start: str, state: int) -> str | None:
        found = [name for name in names if name.startswith(start.lower())]
        return found[state] if state < len(found) else None

    readline.set_completer(complete)
    readline.parse_and_bind("bind ^I rl_complete" if "libedit" in (readline.__doc__ or "") else "tab: complete")
    try:
        yield
    finally:
        readline.set_completer(None)
        with contextlib.suppress(OSError):
            history.parent.mkdir(parents=True, exist_ok=True)
            readline.write_history_file(history)
