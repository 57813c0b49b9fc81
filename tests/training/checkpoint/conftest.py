"""Two trained models with their tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from tests.training.helpers import HELD_OUT, anneal
from tests.training.tiny_sweep import RECIPE, Part, language, write_export
from udfs.tokens.tokenizer import train
from warehouse.lake.lake import Lake


def words() -> Iterator[str]:
    random = np.random.default_rng(0)
    for _ in range(200):
        yield " ".join("".join(chr(97 + letter) for letter in random.integers(0, 6, 5)) for _ in range(50))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder and an encoder, each with one anneal, on exports whose tokenizer is in the lake."""
    return make_place(tmp_path_factory.mktemp("place"), "decoder", "encoder")


@pytest.fixture(scope="module")
def decoder_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a decoder alone."""
    return make_place(tmp_path_factory.mktemp("place"), "decoder")


def make_place(folder: Path, *kinds: str) -> Path:
    lake = Lake.create(folder / "lake")
    tokenizer = train(words(), lake.root / "tokenizers" / "t", 300)
    assert tokenizer.vocab_size == 300
    with lake.commit("tokenizer", author="test") as commit:
        commit.sql(
            "insert into cuvee.tokenizers (name, fingerprint, vocab_size, trained_on, documents, trained_at)"
            " values ('t', ?, 300, 'words', 200, ?)",
            [tokenizer.fingerprint, datetime.now(UTC)],
        )
    for mixture, sequences in (("baseline", language(1, 60, vocabulary=300)), ("held_out", HELD_OUT)):
        write_export(
            lake,
            folder / "exports" / mixture,
            mixture,
            {"common": Part(sequences)},
            vocabulary=300,
            tokenizer=tokenizer.fingerprint,
        )
    (folder / "tiny.yaml").write_text(RECIPE)
    for kind in kinds:
        done = anneal(folder, kind)
        assert done.returncode == 0, done.stderr
    return folder
