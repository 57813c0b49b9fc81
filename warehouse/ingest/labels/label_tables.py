"""Open tables of labels, and find out what their columns mean. Labels stay as they were written.

    wide    one row per document. A category is a column; or two, ``<category>_primary`` and ``<category>_secondary``;
            or a struct of both; or a struct of structs with ``code`` (Essential-Web's ``eai_taxonomy``). The categories
            may be together in one struct (``label``), and dots in names of columns mean the same as structs.
    long    one row per label: ``category``, and ``primary`` and ``secondary``, or ``rank`` and ``code``

A row names its document by ``doc_id``, ``text``, ``url`` or ``id``. Parquet, CSV, TSV and JSONL are read by DuckDB, the
last two also compressed.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from udfs.errors import LakeError, Location, did_you_mean, first_line
from warehouse.ingest.bytestream import blocks, head
from warehouse.ingest.formats.detection import HEAD, detect
from warehouse.ingest.records import RAW_LIMIT, IngestOptions
from warehouse.lake.parquet import rows_of
from warehouse.lake.quoting import literal, quote

#: A table's columns by name: an expression in SQL, or the fields of a struct.
Tree: TypeAlias = "dict[str, Tree | str]"

#: A line that is not a row: its position, the reason, its bytes.
BrokenRow: TypeAlias = tuple[int, str, bytes | None]

#: The longest line of CSV and JSONL, in bytes. Unless it is told, DuckDB takes buffers of 16 such lines.
_LINE = 16 << 20

#: The number of a row, counted from 1, next to the columns of the file.
POSITION = "cuvee_position"

NULL = "null::varchar"

#: The names of documents, the surest first.
NAMES = ("doc_id", "text_id", "url", "source_id")


class LabelFileError(LakeError):
    """A file is not a table of labels."""


@dataclass(frozen=True, slots=True)
class LabelColumns:
    """The meaning of a table's columns, as SQL expressions; NULL for what it does not have.

    ``names`` are those of ``NAMES``. ``wide`` gives a primary and a secondary label per category. Where it is empty the
    table is long: ``category`` and ``rank`` (NULL: both labels are in one row) say what ``first`` and ``second`` are.
    """

    names: dict[str, str]
    wide: dict[str, tuple[str, str]]
    category: str = NULL
    rank: str = NULL
    first: str = NULL
    second: str = NULL


@dataclass(frozen=True, slots=True)
class LabelTable:
    """A file as a relation with a column ``POSITION``, its columns, and the lines that could not be read as rows."""

    relation: str
    columns: Tree
    broken: list[BrokenRow]


def open_table(cursor: duckdb.DuckDBPyConnection, path: Path) -> LabelTable:
    """Open the table in a file. Raises LabelFileError if there is none, OSError if it cannot be opened."""
    kind = detect(path).format
    try:
        if kind == "parquet":
            return _parquet(path)
        if kind == "jsonl":
            return _jsonl(cursor, path)
        if kind == "csv":
            return _csv(cursor, path)
    except (duckdb.Error, pa.ArrowException) as error:
        message = f"cannot be read as {kind}: {first_line(error)}"
        raise LabelFileError(message, where=Location(str(path))) from error
    found = {"empty": "it is empty", "json": "it is one JSON value", "unknown": "it is binary"}
    message = f"is not a table of labels: {found.get(kind, 'it is ' + kind)}"
    raise LabelFileError(message, where=Location(str(path)), hint="labels come as Parquet, CSV or JSONL")


def label_columns(path: Path, table: LabelTable, categories: Sequence[str], options: IngestOptions) -> LabelColumns:
    """Find what a table's columns mean for a taxonomy's categories. Raises LabelFileError."""
    columns = table.columns
    names = {
        "doc_id": _text(_leaf(columns, "doc_id")),
        "text_id": f"left(sha256(nullif({_leaf(columns, options.text_field) or 'null'}, '')), 32)",
        "url": _text(_leaf(columns, options.url_field)),
        "source_id": _text(_leaf(columns, options.id_field) or _leaf(columns, "source_id")),
    }
    if not any(_leaf(columns, each) for each in ("doc_id", options.text_field, options.url_field, options.id_field)):
        wanted = f"doc_id, {options.text_field}, {options.url_field} or {options.id_field}"
        raise _wrong(path, f"no column names the documents: {wanted}", columns, ["doc_id", "source_id"])
    category = _leaf(columns, "category")
    first = _leaf(columns, "primary") or _leaf(columns, "code") or _leaf(columns, "label")
    if category and first:
        rank = None if _leaf(columns, "primary") else _leaf(columns, "rank")
        second = _text(_leaf(columns, "secondary"))
        return LabelColumns(names, {}, category=_text(category), rank=_text(rank), first=_text(first), second=second)
    inside = [columns, *(each for each in columns.values() if isinstance(each, dict))]
    wide = max(({name: pair for name in categories if (pair := _pair(each, name))} for each in inside), key=len)
    if not wide:
        raise _wrong(path, f"no column has labels: neither category nor one like {categories[0]}", columns, categories)
    return LabelColumns(names, wide)


def _wrong(path: Path, message: str, columns: Tree, wanted: Sequence[str]) -> LabelFileError:
    near = next((hint for each in columns if (hint := did_you_mean(each, wanted)) and hint.startswith("did")), None)
    return LabelFileError(
        message, where=Location(str(path)), hint=f"its columns: {', '.join(columns)}; {near or ''}"[:400].rstrip("; ")
    )


def _pair(columns: Tree, name: str) -> tuple[str, str] | None:
    """Find the primary and the secondary label of a category."""
    found = columns.get(name)
    if isinstance(found, dict):
        first, second = (_code(found.get(rank)) for rank in ("primary", "secondary"))
    else:
        first = found or _code(columns.get(f"{name}_primary"))
        second = _code(columns.get(f"{name}_secondary"))
    return (_text(first), _text(second)) if first else None


def _code(found: Tree | str | None) -> str | None:
    """Return a label's expression; of a struct its code, else its name."""
    if isinstance(found, dict):
        code = found.get("code") or found.get("label")
        return code if isinstance(code, str) else None
    return found


