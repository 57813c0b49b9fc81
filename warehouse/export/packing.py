"""How documents become samples: as text, one each, or as token sequences packed in one of three ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from udfs.errors import UsageError
from udfs.tokens.tokenizer import Tokenizer
from warehouse.mds.encodings import binary

#: ``concatenate`` fills sequences to the last token; ``best-fit`` splits no document that fits into one; ``documents``
#: gives every document samples of its own.
Method = Literal["concatenate", "best-fit", "documents"]

#: Column with the lengths of the documents in a sample.
LENGTHS = "lengths"


@dataclass(frozen=True, slots=True)
class PackedSamples:
    """Samples and which documents they hold.

    ``documents`` has a row per document in a sample: sample (from 0), doc_id, n_tokens (how many of the sample's tokens
    are the document's; its BOS and EOS are among them).
    """

    samples: pa.RecordBatch
    documents: pa.RecordBatch
    tokens: int
    dropped_tokens: int


@dataclass(frozen=True, slots=True)
class TextSamples:
    """One sample per document, with its id, its component, and ``labels``: further columns and their encodings.

    Tokens are those that the mixture counts.
    """

    labels: tuple[tuple[str, str], ...] = ()

    @property
    def label_names(self) -> list[str]:
        """The columns that go with a document besides its text."""
        return [name for name, _ in self.labels]

    @property
    def columns(self) -> dict[str, str]:
        """MDS columns."""
        return {"component": "str", "id": "str", "text": "str", **dict(self.labels)}

    @property
    def identity(self) -> dict[str, Any]:
        """What else than the documents decides the bytes of a shard."""
        return {"format": "text", "columns": self.columns}

    def prepare(self, texts: pa.Array) -> pa.Array:
        """Return what is kept of each document until its samples are made."""
        return texts

    def pack(self, documents: pa.RecordBatch, component: str) -> PackedSamples:
        """Make samples of documents (doc_id, n_tokens, payload, and a column per label), in their order."""
        count = documents.num_rows
        columns = {"component": pa.repeat(component, count), "id": documents["doc_id"], "text": documents["payload"]}
        samples = pa.record_batch(columns | {name: documents[name] for name in self.label_names})
        sample = pa.array(range(count), pa.int64())
        held = pa.record_batch([sample, documents["doc_id"], documents["n_tokens"]], ["sample", "doc_id", "n_tokens"])
        return PackedSamples(samples, held, pc.sum(documents["n_tokens"]).as_py() or 0, 0)


@dataclass(frozen=True, slots=True)
class TokenSequences:
    """Token sequences of at most ``sequence_length``, documents in their order.

    ``bos`` and ``eos`` are ids put before and after each document, or None; ``eos`` is the tokenizer's end of text
    unless told. The methods:

    * ``concatenate``: documents one after the other, cut into sequences of exactly one length. A tail that does not
      fill a sequence is dropped and counted.
    * ``best-fit``: documents longer than a sequence are cut into full ones and a rest; rests and documents are packed
      by best-fit decreasing (arXiv 2404.10830). Samples have no padding: they differ in length.
    * ``documents``: a document's samples hold it alone, and have its id; each has BOS and EOS, and they differ in
      length. Of a document's chunks after the first, one with fewer than ``min_length`` tokens of text is dropped and
      counted.

    ``lengths`` adds a column with the lengths of the documents in each sample; without EOS it is always there.
    """

    tokenizer: Tokenizer
    sequence_length: int
    method: Method = "concatenate"
    column: str = "input_ids"
    bos: int | None = None
    eos: int | None = -1
    lengths: bool = False
    min_length: int = 1
    label_names: ClassVar[list[str]] = []

    def __post_init__(self) -> None:
        """Raise UsageError where a sequence has no room for text besides BOS and EOS."""
        if self.eos == -1:
            object.__setattr__(self, "eos", self.tokenizer.end_of_text)
        if self.eos is None and self.method != "documents":
            object.__setattr__(self, "lengths", True)
        if self._body < max(1, self.min_length):
            raise UsageError(
                f"{self.sequence_length} tokens have no room for {max(1, self.min_length)} of text besides BOS and EOS"
            )

    @property
    def _body(self) -> int:
        """Tokens of text in a sample of one document."""
        return self.sequence_length - (self.bos is not None) - (self.eos is not None)

    @property
    def boundaries(self) -> str:
        """Where documents meet in a sample: after each EOS, where the column says, or nowhere."""
        if self.method == "documents":
            return "samples"
        return LENGTHS if self.eos is None else "end_of_text"

    @property
    def dtype(self) -> str:
        """The narrowest type that holds every id."""
        return "uint16" if self.tokenizer.vocab_size <= 1 << 16 else "uint32"

    @property
    def columns(self) -> dict[str, str]:
        """MDS columns."""
        shape = f":{self.sequence_length}" if self.method == "concatenate" else ""
        columns = {self.column: f"ndarray:{self.dtype}{shape}"}
        if self.method == "documents":
            columns["id"] = "str"
        return columns | ({LENGTHS: "ndarray:uint32"} if self.lengths else {})

    @property
    def identity(self) -> dict[str, Any]:
        """What else than the documents decides the bytes of a shard."""
        own = {name: getattr(self, name) for name in ("sequence_length", "method", "bos", "eos", "min_length")}
        return {"format": "tokens", "tokenizer": self.tokenizer.fingerprint, "columns": self.columns, **own}

    def prepare(self, texts: pa.Array) -> pa.Array:
        """Return each document's token ids as bytes, with BOS and EOS unless samples get their own."""
        ids = self.tokenizer.encode_batch(texts.to_pylist())
        bos, eos = (None, None) if self.method == "documents" else (self.bos, self.eos)
        sizes = np.fromiter((len(one) for one in ids), np.int64, len(ids))
        flat, ends = _between(np.concatenate(ids) if ids else np.empty(0, self.dtype), sizes, bos, eos, self.dtype)
        buffers = [None, pa.py_buffer(np.concatenate([[0], ends]) * flat.itemsize), pa.py_buffer(flat)]
        return pa.Array.from_buffers(pa.large_binary(), len(ids), buffers)

    def pack(self, documents: pa.RecordBatch, component: str) -> PackedSamples:
        """Make sequences of documents (doc_id, n_tokens, payload), in their order."""
        payload = documents["payload"]
        offsets = np.frombuffer(payload.buffers()[1], np.int64)[payload.offset : payload.offset + len(payload) + 1]
        data = np.frombuffer(payload.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]].view(self.dtype)
        offsets = (offsets - offsets[0]) // data.itemsize
        if self.method == "concatenate":
            data, pieces, dropped = _concatenated(data, offsets, self.sequence_length)
        elif self.method == "best-fit":
            (data, pieces), dropped = _best_fit(data, offsets, self.sequence_length), 0
        else:
            data, pieces, dropped = self._chunks(data, offsets)
        count = int(pieces.sample[-1]) + 1 if len(pieces.sample) else 0
        held = pa.record_batch(
            [pa.array(pieces.sample), documents["doc_id"].take(pa.array(pieces.document)), pa.array(pieces.tokens)],
            ["sample", "doc_id", "n_tokens"],
        )
        return PackedSamples(self._samples(data, pieces, held["doc_id"], count), held, len(data), dropped)

    def _samples(self, data: NDArray[Any], pieces: Pieces, ids: pa.Array, count: int) -> pa.RecordBatch:
        """Make the columns of samples whose tokens follow one another in ``data``."""
        firsts = np.searchsorted(pieces.sample, np.arange(count + 1))  # each sample's first piece
        if self.method == "concatenate":
            tokens = pa.FixedSizeListArray.from_arrays(pa.array(data), self.sequence_length)
        else:
            ends = np.concatenate([[0], np.cumsum(pieces.tokens)])[firsts]
            tokens = pa.LargeListArray.from_arrays(pa.array(ends), pa.array(data))
        columns = {self.column: tokens}
        if self.method == "documents":
            columns["id"] = ids
        if self.lengths:
            values = pa.array(pieces.tokens.astype(np.uint32))
            columns[LENGTHS] = pa.LargeListArray.from_arrays(pa.array(firsts), values)
        return pa.record_batch(columns)

    def _chunks(self, data: NDArray[Any], offsets: NDArray[Any]) -> tuple[NDArray[Any], Pieces, int]:
        """Make samples of one document each."""
        sizes, document, begins = _cut(np.diff(offsets), self._body, empty=self._body < self.sequence_length)
        long = (begins == 0) | (sizes >= self.min_length)
        kept, dropped = np.flatnonzero(long), int(sizes[~long].sum())
        text = _taken(data, sizes, kept)
        sizes, document = sizes[kept], document[kept]
        flat, ends = _between(text, sizes, self.bos, self.eos, self.dtype)
        pieces = Pieces(np.arange(len(sizes)), document, np.diff(np.concatenate([[0], ends])))
        return flat, pieces, dropped


