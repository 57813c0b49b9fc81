"""What a reader may ask: SQL from a command line or a prompt, which must not change the lake.

A connection that is open for reading only is not enough: DuckDB writes files by ``COPY … TO`` and ``EXPORT``, changes
the catalog where it is attached once more as SQLite, and removes files by DuckLake's own functions, also in a SELECT.
So DuckDB's parser says what each statement is before one runs. SELECT, EXPLAIN, USE, SET VARIABLE and temporary tables
pass, and the settings in ``SETTINGS``; ``lock`` lets the connection open no files but the lake's data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from udfs.errors import UsageError
from warehouse.lake.quoting import literal

if TYPE_CHECKING:
    import duckdb

#: Settings of a connection that a reader may change.
SETTINGS = ("threads", "timezone")

_DUCKLAKE = (
    "add_data_files", "cleanup_old_files", "commit", "delete_orphaned_files", "expire_snapshots", "flush_inlined_data",
    "merge_adjacent_files", "rewrite_data_files", "scan", "set_commit_message", "set_option",
)  # fmt: skip

#: Functions that may stand in a SELECT and change something, run a text as SQL, or take an address in memory.
REFUSED = frozenset((
    *(f"ducklake_{name}" for name in _DUCKLAKE), *_DUCKLAKE,
    "sqlite_attach", "sqlite_query", "sqlite_execute",
    "checkpoint", "force_checkpoint", "enable_logging", "disable_logging", "truncate_duckdb_logs",
    "enable_profiling", "disable_profiling",
    "query", "json_execute_serialized_sql",
    "arrow_scan", "arrow_scan_dumb", "pandas_scan", "python_map_function", "seq_scan",
)) - {"commit", "scan"}  # fmt: skip
#: Reads any file of SQLite, whatever the connection may open.
_SQLITE = "sqlite_scan"

_NAME = re.compile(r'"(?:[^"]|"")*"|[^\W\d][\w$]*')
#: DuckDB's parser takes these for blanks.
_BLANKS = dict.fromkeys((0xA0, 0x1680, *range(0x2000, 0x200C), 0x202F, 0x205F, 0x3000, 0xFEFF), " ")

_WHAT = "SELECT, EXPLAIN, USE, SET VARIABLE and temporary tables pass; tables change by cuvee ingest and cuvee build"
_HINTS = {
    "COPY": "rows go to a file by --csv, --json or --parquet FILE",
    "EXPORT": "a plain DuckDB client copies a lake: cuvee lake prints how it is attached",
    "CREATE": "CREATE TEMP TABLE passes; a table of the lake is a model: cuvee build",
    "CALL": "functions that only read are called in a SELECT: from ducklake_snapshots('lake')",
}

#: Second words that say what is meant.
_SECOND = frozenset((
    "DATABASE", "FROM", "FUNCTION", "INDEX", "INTO", "MACRO", "SCHEMA", "SECRET", "SEQUENCE", "TABLE", "TYPE", "VIEW"
))  # fmt: skip

#: Statements about a table, with the words that come before its name.
_TABLE = {
    "INSERT": r"insert (or (replace|ignore) )?into",
    "UPDATE": "update",
    "DELETE": "delete from|truncate( table)?",
    "DROP": "drop (table|view|macro|function|macro table)( if exists)?",
    "ALTER": "alter (table|view)( if exists)?",
}
_CREATE = re.compile(r"create (or replace )?(temp|temporary|local temp|local temporary) (table|view|macro|function)\b")
_BARE = r'(temp \. (main \. )?)?("(?:[^"]|"")*"|[\w$]+)( (?!\.)|$)'


class RefusedStatementError(UsageError):
    """A reader's statement would change more than a temporary table."""


def check(
    cursor: duckdb.DuckDBPyConnection, text: str, *, files: bool = False, settings: bool = False
) -> list[duckdb.Statement]:
    """Parse the statements in a text; raise RefusedStatementError if one of them is not a reader's.

    ``files``: a file of SQLite may be read. ``settings``: any setting may be changed.
    """
    statements = cursor.extract_statements(text)
    _check_functions(text, files)
    for statement in statements:
        _check_functions(statement.query, files)  # a PRAGMA is read as other statements than the text says
        if not _passes(cursor, statement, files, settings):
            kind = statement.type.name
            first, *others = [word.upper() for word in _words(statement.query)[:2]] or [kind]
            words = " ".join([first, *(word for word in others if word in _SECOND)])
            hint = _HINTS.get(kind, "")
            raise RefusedStatementError(
                f"{words} is refused: the lake is open for reading only", hint=f"{hint}\n  {_WHAT}" if hint else _WHAT
            )
    return statements


