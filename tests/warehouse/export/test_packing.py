"""Token sequences: every token of every document is where the table of documents says, however they are packed."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.warehouse.export.helpers import WORDS
from udfs.errors import UsageError
from udfs.tokens.tokenizer import Tokenizer
from warehouse.export.packing import PackedSamples, TokenSequences

TEXTS = st.lists(st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join), min_size=1, max_size=30)
METHODS = ["concatenate", "best-fit", "documents"]


def packed(texts: list[str], tokens: TokenSequences) -> PackedSamples:
    payload = tokens.prepare(pa.array(texts, pa.large_string()))
    names = [str(number) for number in range(len(texts))]
    ones = pa.array([1] * len(texts), pa.int64())
    return tokens.pack(pa.record_batch({"doc_id": names, "n_tokens": ones, "payload": payload}), "code")


def pieces(found: PackedSamples, column: str) -> dict[int, list[list[int]]]:
    """The stretches of each document, in their order, but full samples first: a rest may be in an earlier one."""
    samples = found.samples[column].to_pylist()
    position = dict.fromkeys(range(len(samples)), 0)
    by_document: dict[int, list[list[int]]] = {}
    for row in found.documents.to_pylist():
        begin = position[row["sample"]]
        position[row["sample"]] = begin + row["n_tokens"]
        stretch = samples[row["sample"]][begin : begin + row["n_tokens"]]
        by_document.setdefault(int(row["doc_id"]), []).append(stretch)
    assert position == {number: len(sample) for number, sample in enumerate(samples)}
    longest = max(map(len, samples), default=0)
    return {number: sorted(found, key=lambda one: len(one) < longest) for number, found in by_document.items()}


@settings(max_examples=100, deadline=None)
@given(texts=TEXTS, length=st.integers(4, 70), method=st.sampled_from(METHODS), data=st.data())
def test_tokens_are_where_the_documents_say(
    bpe: Tokenizer, texts: list[str], length: int, method: str, data: st.DataObject
) -> None:
    bos, eos = data.draw(st.sampled_from([None, 7])), data.draw(st.sampled_from([None, bpe.end_of_text]))
    smallest = data.draw(st.integers(1, 2)) if method == "documents" else 1
    tokens = TokenSequences(bpe, length, method, "tokens", bos, eos, data.draw(st.booleans()), smallest)  # type: ignore[arg-type]
    found = packed(texts, tokens)
    assert set(found.samples.schema.names) == set(tokens.columns)
    assert found.tokens == sum(map(len, found.samples["tokens"].to_pylist()))
    around = [[bos] * (bos is not None), [eos] * (eos is not None)]
    encoded = [ids.tolist() for ids in bpe.encode_batch(texts)]
    whole = [[*around[0], *ids, *around[1]] for ids in encoded]
    by_document = pieces(found, "tokens")
    if tokens.lengths:
        listed = [(row["sample"], row["n_tokens"]) for row in found.documents.to_pylist()]
        lengths = found.samples["lengths"].to_pylist()
        assert listed == [(number, one) for number, sample in enumerate(lengths) for one in sample]
    if method == "concatenate":
        expected = [token for document in whole for token in document]
        assert [token for sample in found.samples["tokens"].to_pylist() for token in sample] == expected[: found.tokens]
        assert found.dropped_tokens == len(expected) - found.tokens < length
    elif method == "best-fit":
        assert {number: list(chain(*stretches)) for number, stretches in by_document.items()} == {
            number: document for number, document in enumerate(whole) if document
        }
        assert all(
            len(by_document[number]) == -(-len(document) // length) for number, document in enumerate(whole) if document
        )
        sizes = sorted(map(len, found.samples["tokens"].to_pylist()))
        assert sizes[-1:] <= [length]
        assert len(sizes) < 2 or sizes[0] + sizes[1] > length, "no two samples would fit into one"
        assert found.dropped_tokens == 0
    else:
        body = length - len(around[0]) - len(around[1])
        for number, ids in enumerate(encoded):
            chunks = [ids[at : at + body] for at in range(0, len(ids), body)] or [[]]
            kept = [chunk for at, chunk in enumerate(chunks) if at == 0 or len(chunk) >= smallest]
            expected_pieces = [[*around[0], *chunk, *around[1]] for chunk in kept]
            assert by_document.get(number, []) == [piece for piece in expected_pieces if piece]
        kept_ids = [number for number, stretches in sorted(by_document.items()) for _ in stretches]
        assert found.samples["id"].to_pylist() == list(map(str, kept_ids))
        assert found.dropped_tokens == sum(
            len(ids) % body for ids in encoded if len(ids) > body and 0 < len(ids) % body < smallest
        )


def test_best_fit_is_deterministic_and_nearly_full(bpe: Tokenizer) -> None:
    chance = np.random.default_rng(3)
    texts = [" ".join(chance.choice(WORDS, size)) for size in chance.integers(1, 60, 500)]
    tokens = TokenSequences(bpe, 128, "best-fit")
    found = packed(texts, tokens)
    assert found.samples.equals(packed(texts, tokens).samples)
    assert found.tokens / (found.samples.num_rows * 128) > 0.97


def test_without_an_end_of_text_there_is_a_column_of_lengths(bpe: Tokenizer) -> None:
    assert TokenSequences(bpe, 16, eos=None).boundaries == "lengths"
    assert "lengths" in TokenSequences(bpe, 16, eos=None).columns
    assert TokenSequences(bpe, 16).boundaries == "end_of_text"
    assert set(TokenSequences(bpe, 16).columns) == {"input_ids"}
    with pytest.raises(UsageError, match="no room"):
        TokenSequences(bpe, 2, "documents", bos=7)
