"""Codecs: writing labels as text, and reading them from what a model wrote.

    codec = make("condensed", taxonomy.categories)
    codec.decode(codec.encode(verdict)).verdict == verdict

``condensed`` is the form in which the distilled labeler answers, ``verbose`` that of a teacher. Both are strict: what
is not well-formed is not a label. They are also patient: each category is judged by itself, and what could not be read
has a reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from udfs.labels.codecs.base import Decoded
from udfs.labels.codecs.condensed import Condensed
from udfs.labels.codecs.verbose import Verbose
from udfs.labels.taxonomies.pairs import Verdict
from udfs.labels.taxonomies.taxonomy import Category

CODECS = ("condensed", "verbose")


class Codec(Protocol):
    """A way of writing the labels of some categories."""

    categories: tuple[Category, ...]

    @property
    def identity(self) -> tuple[str, int]:
        """The codec's name, and its version: raised when the same text is read differently."""

    @property
    def pattern(self) -> str:
        """A regular expression for whole answers, for engines that keep a model to a form.

        Every text that it matches as a whole is decoded with status ``ok``, and it matches whatever ``encode`` gives.
        It uses only groups ``(?:…)``, alternatives, character classes and counted repetition.
        """

    def encode(self, verdict: Verdict) -> str:
        """Write a verdict on all categories as text. Raises CodecError for a verdict that is not valid."""

    def decode(self, text: str, *, complete: bool = True) -> Decoded:
        """Read the labels in a text. Never raises.

        ``complete`` is false for an answer that was cut off at its length limit: then a last line without an end is
        not believed, because ``1`` may have been going to be ``17``.
        """


def make(name: str, categories: Sequence[Category]) -> Codec:
    """Make the codec of this name for some categories. Raises CodecError if it cannot write them."""
    codecs: dict[str, type[Condensed] | type[Verbose]] = {"condensed": Condensed, "verbose": Verbose}
    return codecs[name](categories)