def check_query(cursor: duckdb.DuckDBPyConnection, text: str) -> None:
    """Raise RefusedStatementError if a text is not one query, which can be put into another. It may read files."""
    statements = check(cursor, text, files=True)
    kinds = [each.type.name for each in statements if each.query.strip() or each.type.name == "SELECT"]
    if kinds != ["SELECT"]:
        raise RefusedStatementError(f"this is not one query: {text.strip()[:80]}", hint="write one SELECT")


def lock(cursor: duckdb.DuckDBPyConnection, data: Path, *, files: bool = False) -> None:
    """Let a connection read no files but those below ``data`` (unless ``files``), and keep it so."""
    folder = literal(f"{data}/")
    access = "" if files else f"set allowed_directories = [{folder}]; set enable_external_access = false;"
    cursor.execute(
        f"{access} set allowed_configs = [{', '.join(map(literal, SETTINGS))}]; set lock_configuration = true"
    )


def _passes(cursor: duckdb.DuckDBPyConnection, statement: duckdb.Statement, files: bool, settings: bool) -> bool:
    kind = statement.type.name
    if kind == "SELECT":
        return True
    if not statement.query.strip():  # a PIVOT is read as the making of a temporary type and a SELECT
        return kind == "CREATE"
    words = _words(statement.query)
    line = " ".join(words)
    if kind == "EXPLAIN":
        return _passes_explained(cursor, statement.query, files, settings)
    if kind == "CREATE":
        return _CREATE.match(line) is not None
    if kind == "SET":
        scope = 2 if words[1:2] in (["session"], ["global"], ["local"]) else 1
        name = words[scope].strip('"') if len(words) > scope else ""
        return settings or words[0] == "use" or name in ("variable", "schema", *SETTINGS, "time")
    # A table of the lake cannot be meant: it is attached for reading only, and so is its catalog.
    return kind in _TABLE and re.match(rf"(?:{_TABLE[kind]}) {_BARE}", line) is not None


def _passes_explained(cursor: duckdb.DuckDBPyConnection, query: str, files: bool, settings: bool) -> bool:
    """Check what is explained: EXPLAIN ANALYZE runs it."""
    import duckdb

    query = query.translate(_BLANKS)
    content = query.encode()
    places = [(offset, word) for offset, word in _tokens(query) if word not in ("explain", "analyze", "verbose")]
    if not places:
        return False
    starts = [places[0][0]]
    if places[0][1] == "(":  # options, or a query in parentheses
        depth = 0
        for number, (_, word) in enumerate(places):
            depth += (word == "(") - (word == ")")
            if not depth:
                starts += [offset for offset, _ in places[number + 1 : number + 2]]
                break
    for start in starts:
        try:
            inner = cursor.extract_statements(content[start:].decode())
        except duckdb.Error:
            continue
        return bool(inner) and all(_passes(cursor, each, files, settings) for each in inner)
    return False


def _check_functions(text: str, files: bool) -> None:
    tokens = [word for _, word in _tokens(text)]
    for word, following in pairwise(tokens):
        name = word[1:-1].replace('""', '"') if word.startswith('"') else word
        if following == "(" and (name in REFUSED or (name == _SQLITE and not files)):
            raise RefusedStatementError(
                f"the function {name} is refused: the lake is open for reading only",
                hint="--allow-files lets it be read" if name == _SQLITE else _WHAT,
            )


def _words(text: str) -> list[str]:
    return [word for _, word in _tokens(text)]


def _tokens(text: str) -> Iterator[tuple[int, str]]:
    """Yield names (in lower case), signs and the beginnings of other tokens, each with its place in bytes."""
    import duckdb

    plain = text.translate(_BLANKS)
    content = plain.encode()
    places = [offset for offset, kind in duckdb.tokenize(plain) if kind != duckdb.token_type.comment]
    for start, end in pairwise([*places, len(content)]):
        piece = content[start:end].decode(errors="replace")
        name = _NAME.match(piece)
        yield start, (name.group().lower() if name else piece[:1])