def _leaf(columns: Tree, field: str) -> str | None:
    """Find the column of a name, or with dots a field of a struct; else the one in ``metadata``, as for documents."""
    for start in (columns, columns.get("metadata")):
        found: Tree | str | None = start
        for part in field.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if isinstance(found, str):
            return found
    return None


def _text(expression: str | None) -> str:
    return f"nullif(cast({expression} as varchar), '')" if expression else NULL


def _parquet(path: Path) -> LabelTable:
    schema = pq.read_schema(path)
    tree: Tree = {}
    for field in schema:
        _place(tree, field.name, _field_tree(quote(field.name), field.type))
    relation = f"(select *, file_row_number + 1 as {POSITION} from {rows_of(path, numbers=True)})"
    return LabelTable(relation, tree, [])


def _field_tree(expression: str, kind: pa.DataType) -> Tree | str:
    if not pa.types.is_struct(kind):
        return expression
    return {each.name: _field_tree(f"struct_extract({expression}, {literal(each.name)})", each.type) for each in kind}


def _place(tree: Tree, name: str, found: Tree | str) -> None:
    """Put a column into the tree; ``a.b`` is the field b of a, unless there is a column a."""
    *above, last = name.split(".")
    here = tree
    for part in above:
        inside = here.setdefault(part, {})
        if not isinstance(inside, dict):
            here, last = tree, name
            break
        here = inside
    here[last] = found


def _csv(cursor: duckdb.DuckDBPyConnection, path: Path) -> LabelTable:
    start, _ = head(path, HEAD)
    first = start.decode("utf-8-sig", "replace").lstrip("\r\n").split("\n")[0].rstrip("\r")
    comma = max(",\t;", key=first.count)
    names = next(csv.reader([first], delimiter=comma), [])
    if not all(names) or len({name.casefold() for name in names}) < len(names):
        raise LabelFileError("the first line does not name the columns", where=Location(str(path), 1))
    columns = ", ".join(f"{literal(name)}: 'varchar'" for name in names)
    scan = (
        f"read_csv({literal(path)}, auto_detect = false, columns = {{{columns}}}, delim = '{comma}', header = true,"
        f" quote = '\"', escape = '\"', max_line_size = {_LINE}, buffer_size = {2 * _LINE}, hive_partitioning = false"
    )
    tree: Tree = {}
    for name in names:
        _place(tree, name, quote(name))
    return _lines(cursor, path, scan, tree, header=1)


