"""The expensive functions that SQL may call, by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from udfs.expensive import ExpensiveFunction
from udfs.fake import FakeLabeler
from udfs.labels import LabelDocument
from udfs.tokenizer import TokenCount
from udfs.zero_shot import ZeroShotLabeler


@dataclass(frozen=True, slots=True)
class Resources:
    """Where the functions find what they need besides the text.

    ``taxonomies`` is the folder with the seeds taxonomy.csv and fdc.csv (``sql/seeds``); ``tokenizers`` holds one
    folder per trained tokenizer (``<lake>/tokenizers``). Neither has to exist until a function that reads it is bound.
    """

    taxonomies: Path
    tokenizers: Path


def expensive_functions(resources: Resources) -> dict[str, ExpensiveFunction]:
    """Every expensive function by its name in SQL. Cheap: nothing is read or loaded before a function is bound."""
    functions: tuple[ExpensiveFunction, ...] = (
        LabelDocument(resources.taxonomies, labelers=(ZeroShotLabeler, FakeLabeler)),
        TokenCount(resources.tokenizers),
    )
    return {function.name: function for function in functions}
