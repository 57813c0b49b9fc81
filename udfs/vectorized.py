"""Functions that compute a column from a column: some microseconds a document, many documents at once.

A build keeps their answers like those of any expensive function (``udfs.expensive``). That serves better than DuckDB's
scalar functions even where a function is cheap: a document is computed once and not as often as the optimizer likes,
what is built later reads the answers and no text, and a changed definition has another fingerprint, which rebuilds.
Where nothing is kept, in dbt and in ``cuvee sql``, the same functions are DuckDB's own
(``warehouse/build/scalar_functions.py``).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from udfs.expensive import BoundFunction, ExpensiveFunction, answered

#: Texts are computed in pieces of about this many bytes; a computation takes some 60 bytes of memory per byte of text.
_PIECE = 2 << 20

Compute = Callable[[pa.Array], pa.RecordBatch]


@dataclass(frozen=True)
class Vectorized(BoundFunction):
    """A function whose constant arguments are fixed. ``compute`` takes texts, and gives ``columns``, row by row."""

    store: str
    labeler: str
    fingerprint: str
    columns: pa.Schema
    result: str | None
    compute: Compute
    portion: int = 20_000  # answers per commit: they cost little, and a commit makes a file

    def answers(self, inputs: Iterator[pa.RecordBatch]) -> Generator[pa.RecordBatch, None, None]:
        """Answer every text, in order; see ``BoundFunction.answers``. Threads compute a few pieces ahead."""
        threads = os.cpu_count() or 1
        pieces = (piece for batch in inputs for piece in _pieces(batch))
        with ThreadPoolExecutor(threads) as pool:
            flying: deque[Future[pa.RecordBatch]] = deque()
            try:
                flying.extend(pool.submit(self._answer, piece) for piece in islice(pieces, 2 * threads))
                while flying:
                    yield flying.popleft().result()
                    flying.extend(pool.submit(self._answer, piece) for piece in islice(pieces, 1))
            finally:
                for future in flying:
                    future.cancel()

    def _answer(self, piece: pa.RecordBatch) -> pa.RecordBatch:
        return answered(self, piece["key"], self.compute(piece["text"]).columns)


class VectorizedFunction(ExpensiveFunction, Protocol):
    """A function of this kind, as SQL names it; its columns are the same whatever its options."""

    @property
    def columns(self) -> pa.Schema:
        """See ``BoundFunction``."""

    @property
    def result(self) -> str | None:
        """See ``BoundFunction``."""

    def bind(self, options: tuple[str | int | float | bool, ...]) -> Vectorized:
        """Fix the constant arguments; see ``ExpensiveFunction.bind``."""


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Cut a batch into pieces of about ``_PIECE`` bytes of text, at least a row each."""
    sizes = pc.cumulative_sum(pc.binary_length(batch["text"]).cast(pa.int64())).to_numpy()
    start = 0
    while start < batch.num_rows:
        done = sizes[start - 1] if start else 0
        end = max(int(sizes.searchsorted(done + _PIECE)), start + 1)
        yield batch.slice(start, end - start)
        start = end
