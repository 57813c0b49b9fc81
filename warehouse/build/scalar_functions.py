"""Register vectorized functions in DuckDB, for ``cuvee sql`` and dbt, where no answers are kept.

DuckDB hands over at most 2,048 rows at a time and evaluates such a function as often as its optimizer likes. A build
of Cuvée does neither: there these functions are memoised like all others (``warehouse/answers/answers.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from udfs.errors import UsageError
from udfs.registry import VECTORIZED
from warehouse.answers.store import duckdb_type

if TYPE_CHECKING:
    import duckdb

    from udfs.expensive import ExpensiveFunction
    from udfs.vectorized import VectorizedFunction


def register(connection: duckdb.DuckDBPyConnection, functions: Mapping[str, ExpensiveFunction]) -> None:
    """Let SQL on ``connection`` call those of ``functions`` that are vectorized."""
    create: Any = connection.create_function  # its stub knows no names of types
    for name in VECTORIZED:
        function: Any = functions[name]
        kind = duckdb_type(_type(function))
        create(name, _callable(function), None, kind, type="arrow", null_handling="special")  # None: of any number


def _callable(function: VectorizedFunction) -> Callable[..., Any]:
    """Call the function on columns. A NULL text gives NULL, as in a build."""

    def call(*arguments: pa.ChunkedArray) -> pa.ChunkedArray:
        if not arguments:
            raise UsageError(f"{function.name} needs a text")
        texts = arguments[0].cast(pa.string()).combine_chunks()
        constants = [pc.unique(option).to_pylist() for option in arguments[1:]]
        if any(len(values) > 1 for values in constants):
            raise UsageError(f"the options of {function.name} are constants")
        if not len(texts):
            return pa.chunked_array([], type=_type(function))
        answers = function.bind(tuple(values[0] for values in constants)).compute(texts)
        if function.result:
            column = answers[function.result]
        else:
            column = pa.StructArray.from_arrays(answers.columns, fields=list(answers.schema))
        return pa.chunked_array([pc.if_else(pc.is_valid(texts), column, pa.scalar(None, column.type))])

    return call


def _type(function: VectorizedFunction) -> pa.DataType:
    return function.columns.field(function.result).type if function.result else pa.struct(list(function.columns))
