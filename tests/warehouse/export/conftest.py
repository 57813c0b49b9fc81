"""Fixtures of the exports."""

from __future__ import annotations

import random

import pytest

from tests.warehouse.export.helpers import add_documents, add_mixture, blend, texts
from udfs.tokens import tokenizer
from udfs.tokens.tokenizer import Tokenizer
from warehouse.lake.lake import Lake


@pytest.fixture(scope="session")
def bpe(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return tokenizer.train(iter(texts(300)), tmp_path_factory.mktemp("bpe"), 400)


@pytest.fixture
def pool() -> dict[str, list[str]]:
    """Documents by component, in two files of several row groups."""
    return {"code": texts(150, seed=1), "prose": texts(170, seed=2), "Large-Scale CC (90%)": texts(90, seed=3)}


@pytest.fixture
def blended(lake: Lake, pool: dict[str, list[str]], bpe: Tokenizer) -> Lake:
    """A lake whose mixture `blend` has code 2 or 3 times, prose once or not at all, and a crawl once."""
    everything = [text for part in pool.values() for text in part]
    random.Random(5).shuffle(everything)
    add_documents(lake, everything[:200])
    add_documents(lake, everything[200:])
    add_mixture(lake, "blend", blend(pool, bpe))
    return lake
