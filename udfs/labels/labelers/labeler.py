"""Labelers as configuration: one YAML file says who labels, what is asked, and how the answer is read.

    taxonomy: eai
    backend: vllm
    model: {id: EssentialAI/eai-distill-0.5b, revision: main}
    prompt: {system: taxonomy, user: "{{ text }}"}
    codec: condensed
    generation: {max_tokens: 100}

The file's name is the labeler's name in SQL. Every setting is described in udfs/README.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from udfs.errors import CuveeError, Location, UsageError, did_you_mean
from udfs.expensive import fingerprint
from udfs.labels.backends import backends
from udfs.labels.codecs.codecs import CODECS, Codec, make
from udfs.labels.labelers.price import Price
from udfs.labels.labelers.prompts import Template
from udfs.labels.labelers.section import Section
from udfs.labels.sampling import LIMIT, Excerpt
from udfs.labels.taxonomies.taxonomies import EAI, Taxonomies
from udfs.labels.taxonomies.taxonomy import NAME, Category, Taxonomy

#: The prompts that are used where a labeler has none of its own, one per codec.
PROMPTS = Path(__file__).with_name("shipped") / "prompts"

_SETTINGS = (
    "name", "description", "taxonomy", "backend", "model", "chat_template", "prompt", "passes", "codec", "generation",
    "document", "engine", "price",
)  # fmt: skip

#: Raised when the code changes answers and no setting does.
_VERSION = 1


class LabelerError(CuveeError):
    """A labeler's file is missing or says something that cannot be."""


@dataclass(frozen=True, slots=True)
class Model:
    """Which model: a folder, or an id with its revision. ``dtype``, ``quantization`` and ``adapter`` change answers."""

    folder: Path | None = None
    id: str | None = None
    revision: str | None = None
    dtype: str = "auto"
    quantization: str | None = None
    adapter: Path | None = None

    @property
    def source(self) -> str:
        """The folder or the id, as libraries take it."""
        return str(self.folder or self.id)

    def identity(self) -> list[object]:
        """For fingerprints: the id and revision, or the contents of the folder. Raises LabelerError."""
        named = [self.id, self.revision] if self.folder is None else [_folder(self.folder)]
        return [named, self.dtype, self.quantization, _folder(self.adapter) if self.adapter else None]


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
        """For fingerprints: without a temperature the settings of the draw mean nothing."""
        draw = [self.temperature, self.top_p, self.top_k, self.seed] if self.temperature else []
        return [self.max_tokens, draw]


@dataclass(frozen=True)
class Pass:
    """One question about a document: the categories that it asks for, and the prompt."""

    codec: Codec
    system: Template | None
    user: Template

    @property
    def categories(self) -> tuple[Category, ...]:
        """The categories asked for, in the order of the answer."""
        return self.codec.categories

    def identity(self, structured: bool) -> list[object]:
        """For fingerprints: the constant part of the prompt, and which codes are read."""
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
    passes: tuple[Pass, ...]
    generation: Generation
    excerpt: Excerpt
    input_tokens: int
    chat_template: str | None
    engine: Any
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
            self.input_tokens, self.chat_template, *self._engine_identity(),
        )  # fmt: skip

    def _engine_identity(self) -> list[object]:
        """What of the engine's settings changes answers, where a backend has such."""
        identity = getattr(self.engine, "identity", None)
        return list(identity(self.path.parent)) if identity else []


def read(path: Path, taxonomies: Taxonomies) -> Spec:
    """Read a labeler's file. Loads no model. Raises LabelerError with file and line."""
    file = Section.of_file(path, "a labeler", LabelerError)
    file.only(_SETTINGS)
    if (name := file.text("name", path.stem)) != path.stem:
        raise file.fail("name", f"the labeler {name!r} is in a file named {path.name}", "give both the same name")
    if not NAME.fullmatch(name):
        raise file.fail("name", f"{name!r} is no name of a labeler", "use a-z, 0-9 and _")
    file.text("description", "")
    backend = file.choice("backend", list(backends.BACKENDS))
    about = backends.BACKENDS[backend]
    try:
        taxonomy = taxonomies.get(file.text("taxonomy", EAI))
    except UsageError as error:
        raise file.fail("taxonomy", error.message, error.hint) from error
    spec = Spec(
        name,
        path,
        taxonomy,
        taxonomies,
        backend,
        _model(file) if about.model else None,
        _passes(file, taxonomy) if about.writes else (),
        _generation(file) if about.writes else Generation(0),
        *(_document(file) if about.writes else (Excerpt(), 0)),
        _beside(file, "chat_template") if about.writes and about.model else None,
        _engine(file, backend),
        _price(file),
    )
    file.done()
    return spec


def _model(file: Section) -> Model:
    section = file.section("model")
    if section is None:
        raise file.fail(None, "a labeler needs a model", "add model: {folder: …} or model: {id: …, revision: …}")
    section.only(("folder", "id", "revision", "dtype", "quantization", "adapter"))
    if section.has("folder") == section.has("id"):
        raise section.fail(None, "a model is either a folder or an id with its revision")
    if section.has("folder") and section.has("revision"):
        raise section.fail("revision", "a folder has no revision")
    return Model(
        folder=_place(section, "folder"),
        id=section.text("id") if section.has("id") else None,
        revision=section.text("revision", "main") if section.has("id") else None,
        dtype=section.choice("dtype", ("auto", "float32", "float16", "bfloat16"), "auto"),
        quantization=section.text("quantization") if section.has("quantization") else None,
        adapter=_place(section, "adapter"),
    )


