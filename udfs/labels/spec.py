"""Labelers as values: what a labeler's file says, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from udfs.errors import LabelerError
from udfs.expensive import Price, fingerprint
from udfs.identity import identity
from udfs.labels.codecs import Codec
from udfs.labels.prompts import Template
from udfs.labels.sampling import Excerpt
from udfs.labels.taxonomies.taxonomies import Taxonomies
from udfs.labels.taxonomies.taxonomy import Category, Taxonomy

#: Raised when the code changes answers and no setting does.
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Model:
    """Which model: a folder, or an id with its revision. ``dtype``, ``quantization`` and ``adapter`` change answers.

    ``trust_remote_code``: Python files that come with the model may run. Else they never do.
    """

    folder: Path | None = None
    id: str | None = None
    revision: str | None = None
    dtype: str = "auto"
    quantization: str | None = None
    adapter: Path | None = None
    trust_remote_code: bool = False

    @property
    def source(self) -> str:
        """The folder or the id, as libraries take it."""
        return str(self.folder or self.id)

    def identity(self) -> list[object]:
        """Return the id and revision, or a digest of the folder, for fingerprints. Raises LabelerError."""
        named = [self.id, self.revision] if self.folder is None else [_folder(self.folder)]
        own_code = ["trust_remote_code"] if self.trust_remote_code else []
        return [named, self.dtype, self.quantization, _folder(self.adapter) if self.adapter else None, *own_code]


@dataclass(frozen=True, slots=True)
class Generation:
    """How an answer is written: the likeliest token each time (``temperature`` 0), at most ``max_tokens``.

    ``structured`` holds the answer to the codec's form. There is never a repetition penalty: labels repeat digits. An
    engine must set it to 1 itself, because models come with sampling settings of their own.
    """

    max_tokens: int
    structured: bool = False
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0

    def identity(self) -> list[object]:
        """Return what changes answers, for fingerprints. Without a temperature the draw has no settings."""
        draw = [self.temperature, self.top_p, self.top_k, self.seed] if self.temperature else []
        return [self.max_tokens, draw]


@dataclass(frozen=True)
class EngineSettings:
    """The section ``engine:`` of a labeler's file: a backend's own settings. The base class has none."""

    def identity(self, folder: Path) -> list[object]:
        """Return what changes answers, for fingerprints. ``folder`` is that of the labeler's file."""
        return []


@dataclass(frozen=True)
class LabelingPass:
    """One question about a document: the categories that it asks for, and the prompt."""

    codec: Codec
    system: Template | None
    user: Template

    @property
    def categories(self) -> tuple[Category, ...]:
        """The categories asked for, in the order of the answer."""
        return self.codec.categories

    def identity(self, structured: bool) -> list[object]:
        """Return the constant part of the prompt, and which codes are read, for fingerprints."""
        codes = [
            [each.name, each.decimal, each.abstains, [label.code for label in each.choices] if not each.decimal else []]
            for each in self.categories
        ]
        prompts = [template.identity(self.categories) if template else None for template in (self.system, self.user)]
        return [self.codec.identity, codes, prompts, self.codec.pattern if structured else None]


@dataclass(frozen=True)
class Spec:
    """A labeler, as its file says. ``passes`` is empty for backends that need no prompt.

    ``input_tokens`` limits a whole prompt, for engines whose tokenizer is known; ``engine`` are the backend's own
    settings, which change its speed and no answer; ``price`` is what its tokens cost.
    """

    name: str
    path: Path
    taxonomy: Taxonomy
    taxonomies: Taxonomies
    backend: str
    model: Model | None
    passes: tuple[LabelingPass, ...]
    generation: Generation
    excerpt: Excerpt
    input_tokens: int
    chat_template: str | None
    engine: EngineSettings
    price: Price | None = None

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits over what can change an answer of a labeler that writes.

        That is neither its name, nor settings of the engine that are about speed, nor the versions of its packages.
        """
        return fingerprint(
            "labeler", _VERSION, self.backend, self.model.identity() if self.model else None,
            [each.identity(self.generation.structured) for each in self.passes], self.generation.identity(),
            [self.excerpt.limit, self.excerpt.head, self.excerpt.window, self.excerpt.tail, self.excerpt.markers],
            self.input_tokens, self.chat_template, *self.engine.identity(self.path.parent),
        )  # fmt: skip


def _folder(folder: Path) -> str:
    if not folder.is_dir():
        raise LabelerError(f"no model folder {folder}", hint="folders are relative to the labeler's file")
    try:
        return identity(folder)
    except OSError as error:
        raise LabelerError(f"cannot read the model in {folder}: {error.strerror}") from error
