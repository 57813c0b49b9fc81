"""How documents become samples: as text, one each, or as token sequences of one length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from udfs.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Packed:
    """Samples and which documents they hold.

    ``documents`` has a row per document in a sample: sample (from 0), doc_id, n_tokens (how many of the sample's tokens
    are the document's; its end of text is one of them).
    """

    samples: pa.RecordBatch
    documents: pa.RecordBatch
    tokens: int
    dropped_tokens: int


@dataclass(frozen=True, slots=True)
class Text:
    """One sample per document, with its id and component. Tokens are those that the mixture counts."""

    @property
    def columns(self) -> dict[str, str]:
        """MDS columns."""
        return {"component": "str", "id": "str", "text": "str"}

    @property
    def identity(self) -> dict[str, Any]:
        """What else than the documents decides the bytes of a shard."""
        return {"format": "text"}

    def prepare(self, texts: pa.Array) -> pa.Array:
        """What is kept of each document until its samples are made."""
        return texts

    def pack(self, documents: pa.RecordBatch, component: str) -> Packed:
        """Make samples of documents (doc_id, n_tokens, payload), in their order."""
        import pyarrow as pa
        import pyarrow.compute as pc

        count = documents.num_rows
        samples = pa.record_batch(
            [pa.repeat(component, count), documents["doc_id"], documents["payload"]], ["component", "id", "text"]
        )
        sample = pa.array(range(count), pa.int64())
        held = pa.record_batch([sample, documents["doc_id"], documents["n_tokens"]], ["sample", "doc_id", "n_tokens"])
        return Packed(samples, held, pc.sum(documents["n_tokens"]).as_py() or 0, 0)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Documents one after the other, each followed by the end of text, cut into sequences of one length.

    A tail that does not fill a sequence is dropped and counted.
    """

    tokenizer: Tokenizer
    sequence_length: int

    @property
    def dtype(self) -> str:
        """The narrowest type that holds every id."""
        return "uint16" if self.tokenizer.vocab_size <= 1 << 16 else "uint32"

    @property
    def columns(self) -> dict[str, str]:
        """MDS columns."""
        return {"input_ids": f"ndarray:{self.dtype}:{self.sequence_length}"}

    @property
    def identity(self) -> dict[str, Any]:
        """What else than the documents decides the bytes of a shard."""
        return {
            "format": "tokens",
            "tokenizer": self.tokenizer.fingerprint,
            "sequence_length": self.sequence_length,
            "packing": "concatenate",
        }

    def prepare(self, texts: pa.Array) -> pa.Array:
        """Token ids of each document, its end of text included, as bytes."""
        import numpy as np
        import pyarrow as pa

        ids = self.tokenizer.encode_batch(texts.to_pylist())
        ends = np.cumsum(np.fromiter((len(one) for one in ids), np.int64, len(ids)) + 1)
        flat = np.empty(int(ends[-1]) if len(ids) else 0, self.dtype)
        is_text = np.ones(len(flat), bool)
        is_text[ends - 1] = False
        flat[is_text] = np.concatenate(ids) if ids else []
        flat[ends - 1] = self.tokenizer.end_of_text
        offsets = np.concatenate([[0], ends]) * flat.itemsize
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(flat)]
        return pa.Array.from_buffers(pa.large_binary(), len(ids), buffers)

    def pack(self, documents: pa.RecordBatch, component: str) -> Packed:
        """Make sequences of documents (doc_id, n_tokens, payload), in their order."""
        import numpy as np
        import pyarrow as pa

        payload = documents["payload"]
        offsets = np.frombuffer(payload.buffers()[1], np.int64)[payload.offset : payload.offset + len(payload) + 1]
        data = np.frombuffer(payload.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]].view(self.dtype)
        length = self.sequence_length
        count = len(data) // length
        values = pa.array(data[: count * length])
        samples = pa.record_batch([pa.FixedSizeListArray.from_arrays(values, length)], ["input_ids"])
        sample, document, tokens = _spans((offsets - offsets[0]) // data.itemsize, count, length)
        held = pa.record_batch(
            [pa.array(sample), documents["doc_id"].take(pa.array(document)), pa.array(tokens)],
            ["sample", "doc_id", "n_tokens"],
        )
        return Packed(samples, held, count * length, len(data) - count * length)


def _spans(offsets: NDArray[Any], count: int, length: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Which documents stand in which sequences: for each meeting, the sequence, the document and the tokens shared.

    Every boundary of a document or of a sequence begins a new piece, and a piece is of one document and one sequence.
    """
    import numpy as np

    end = count * length
    cuts = np.unique(np.concatenate([offsets[offsets < end], np.arange(0, end, length)]))
    sizes = np.diff(np.append(cuts, end))
    document = np.searchsorted(offsets, cuts, side="right") - 1
    return (cuts // length).astype(np.int64), document.astype(np.int64), sizes.astype(np.int64)


Packing = Text | Tokens
