"""The expensive functions that SQL may call, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from udfs.expensive import ExpensiveFunction
    from udfs.text.contamination import Benchmarks


@dataclass(frozen=True, slots=True)
class Resources:
    """The folders and benchmarks that functions need besides the text.

    ``projects`` are the folders of the project and of packages, the project's first: they have ``seeds`` (of which
    taxonomy.csv and fdc.csv make the taxonomy ``eai``), ``taxonomies``, ``labelers`` and ``fasttext``. ``tokenizers``
    holds one folder per trained tokenizer (``<lake>/tokenizers``). None has to exist until a function that reads it is
    bound. ``benchmarks`` are those that documents are compared with; None: there are none.
    """

    projects: tuple[Path, ...]
    tokenizers: Path
    benchmarks: Benchmarks | None = None

    @property
    def fasttext(self) -> Path:
        """The folder with the project's fastText models."""
        return self.projects[0] / "fasttext"


#: Those that are ``udfs.vectorized``.
VECTORIZED = ("fasttext_score", "language", "minhash_signature", "quality_signals")

#: The class of each function, as module:name, and the resources that it needs.
_FUNCTIONS: Mapping[str, tuple[str, Callable[[Resources], tuple[Any, ...]]]] = {
    "fasttext_score": ("udfs.text.fasttext:FastTextScore", lambda given: (given.fasttext,)),
    "label_document": ("udfs.labels.label_document:LabelDocument", lambda given: (given.projects,)),
    "language": ("udfs.text.fasttext:Language", lambda given: (given.fasttext,)),
    "minhash_signature": ("udfs.text.minhash:MinHash", lambda given: ()),
    "n_tokens": ("udfs.tokens.tokenizer:TokenCount", lambda given: (given.tokenizers, given.projects[0])),
    "contamination": ("udfs.text.contamination:Contamination", lambda given: (given.benchmarks,)),
    "item_ngrams": ("udfs.text.contamination:ItemNgrams", lambda given: ()),
    "quality_signals": ("udfs.text.quality_signals:QualitySignals", lambda given: ()),
}


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
        return iter(_FUNCTIONS)

    def __len__(self) -> int:
        return len(_FUNCTIONS)


def _make(name: str, resources: Resources) -> ExpensiveFunction:
    place, arguments = _FUNCTIONS[name]
    module, _, attribute = place.partition(":")
    function: ExpensiveFunction = getattr(import_module(module), attribute)(*arguments(resources))
    return function
