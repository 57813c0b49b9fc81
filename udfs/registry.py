"""The expensive functions that SQL may call, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from udfs.expensive import ExpensiveFunction
    from udfs.text.contamination import Benchmarks


#: Those that are ``udfs.vectorized``.
VECTORIZED = ("fasttext_score", "language", "minhash_signature", "quality_signals")

_NAMES = (*VECTORIZED, "label_document", "n_tokens", "contamination", "item_ngrams")


@dataclass(frozen=True, slots=True)
class Resources:
    """The folders and benchmarks that functions need besides the text.

    ``taxonomies`` is the folder with the seeds taxonomy.csv and fdc.csv (``sql/seeds``); what a project adds is in
    ``taxonomies``, ``labelers`` and ``fasttext`` next to it. ``tokenizers`` holds one folder per trained tokenizer
    (``<lake>/tokenizers``). Neither has to exist until a function that reads it is bound. ``benchmarks`` are those that
    documents are compared with; None: there are none.
    """

    taxonomies: Path
    tokenizers: Path
    benchmarks: Benchmarks | None = None


def expensive_functions(resources: Resources) -> Mapping[str, ExpensiveFunction]:
    """Return every expensive function by its name in SQL. Nothing is read or loaded before a function is bound."""
    return _Functions(resources)


class _Functions(Mapping[str, "ExpensiveFunction"]):
    """Makes a function when it is asked for: the names alone need no pyarrow (0.1 s)."""

    def __init__(self, resources: Resources) -> None:
        self._make = cache(lambda name: _make(name, resources))

    def __getitem__(self, name: str) -> ExpensiveFunction:
        return self._make(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_NAMES)

    def __len__(self) -> int:
        return len(_NAMES)


def _make(name: str, resources: Resources) -> ExpensiveFunction:
    match name:
        case "fasttext_score":
            from udfs.text.fasttext import FastTextScore

            return FastTextScore(resources.taxonomies.parent / "fasttext")
        case "label_document":
            from udfs.labels.label_document import LabelDocument

            return LabelDocument(resources.taxonomies)
        case "language":
            from udfs.text.fasttext import Language

            return Language(resources.taxonomies.parent / "fasttext")
        case "minhash_signature":
            from udfs.text.minhash import MinHash

            return MinHash()
        case "n_tokens":
            from udfs.tokens.tokenizer import TokenCount

            return TokenCount(resources.tokenizers, resources.taxonomies.parent)
        case "contamination":
            from udfs.text.contamination import Contamination

            return Contamination(resources.benchmarks)
        case "item_ngrams":
            from udfs.text.contamination import ItemNgrams

            return ItemNgrams()
        case "quality_signals":
            from udfs.text.quality_signals import QualitySignals

            return QualitySignals()
    raise KeyError(name)