def _place(section: Section, key: str) -> Path | None:
    """A folder, relative to the labeler's file."""
    return section.path.parent / Path(section.text(key)).expanduser() if section.has(key) else None


def _generation(file: Section) -> Generation:
    section = file.section("generation")
    if section is None:
        raise file.fail(None, "a labeler says how long an answer may be", "add generation: {max_tokens: 100}")
    section.only(("max_tokens", "structured", "temperature", "top_p", "top_k", "seed", "repetition_penalty"))
    if section.has("repetition_penalty") and section.number("repetition_penalty", 1, 0, 100) != 1:
        message = "labels repeat digits, so there is no repetition penalty"
        raise section.fail(
            "repetition_penalty", message, "leave it out; it is 1, whatever the model's own settings say"
        )
    generation = Generation(
        section.integer("max_tokens", None, low=1),
        section.flag("structured", False),
        section.number("temperature", 0, 0, 10),
        section.number("top_p", 1, 0, 1),
        section.integer("top_k", 0),
        section.integer("seed", 0),
    )
    for key in ("top_p", "top_k", "seed"):
        if section.has(key) and not generation.temperature:
            raise section.fail(key, f"{key} means nothing without a temperature", "the likeliest token is taken")
    return generation


def _document(file: Section) -> tuple[Excerpt, int]:
    section = file.section("document")
    if section is None:
        return Excerpt(), 16_384
    limit = section.integer("characters", LIMIT, low=1)
    head, window, tail = (section.integer(key, limit // 3) for key in ("head", "window", "tail"))
    if not 0 < head + window + tail <= limit:
        message = f"head, window and tail are {head + window + tail:,} characters, of {limit:,} in all"
        raise section.fail("characters", message)
    markers = section.texts("markers") or Excerpt().markers
    if len(markers) != 3:
        raise section.fail("markers", "there are three markers: of the head, the window and the tail")
    tokens = section.integer("tokens", 16_384, low=1)
    section.done()
    return Excerpt(limit, head, window, tail, (markers[0], markers[1], markers[2])), tokens


def _passes(file: Section, taxonomy: Taxonomy) -> tuple[Pass, ...]:
    codec = file.choice("codec", CODECS, "condensed")
    sections = list(file.sections("passes", "a pass"))
    if not sections:
        return (_pass(file, codec, taxonomy.categories),)
    if file.has("prompt"):
        raise file.fail("prompt", "with passes, each has its own prompt")
    passes = []
    asked: dict[str, Location] = {}
    for section in sections:
        categories = []
        for name in section.texts("categories") or ():
            if name in asked:
                raise section.fail("categories", f"{name} is asked for twice", f"first in line {asked[name].line}")
            asked[name] = section.where("categories")
            try:
                categories.append(taxonomy.category(name))
            except UsageError as error:
                raise section.fail("categories", error.message, error.hint) from error
        if not categories:
            raise section.fail("categories", "a pass asks for categories", "add categories: [one, two]")
        passes.append(_pass(section, codec, categories))
        section.done()
    if missing := [category.name for category in taxonomy.categories if category.name not in asked]:
        raise file.fail("passes", f"no pass asks for {missing[0]}")
    return tuple(passes)


def _pass(file: Section, codec: str, categories: Sequence[Category]) -> Pass:
    try:
        form = make(codec, categories)
    except CuveeError as error:
        raise file.fail("codec", error.message, error.hint) from error
    section = file.section("prompt")
    if section is None:
        path = PROMPTS / f"{codec}.jinja"
        return Pass(form, None, Template(path.read_text(encoding="utf-8"), Location(str(path), 1)))
    section.only(("system", "system_file", "user", "user_file"))
    system, user = _template(section, "system"), _template(section, "user")
    if user is None:
        raise section.fail(None, "a prompt needs what the user says", 'add user: "{{ text }}", or user_file: FILE')
    return Pass(form, system, user)


def _template(section: Section, key: str) -> Template | None:
    file = f"{key}_file"
    if section.has(key) and section.has(file):
        raise section.fail(file, f"the prompt has both {key} and {file}")
    if section.has(file):
        text = _beside(section, file)
        return Template(text or "", Location(str(section.path.parent / section.text(file)), 1))
    return Template(section.text(key), section.where(key)) if section.has(key) else None


def _beside(section: Section, key: str) -> str | None:
    """The content of a file whose name is relative to the labeler's file."""
    if not section.has(key):
        return None
    path = section.path.parent / section.text(key)
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        near = did_you_mean(path.name, [each.name for each in path.parent.glob("*") if each.is_file()])
        raise section.fail(key, f"cannot read {path}: {error.strerror}", near) from error
    except UnicodeDecodeError as error:
        raise section.fail(key, f"{path} is not UTF-8 text") from error


def _engine(file: Section, backend: str) -> Any:
    """The backend's own settings, or None where the file has none."""
    section = file.section("engine")
    if section is None:
        return None
    settings = getattr(backends.module(backend), "Settings", None)
    if settings is None:
        raise file.fail("engine", f"the backend {backend} has no settings")
    return section.fill(settings)


def _price(file: Section) -> Price | None:
    section = file.section("price")
    if section is None:
        return None
    price = section.fill(Price)
    if not re.fullmatch("[A-Z]{3}", price.currency):
        raise section.fail("currency", f"a currency has three letters, such as USD, not {price.currency!r}")
    return price


def _folder(folder: Path) -> str:
    from udfs.identity import identity

    if not folder.is_dir():
        raise LabelerError(f"no model folder {folder}", hint="folders are relative to the labeler's file")
    try:
        return identity(folder)
    except OSError as error:
        raise LabelerError(f"cannot read the model in {folder}: {error.strerror}") from error
