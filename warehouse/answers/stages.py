"""A stage of a query: the inputs of one call to answer, and the table of their answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from warehouse.answers.calls import Call
from warehouse.answers.store import duckdb_type
from warehouse.lake.quoting import quote

#: Part of the message of the error that a missing answer raises inside DuckDB.
MISSING = "cuvee: no answer is stored for the input "
#: Up to so many texts of documents are found by their keys first. DuckDB would read the texts of all documents.
_FEW = 16_384

#: The value of a call from its answer: NULL for a NULL input, an error if an input has no answer. The error is a cast
#: that cannot be, because DuckDB takes error() for a side effect and then refuses GROUP BY and WHERE by alias.
#: Branches of a CASE are evaluated for the rows that reach them only; the sides of an AND are not.
ANSWER = f"""
create or replace temp macro cuvee_answer(value, found, key) as
    case when found is not null then value when key is null then null
        else case when cast('{MISSING}' || key as bigint) = 0 then value end end
"""


@dataclass(slots=True)
class Stage:
    """Inputs to answer before the query (or the next stage) can run.

    ``keys`` is a query for the distinct keys; ``texts`` one for (key, text) of the keys that the table ``missing``
    holds, and ``table`` has them if they are documents' own; ``answers`` is the temporary table, or view if
    ``is_view``, with columns ``<answers>_key``, ``_status``, ``_value``, that the rewritten query joins; ``value``
    gives the call's value from a row of the store.
    """

    call: Call
    index: int
    keys: str
    texts: str
    table: str = ""
    fields: tuple[str, ...] = ()
    is_view: bool = False

    @property
    def answers(self) -> str:
        return f"cuvee_{self.index}"

    @property
    def inputs(self) -> str:
        return f"cuvee_{self.index}_inputs"

    @property
    def missing(self) -> str:
        return f"cuvee_{self.index}_missing"

    def texts_of(self, missing: int) -> str:
        """Return the query for (key, text) of the keys that the table ``missing`` holds, given their number."""
        query = self.texts.format(missing=self.missing)
        if self.table and missing <= _FEW:
            found = f"select filename, file_row_number from lake.{self.table} where doc_id in (from {self.missing})"
            query += f" and (filename, file_row_number) in ({found})"
        return query

    @property
    def value(self) -> str:
        """Return the call's value as an expression over a row of the store; NULL where there is no verdict."""
        function = self.call.function
        if function.result is not None:
            value = quote(function.result)
        else:
            value = "{" + ", ".join(f"'{name}': {quote(name)}" for name in self.columns) + "}"
        return f"case when status in ('ok', 'partial') then {value} end"

    @property
    def columns(self) -> list[str]:
        """Return the answer columns that the query reads."""
        names: list[str] = self.call.function.columns.names
        return [name for name in names if not self.fields or name.lower() in self.fields] or names

    @property
    def type(self) -> str:
        """Return DuckDB's type of the call's value."""
        schema = self.call.function.columns
        if self.call.function.result is not None:
            return duckdb_type(schema.field(self.call.function.result).type)
        return self._struct({name: duckdb_type(schema.field(name).type) for name in self.columns})

    @property
    def codes(self) -> str:
        """Return the name of the temporary type, an ENUM, of the codes in a view of many answers."""
        return f"{self.answers}_codes"

    @property
    def coded(self) -> dict[str, list[str]]:
        """Return the answer columns that are structs of strings, which are codes, with their fields."""
        if self.call.function.result is not None:
            return {}
        kinds = {name: self.call.function.columns.field(name).type for name in self.columns}
        return {
            name: [field.name for field in kind]
            for name, kind in kinds.items()
            if pa.types.is_struct(kind) and all(pa.types.is_string(field.type) for field in kind)
        }

    @property
    def is_list(self) -> bool:
        """Return whether the call's value is a list, which may be long."""
        result = self.call.function.result
        return result is not None and pa.types.is_list(self.call.function.columns.field(result).type)

    @property
    def small_type(self) -> str:
        """Return the type of the call's value with the ENUM in place of strings: 48 bytes of labels instead of 390."""
        schema, coded = self.call.function.columns, self.coded
        return self._struct(
            {
                name: self._struct(dict.fromkeys(coded[name], self.codes))
                if name in coded
                else duckdb_type(schema.field(name).type)
                for name in self.columns
            }
        )

    @staticmethod
    def _struct(types: Mapping[str, str]) -> str:
        return f"struct({', '.join(f'{quote(name)} {kind}' for name, kind in types.items())})"

    def read(self, value: str) -> str:
        """Return the call's value from that of the answers' table."""
        return f"{self.answers}_read({value})"

    def create(self) -> str:
        """Return the statements that make the empty answers' table, and the macro that reads values from it."""
        name = self.answers
        columns = f"{name}_key varchar, {name}_status varchar, {name}_value {self.type}"
        return f"create or replace temp table {name} ({columns}); {self.reading()}"

    def reading(self) -> str:
        """Return the statement that makes the macro ``read``."""
        return f"create or replace temp macro {self.answers}_read(value) as cast(value as {self.type})"


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A query whose calls are joins, and the stages to answer first, in this order."""

    sql: str
    stages: tuple[Stage, ...]
