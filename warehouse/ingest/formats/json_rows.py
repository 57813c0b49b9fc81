"""Write rows of Arrow columns as JSON objects.

A value that JSON cannot hold (a date beyond the year 9999, a decimal of 70 digits, malformed JSON in a column of JSON)
becomes text, one that has no text becomes null, and each is counted: a harmless column costs no document.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import duckdb
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.ingest.exact_json import BECAME_NULL

#: What DuckDB and Arrow raise for types and values that they do not take from each other.
REFUSED = (duckdb.Error, pa.ArrowException, NotImplementedError, ValueError, OverflowError, TypeError, RecursionError)


class JsonRows:
    """Writes rows as JSON objects. DuckDB makes 1.5 million of five fields in a second, Python 90 thousand."""

    def __init__(self, notes: Counter[str]) -> None:
        self._notes = notes
        self._database = duckdb.connect()
        self._database.execute("set threads = 1; set memory_limit = '300MB'; set TimeZone = 'UTC'")

    def rows(self, columns: dict[str, pa.Array], n: int) -> pa.Array:
        """Return one object a row, of type json; NULL when there are no columns."""
        if not columns or not n:
            return _as_json(pa.nulls(n, pa.string()))
        found: Counter[str] = Counter()
        try:
            row = pa.StructArray.from_arrays([_finite(each, found) for each in columns.values()], names=list(columns))
            made = self._written(row)
        except REFUSED:
            found.clear()
            pieces: list[Any] = []
            for name, column in columns.items():
                pieces += [f"{',' if pieces else '{'}{orjson.dumps(name).decode()}:", self._values(name, column, found)]
            made = pc.binary_join_element_wise(*pieces, "}", "")
        self._notes.update(found)
        return _as_json(made)

    def _written(self, values: pa.Array) -> pa.Array:
        self._database.register("columns", pa.table({"value": values}))
        made = self._database.execute("select to_json(value)::varchar as body from columns").to_arrow_table()
        return made["body"].combine_chunks().cast(pa.string())

    def _values(self, name: str, column: pa.Array, found: Counter[str]) -> pa.Array:
        """Return a column's values as JSON, the whole column at once where DuckDB takes it."""
        mine: Counter[str] = Counter()
        try:
            written = self._written(_finite(column, mine))
        except REFUSED:
            mine.clear()
            written = pa.array([_value(column, row, name, mine) for row in range(len(column))], pa.string())
        found.update(mine)
        return pc.fill_null(written, "null")


def valid(name: str, column: pa.Array, notes: Counter[str]) -> pa.Array:
    """Return a column whose strings are UTF-8: other bytes become escapes, and are counted."""
    if _is_valid(column):
        return column
    repaired = _repaired(column)
    if _is_valid(repaired):
        notes[f"column {name!r} is not UTF-8: its bytes became escapes"] += 1
        return repaired
    rows = [_is_valid(repaired.slice(row, 1)) for row in range(len(repaired))]
    notes[f"column {name!r} has invalid values: they became null"] += rows.count(False)
    return pc.if_else(pa.array(rows), repaired, None)


def _repaired(column: pa.Array) -> pa.Array:
    kind = column.type
    if isinstance(column, pa.ExtensionArray):
        return _repaired(column.storage)
    if pa.types.is_dictionary(kind):
        return _repaired(column.dictionary_decode())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        binary = column.cast(pa.large_binary()).to_pylist()
        return pa.array([None if each is None else each.decode("utf-8", "backslashreplace") for each in binary])
    if pa.types.is_struct(kind) and kind.num_fields:
        children = [_repaired(child) for child in column.flatten()]
        return pa.StructArray.from_arrays(children, names=[each.name for each in kind], mask=nulls(column))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lists = pa.ListArray if pa.types.is_list(kind) else pa.LargeListArray
        return lists.from_arrays(column.offsets, _repaired(column.values), mask=nulls(column))
    return column


def _is_valid(column: pa.Array) -> bool:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _value(column: pa.Array, row: int, name: str, found: Counter[str]) -> str | None:
    """Write one value: as JSON, else as text, else as null."""
    one = column.slice(row, 1)
    if not one.is_valid()[0].as_py():
        return None
    if column.type == pa.json_():
        text = str(one.storage[0].as_py())
        try:
            orjson.loads(text)
            return text
        except orjson.JSONDecodeError:
            found[f"column {name!r}: a value that is no JSON became text"] += 1
            return orjson.dumps(text).decode()
    try:
        plain = one[0].as_py()
        return orjson.dumps(plain, default=_jsonable, option=orjson.OPT_NON_STR_KEYS).decode()
    except REFUSED:
        pass
    for kind in (pa.string(), pa.int64()):
        try:
            text = str(one.cast(kind)[0].as_py())
        except REFUSED:
            continue
        if not text.startswith("<value out of range"):
            found[f"column {name!r}: a value that JSON cannot hold became text"] += 1
            return orjson.dumps(text).decode()
    found[f"column {name!r}: a value that JSON cannot hold became null"] += 1
    return None


def _finite(column: pa.Array, found: Counter[str]) -> pa.Array:
    """Make NaN and infinities, which JSON lacks, null. Raises NotImplementedError where floats cannot be reached."""
    kind = column.type
    if pa.types.is_floating(kind):
        column = column.cast(pa.float32()) if pa.types.is_float16(kind) else column
        finite = pc.if_else(pc.is_finite(column), column, None)
        if finite.null_count > column.null_count:
            found[BECAME_NULL] += finite.null_count - column.null_count
        return finite
    if not _has_floats(kind):
        return column
    if pa.types.is_fixed_size_list(kind):
        return _finite(column.cast(pa.list_(kind.value_type)), found)
    if pa.types.is_struct(kind):
        children = [_finite(child, found) for child in column.flatten()]
        return pa.StructArray.from_arrays(children, names=[each.name for each in kind], mask=nulls(column))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lists = pa.ListArray if pa.types.is_list(kind) else pa.LargeListArray
        return lists.from_arrays(column.offsets, _finite(column.values, found), mask=nulls(column))
    if pa.types.is_map(kind):
        values = _finite(column.items, found)
        return pa.MapArray.from_arrays(column.offsets, column.keys, values, mask=nulls(column))
    raise NotImplementedError


def _has_floats(kind: pa.DataType) -> bool:
    inner = [kind.field(index).type for index in range(kind.num_fields)]
    return bool(pa.types.is_floating(kind) or any(_has_floats(each) for each in inner))


def nulls(column: pa.Array) -> pa.Array | None:
    """Return which rows are null, as sliced offsets need it: None, or an array that begins at 0."""
    return column.is_null() if column.null_count else None


def _as_json(texts: pa.Array) -> pa.Array:
    return pa.ExtensionArray.from_storage(pa.json_(), texts)


def _jsonable(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