def _jsonl(cursor: duckdb.DuckDBPyConnection, path: Path) -> LabelTable:
    scan = (
        f"read_csv({literal(path)}, auto_detect = false, columns = {{'line': 'varchar'}}, delim = '\x1f', quote = '',"
        f" escape = '', header = false, max_line_size = {_LINE}, buffer_size = {2 * _LINE}, hive_partitioning = false"
    )
    table = _lines(cursor, path, scan, {}, header=0)
    # A line with a lone surrogate is not valid JSON to DuckDB, which raises where it is asked for a field of it.
    # Conditions joined by AND may be tested in any order; a CASE tests in its order.
    sound = "case when json_valid(line) then json_type(line) = 'OBJECT' else false end"
    relation = f"(select {POSITION}, case when {sound} then line end as line from {table.relation} where {sound})"
    bad = cursor.execute(
        f"select {POSITION}, line from {table.relation} where not {sound} and coalesce(trim(line), '') <> ''"
    ).fetchall()
    broken = [(position, "is no JSON object", line.encode()) for position, line in bad]
    # Not json_group_structure, which keeps all it has seen: 600 MB for a million lines.
    structures = cursor.execute(f"select distinct json_structure(line)::varchar from {relation}").fetchall()
    merged: dict[str, Any] = {}
    for (structure,) in structures:
        _merge(merged, orjson.loads(structure))
    tree: Tree = {}
    paths: list[str] = []
    for name, kind in merged.items():
        _place(tree, name, _json_tree(f"$.{_key(name)}", kind, paths))
    listed = ", ".join(map(literal, paths))
    # All fields in one call: a line is parsed once.
    relation = f"(select {POSITION}, json_extract_string(line, [{listed}]::varchar[]) as fields from {relation})"
    return LabelTable(relation, tree, sorted([*table.broken, *broken]))


def _merge(fields: dict[str, Any], more: dict[str, Any]) -> None:
    """Add the fields of another record; what is an object in one of them is one."""
    for name, kind in more.items():
        if isinstance(kind, dict):
            if not isinstance(fields.get(name), dict):
                fields[name] = {}
            _merge(fields[name], kind)
        else:
            fields.setdefault(name, kind)


def _json_tree(path: str, kind: Any, paths: list[str]) -> Tree | str:
    """Return a field's tree; ``paths`` collects those of the leaves."""
    if isinstance(kind, dict):
        return {name: _json_tree(f"{path}.{_key(name)}", inner, paths) for name, inner in kind.items()}
    paths.append(path)
    return f"fields[{len(paths)}]"


def _key(name: str) -> str:
    return '"' + name.replace('"', '\\"') + '"'


def _lines(cursor: duckdb.DuckDBPyConnection, path: Path, scan: str, tree: Tree, *, header: int) -> LabelTable:
    """Make a table of the rows that DuckDB can read, numbered, and of the lines that it cannot."""
    kept = "store_rejects = true, rejects_limit = 0"
    cursor.execute(f"select count(*) from {scan}, ignore_errors = true, {kept})").fetchall()  # unread, it is not run
    rejected = cursor.execute(
        "select line, any_value(lower(error_type::varchar)), coalesce(any_value(csv_line), '') from temp.reject_errors"
        " group by line order by line"
    ).fetchall()
    cursor.execute("drop table temp.reject_errors; drop table temp.reject_scans")
    numbered = f"(select row_number() over () as {POSITION}, * from {scan}, ignore_errors = true))"
    if not rejected:
        return LabelTable(numbered, tree, [])
    # Rows are counted without the lines that were left out: of those before a row there are as many as it is short of.
    behind = {line - header - count: count for count, (line, _, _) in enumerate(rejected, 1)}
    shifts = ", ".join(str(pair) for pair in behind.items())
    relation = (
        f"(select found.{POSITION} + coalesce(shift.lines, 0) as {POSITION}, found.* exclude ({POSITION})"
        f" from {numbered} as found"
        f" asof left join (values {shifts}) as shift(behind, lines) on found.{POSITION} > shift.behind)"
    )
    damaged = [line for line, kind, _ in rejected if "encoding" in kind]
    found = dict(zip(damaged, _raw_lines(path, damaged), strict=True))
    broken = [
        (
            line - header,
            "is not UTF-8" if line in found else f"is no row: {kind}",
            found.get(line) or text.rstrip("\r\n").encode(),
        )
        for line, kind, text in rejected
    ]
    return LabelTable(relation, tree, [(position, reason, raw[:RAW_LIMIT]) for position, reason, raw in broken])


def _raw_lines(path: Path, numbers: Sequence[int]) -> Iterator[bytes]:
    """Yield lines of a file by their numbers, from 1 and rising, unchanged."""
    lines = _split(blocks(path))
    done = 0
    for number in numbers:
        yield next(islice(lines, number - done - 1, None), b"")
        done = number


def _split(parts: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for part in parts:
        *whole, rest = (rest + part).split(b"\n")
        yield from whole
    yield rest