@dataclass(frozen=True, slots=True)
class Pieces:
    """Stretches of tokens, of one document and one sample each, in the order of samples; int64 columns."""

    sample: NDArray[Any]
    document: NDArray[Any]
    tokens: NDArray[Any]


def _between(
    ids: NDArray[Any], sizes: NDArray[Any], bos: int | None, eos: int | None, dtype: str
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Join runs of tokens, with BOS and EOS around each. Return them and where each ends."""
    ends = np.cumsum(sizes + (bos is not None) + (eos is not None))
    begins = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
    flat = np.empty(int(ends[-1]) if len(ends) else 0, dtype)
    is_text = np.ones(len(flat), bool)
    for token, places in ((bos, begins), (eos, ends - 1)):
        if token is not None:
            is_text[places] = False
            flat[places] = token
    flat[is_text] = ids
    return flat, ends


def _taken(data: NDArray[Any], sizes: NDArray[Any], which: NDArray[Any]) -> NDArray[Any]:
    """Join some of the stretches that ``data`` consists of, by their ``sizes``. Arrow moves the bytes."""
    offsets = np.concatenate([[0], np.cumsum(sizes)]) * data.itemsize
    taken = binary(data.view(np.uint8), offsets).take(pa.array(which))
    return np.frombuffer(taken.buffers()[2] or b"", data.dtype)[: int(sizes[which].sum())]


def _cut(lengths: NDArray[Any], size: int, *, empty: bool = False) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Cut documents every ``size`` tokens. Return the pieces' lengths, documents, and where in those they begin.

    ``empty`` gives documents without a token one piece too.
    """
    pieces = np.maximum(-(-lengths // size), int(empty))
    document = np.repeat(np.arange(len(lengths)), pieces)
    begins = (np.arange(len(document)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) * size
    return np.minimum(lengths[document] - begins, size), document, begins


def _concatenated(data: NDArray[Any], offsets: NDArray[Any], length: int) -> tuple[NDArray[Any], Pieces, int]:
    """Make sequences of exactly ``length`` tokens. Return them and how many tokens are left over.

    Every boundary of a document or of a sequence begins a new piece, and a piece is of one document and one sequence.
    """
    end = len(data) // length * length
    cuts = np.unique(np.concatenate([offsets[offsets < end], np.arange(0, end, length)]))
    sizes = np.diff(np.append(cuts, end)).astype(np.int64)
    document = np.searchsorted(offsets, cuts, side="right") - 1
    return data[:end], Pieces((cuts // length).astype(np.int64), document.astype(np.int64), sizes), len(data) - end


def _best_fit(data: NDArray[Any], offsets: NDArray[Any], length: int) -> tuple[NDArray[Any], Pieces]:
    """Pack by best-fit decreasing: a piece goes where it leaves the least room, the longest piece first.

    Samples come in the order of their first documents, and documents in a sample in theirs.
    """
    sizes, document, _ = _cut(np.diff(offsets), length)
    sample = np.empty(len(sizes), np.int64)
    rooms: list[list[int]] = [[] for _ in range(length + 1)]  # samples by the room that is left
    some = 0  # bit n: rooms[n] is not empty
    count = 0
    for piece in np.argsort(-sizes, kind="stable").tolist():
        size = int(sizes[piece])
        fits = some >> size
        if fits:
            room = size + (fits & -fits).bit_length() - 1
            chosen = rooms[room].pop()
            if not rooms[room]:
                some ^= 1 << room
        else:
            room, chosen, count = length, count, count + 1
        sample[piece] = chosen
        if left := room - size:
            rooms[left].append(chosen)
            some |= 1 << left
    first = np.full(count, len(sizes))
    np.minimum.at(first, sample, np.arange(len(sizes)))
    sample = np.argsort(np.argsort(first))[sample]
    order = np.argsort(sample, kind="stable")
    pieces = Pieces(sample[order], document[order].astype(np.int64), sizes[order].astype(np.int64))
    return _taken(data, sizes, order), pieces


Packing = TextSamples | TokenSequences
