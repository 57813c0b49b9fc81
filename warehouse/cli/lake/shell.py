"""An interactive session of `cuvee sql`: several lines to a statement, history, and completion of names."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from udfs.errors import CuveeError, did_you_mean
from warehouse.cli.output import Output
from warehouse.cli.plain import plain
from warehouse.cli.tables import View

if TYPE_CHECKING:
    import duckdb
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import History

_PROMPT, _MORE = "cuvee> ", "   ... "
_LEAVE = ("exit", "quit", ".exit", ".quit", "\\q")
_COMMANDS = ("\\x", "\\all", "\\?", "\\q")
_HELP = r"""\x    one value to a line, whole, or a table again
\all  all rows, or the first 40 again
\?    this list
exit  leave; so does Ctrl-D
Alt-Enter begins a new line anywhere, Tab completes a name, Ctrl-R searches the history."""
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


def shell(cursor: duckdb.DuckDBPyConnection, answer: Callable[[str, View], None], view: View, out: Output) -> None:
    """Give what is typed to ``answer`` until the input ends. A mistake is printed, and the session goes on."""
    out.note('A statement ends with a semicolon. Ctrl-C drops it, Ctrl-D (or "exit") leaves, \\? shows more.')
    session = _session(cursor)
    view = replace(view, see_all="\\all", see_whole="\\x")
    while True:
        try:
            text = session.prompt(_PROMPT, prompt_continuation=_MORE).strip()
        except EOFError:
            return
        except KeyboardInterrupt:
            continue
        if text.lower() in _LEAVE:
            return
        if text.startswith("\\"):
            view = _command(text, view)
        elif text.strip("; \n\t"):
            _answer(cursor, partial(answer, text, view))


def _answer(cursor: duckdb.DuckDBPyConnection, ask: Callable[[], None]) -> None:
    try:
        ask()
    except CuveeError as error:
        click.echo(plain(f"error: {error}"), err=True)
    except KeyboardInterrupt:
        cursor.interrupt()
        click.echo("interrupted", err=True)


def _command(text: str, view: View) -> View:
    """Return the view after a command of the shell itself, and say what it changed."""
    name = text.rstrip("; ").lower()
    if name == "\\x":
        click.echo("values are shown in a table" if view.expanded else "one value to a line")
        return replace(view, expanded=not view.expanded)
    if name == "\\all":
        view = replace(view, most=View().most if view.most is None else None)
        click.echo("all rows are shown" if view.most is None else f"the first {view.most} rows are shown")
        return view
    if name == "\\?":
        click.echo(_HELP)
    else:
        click.echo(plain(f"error: no command {text}; {did_you_mean(name, _COMMANDS)}"), err=True)
    return view


def _session(cursor: duckdb.DuckDBPyConnection) -> PromptSession[str]:
    """Make a line editor that keeps history between sessions and completes names of tables and columns on Tab."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.application import get_app
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.filters import Condition
    from prompt_toolkit.output import create_output
    from prompt_toolkit.shortcuts import CompleteStyle

    names = [row[0] for row in cursor.execute(_NAMES).fetchall()]
    return PromptSession(
        multiline=Condition(lambda: not _is_complete(cursor, get_app().current_buffer.text)),
        history=_history(Path(click.get_app_dir("cuvee")) / "history"),
        completer=WordCompleter(names, ignore_case=True, pattern=re.compile(r"[\w.]+")),
        complete_while_typing=False,
        complete_style=CompleteStyle.READLINE_LIKE,
        output=create_output(always_prefer_tty=True),  # standard output may be a file, which no prompt belongs in
    )


def _history(path: Path) -> History:
    """Return the history in a file, or an empty one where the file cannot be written."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(path))


def _is_complete(cursor: duckdb.DuckDBPyConnection, text: str) -> bool:
    """Check whether Enter sends the text: DuckDB's parser says that a semicolon ends it, or that it is wrong."""
    import duckdb

    bare = text.strip()
    if not bare or bare.startswith("\\") or bare.lower() in _LEAVE:
        return True
    try:
        cursor.extract_statements(text)
    except duckdb.Error as error:
        if "unterminated" in str(error):  # a quote or a comment
            return False
    tokens = duckdb.tokenize(text)
    return bool(tokens) and text.encode()[tokens[-1][0] :].startswith(b";")
