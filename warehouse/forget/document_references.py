"""Find what refers to documents: rows of the lake's tables, data files of any snapshot, units of the shard store.

A row holds a document if a column called ``doc_id``, or with that in its name, says so. Three places are searched for
the texts as well: tables without such a column, answers (whose key may be that of a part of a text) and rejected
records. There a row holds a document if one of its texts begins with the document's first ``HEAD`` characters. Where
few documents are searched for, a text that holds these characters, or is a part of the document, counts too. Shorter
texts than ``HEAD`` do not identify a document, so they are not searched for.

A text that a model changed (``upper(text)``) and keeps without ``doc_id`` is not found. It leaves with the next
``cuvee build`` and ``cuvee lake expire``. Readers in other processes may fail once, as their files are removed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import pyarrow.parquet as pq

from warehouse.export.store import DOCUMENTS
from warehouse.lake.catalog import DataFile, Execute, data_files
from warehouse.lake.lake import Lake
from warehouse.lake.parquet import rows_of
from warehouse.lake.quoting import quote

HEAD = 32
#: Of more documents than this, or more characters, only beginnings are compared: each value with each text costs both.
FEW, FEW_CHARACTERS = 200, 32 << 20

#: Tables that hold ids at most, and must tell afterwards who held what.
_KEPT = ("cuvee", "exports", "runs")


class TextMatcher:
    """Texts that are searched for in other values."""

    def __init__(self, texts: Iterable[str]) -> None:
        known = [text for text in texts if len(text) >= HEAD]
        few = len(known) <= FEW and sum(map(len, known)) <= FEW_CHARACTERS
        self._heads = {text[:HEAD] for text in known}
        self._whole = tuple(known) if few else ()
        escaped = [json.dumps(head, ensure_ascii=ascii)[1:-1] for head in self._heads for ascii in (True, False)]
        self._inside = tuple({*self._heads, *escaped}) if few else ()

    def __bool__(self) -> bool:
        return bool(self._heads)

    def is_in(self, value: object) -> bool:
        """Tell whether a value, or one inside it, holds one of the texts or a part of one."""
        waiting = [value]  # not by recursion: a record may be nested in 1,024 levels
        while waiting:
            each = waiting.pop()
            if isinstance(each, str):
                if len(each) >= HEAD and (
                    each[:HEAD] in self._heads
                    or any(head in each for head in self._inside)
                    or any(each in text for text in self._whole)
                ):
                    return True
            elif isinstance(each, bytes):
                waiting += [_decoded(each), each.decode("utf-8", "replace")]
            elif isinstance(each, dict):
                waiting += each.values()
            elif isinstance(each, list):
                waiting += each
        return False


def _decoded(raw: bytes) -> object:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


@dataclass(frozen=True, slots=True)
class DocumentKeys:
    """The documents to find: Parquet files with ``doc_id``, and with ``doc_id, file_id, position`` of occurrences.

    Of the latter, a NULL ``position`` means everything that was rejected in the file.
    """

    ids: Path
    occurrences: Path

    @property
    def is_document(self) -> str:
        """The condition on ``{column}`` that it is one of the documents."""
        read = rows_of(self.ids).replace("{", "{{").replace("}", "}}")
        return f"{{column}} in (from {read})"

    def condition(self, table: str, columns: Iterable[str]) -> str | None:
        """Return the condition for the rows of a table that go, as far as ids tell; None if they tell nothing."""
        named = [quote(column) for column in columns if "doc_id" in column.lower()]
        places = f"(from {rows_of(self.occurrences)})"
        if table == "raw.occurrences":
            return f"{self.is_document.format(column='doc_id')} or (doc_id, file_id, position) in {places}"
        if table == "raw.rejects":
            return f"file_id in (select file_id from {places} where position is null)"
        return " or ".join(self.is_document.format(column=f"{column}::varchar") for column in named) or None


def find_rows(execute: Execute, keys: DocumentKeys, texts: TextMatcher) -> dict[str, tuple[str, int]]:
    """Return, by table of the current snapshot, the condition of the rows that hold something, and their number."""
    found: dict[str, tuple[str, int]] = {}
    for table, columns in _tables(execute).items():
        condition = keys.condition(table, columns)
        conditions = [condition] if condition else []
        if texts and _is_read(table, columns) and (hits := _rowids(execute, table, columns, texts)):
            conditions.append(f"rowid in ({', '.join(map(str, hits))})")
        if conditions:
            where = " or ".join(f"({each})" for each in conditions)
            count = execute(f"select count(*) from {_quoted(table)} where {where}").fetchone()[0]
            if count:
                found[table] = (where, count)
    return found


def find_files(lake: Lake, execute: Execute, keys: DocumentKeys, texts: TextMatcher) -> list[DataFile]:
    """List the data files of all snapshots that hold something. Deleted rows count: they are still in the file."""
    by_table: dict[str, list[DataFile]] = {}
    for held in _data_files(lake, execute):
        if held.path.exists():
            by_table.setdefault(held.table, []).append(held)
    found: list[DataFile] = []
    for table, held_files in by_table.items():
        names = [str(held.path) for held in held_files]
        read = rows_of(*names, names=True, union=True)
        columns = {name: kind for name, kind, *_ in execute(f"describe from {read}").fetchall()}
        holding: set[str] = set()
        if condition := keys.condition(table, columns):
            query = f"select distinct filename from {read} where {condition}"
            holding = {name for (name,) in execute(query).fetchall()}
        if texts and _is_read(table, columns):
            holding |= {name for name in names if name not in holding and _file_holds(Path(name), texts)}
        found += [held for held in held_files if str(held.path) in holding]
    return found


def load_texts(lake: Lake, execute: Execute, keys: DocumentKeys) -> TextMatcher:
    """Load the documents' texts from all data files that still have them."""
    names = [
        str(held.path) for held in _data_files(lake, execute) if held.table == "raw.documents" and held.path.exists()
    ]
    if not names:
        return TextMatcher([])
    of = f"from {rows_of(*names)} where {keys.is_document.format(column='doc_id')}"
    count, characters = execute(f"select count(distinct doc_id), coalesce(sum(n_chars), 0) {of}").fetchone()
    text = "text" if count <= FEW and characters <= FEW_CHARACTERS else f"left(text, {HEAD})"
    found = execute(f"select distinct {text} {of}")
    return TextMatcher(value for (value,) in found.fetchall())


