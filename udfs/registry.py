"""The expensive functions that SQL may call, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from udfs.expensive import ExpensiveFunction
    from udfs.text.contamination import Benchmarks


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
        self._make = cache(lambda name: _MAKERS[name](resources))

    def __getitem__(self, name: str) -> ExpensiveFunction:
        return self._make(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_MAKERS)

    def __len__(self) -> int:
        return len(_MAKERS)


def _label_document(resources: Resources) -> ExpensiveFunction:
    from udfs.labels.label_document import LabelDocument

    return LabelDocument(resources.taxonomies)


def _n_tokens(resources: Resources) -> ExpensiveFunction:
    from udfs.tokens.tokenizer import TokenCount

    return TokenCount(resources.tokenizers, resources.taxonomies.parent)


def _contamination(resources: Resources) -> ExpensiveFunction:
    from udfs.text.contamination import Contamination

    return Contamination(resources.benchmarks)


def _item_ngrams(resources: Resources) -> ExpensiveFunction:
    from udfs.text.contamination import ItemNgrams

    return ItemNgrams()


def _language(resources: Resources) -> ExpensiveFunction:
    from udfs.text.fasttext import Language

    return Language(resources.taxonomies.parent / "fasttext")


def _fasttext_score(resources: Resources) -> ExpensiveFunction:
    from udfs.text.fasttext import FastTextScore

    return FastTextScore(resources.taxonomies.parent / "fasttext")


def _minhash(resources: Resources) -> ExpensiveFunction:
    from udfs.text.minhash import MinHash

    return MinHash()


def _quality_signals(resources: Resources) -> ExpensiveFunction:
    from udfs.text.quality_signals import QualitySignals

    return QualitySignals()


#: Those that are ``udfs.vectorized``.
VECTORIZED = ("fasttext_score", "language", "minhash_signature", "quality_signals")

_MAKERS: dict[str, Callable[[Resources], ExpensiveFunction]] = {
    "fasttext_score": _fasttext_score,
    "label_document": _label_document,
    "language": _language,
    "minhash_signature": _minhash,
    "n_tokens": _n_tokens,
    "contamination": _contamination,
    "item_ngrams": _item_ngrams,
    "quality_signals": _quality_signals,
}