def find_units(lake: Lake, execute: Execute, keys: DocumentKeys) -> list[Path]:
    """List the folders of the shard store's units that hold documents."""
    names = [str(path) for path in (lake.root / "shards").glob(f"*/*/{DOCUMENTS}")]
    if not names:
        return []
    query = f"select distinct filename from {rows_of(*names, names=True)} where "
    found = execute(query + keys.is_document.format(column="doc_id"))
    return sorted(Path(name).parent for (name,) in found.fetchall())


def _tables(execute: Execute) -> dict[str, dict[str, str]]:
    """Return the tables that may hold documents, with their columns and types."""
    found: dict[str, dict[str, str]] = {}
    for schema, table, column, kind in execute(
        "select c.schema_name, c.table_name, c.column_name, c.data_type from duckdb_columns() as c"
        " semi join duckdb_tables() as t on t.database_name = 'lake' and t.table_oid = c.table_oid"
        " where c.database_name = 'lake' order by c.schema_name, c.table_name, c.column_index"
    ).fetchall():
        if schema not in _KEPT and (schema, table) != ("raw", "files"):
            found.setdefault(f"{schema}.{table}", {})[column] = kind
    return found


def _is_read(table: str, columns: dict[str, str]) -> bool:
    """Tell whether the texts in a table's rows are searched."""
    textual = any("VARCHAR" in kind or "BLOB" in kind or "JSON" in kind for kind in columns.values())
    named = any("doc_id" in column.lower() for column in columns)
    return textual and (not named or table == "raw.rejects" or "labelled_at" in columns)


def _rowids(execute: Execute, table: str, columns: dict[str, str], texts: TextMatcher) -> list[int]:
    listed = ", ".join(quote(column) for column in columns if "doc_id" not in column.lower())
    reader = execute(f"select rowid, {listed} from {_quoted(table)}")
    found: list[int] = []
    while portion := reader.fetchmany(4096):
        found += [row[0] for row in portion if any(map(texts.is_in, row[1:]))]
    return found


def _file_holds(path: Path, texts: TextMatcher) -> bool:
    file = pq.ParquetFile(path)
    return any(any(map(texts.is_in, row.values())) for batch in file.iter_batches(4096) for row in batch.to_pylist())


def _data_files(lake: Lake, execute: Execute) -> Iterator[DataFile]:
    """Yield the data files of tables that have to do with documents."""
    for file in data_files(lake, execute):
        if file.table.partition(".")[0] not in _KEPT and file.table != "raw.files":
            yield file


def _quoted(table: str) -> str:
    return "lake." + ".".join(map(quote, table.split(".", 1)))
