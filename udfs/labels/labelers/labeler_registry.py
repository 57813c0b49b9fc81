"""The labelers that a project can name: those in its folder ``labelers``, and those that come with Cuvée.

A labeler is a YAML file: which model labels, what is asked, and how the answer is read.

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
from pathlib import Path

from udfs.errors import CuveeError, LabelerError, Location, UsageError, did_you_mean
from udfs.expensive import Price
from udfs.labels.backends.settings import BACKENDS
from udfs.labels.codecs import CODECS, make
from udfs.labels.labeler import Labeler
from udfs.labels.labelers.heads_labeler import heads_labeler
from udfs.labels.labelers.prompted import PromptedLabeler
from udfs.labels.labelers.zero_shot import zero_shot_labeler
from udfs.labels.prompts import Template
from udfs.labels.sampling import LIMIT, Excerpt
from udfs.labels.section import Section
from udfs.labels.spec import EngineSettings, Generation, LabelingPass, Model, Spec
from udfs.labels.taxonomies.taxonomies import EAI, Taxonomies
from udfs.labels.taxonomies.taxonomy import NAME, Category, Taxonomy

#: The labelers that come with Cuvée.
SHIPPED = Path(__file__).with_name("shipped")

#: The prompts that are used where a labeler has none of its own, one per codec.
PROMPTS = SHIPPED / "prompts"

_SETTINGS = (
    "name", "description", "taxonomy", "backend", "model", "chat_template", "prompt", "passes", "codec", "generation",
    "document", "engine", "price",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LabelerRegistry:
    """A project's labelers by name: files in the folder ``labelers`` of each of ``folders``, its own first.

    A file of an earlier folder replaces a later one's of the same name, and any replaces a shipped one.
    """

    folders: Sequence[Path]

    def files(self) -> dict[str, Path]:
        """Return the labelers' files by name. Raises LabelerError if the project has two of one name."""
        found = {path.stem: path for path in sorted(SHIPPED.glob("*.yml"))}
        for folder in (each / "labelers" for each in reversed(self.folders)):
            for path in sorted([*folder.glob("*.yml"), *folder.glob("*.yaml")]):
                if found.get(path.stem, SHIPPED).parent == folder:
                    hint = f"the other is {found[path.stem].name}"
                    raise LabelerError(f"two labelers are named {path.stem}", where=Location(str(path)), hint=hint)
                found[path.stem] = path
        return found

    def spec(self, name: str) -> Spec:
        """Read a labeler's file. Raises UsageError with the nearest names; LabelerError with file and line."""
        files = self.files()
        if name not in files:
            hint = did_you_mean(name, files)
            raise UsageError(f"no labeler {name!r}", hint=hint or f"known: {', '.join(sorted(files))}")
        return read(files[name], Taxonomies(self.folders))

    def get(self, name: str) -> Labeler:
        """Make a labeler. Loads no model."""
        return make_labeler(self.spec(name))


def make_labeler(spec: Spec) -> Labeler:
    """Return the labeler that a file describes. Loads no model."""
    match spec.backend:
        case "encoder":
            return zero_shot_labeler(spec)
        case "heads":
            return heads_labeler(spec)
        case _:
            return PromptedLabeler(spec)


def read(path: Path, taxonomies: Taxonomies) -> Spec:
    """Read a labeler's file. Loads no model. Raises LabelerError with file and line."""
    file = Section.of_file(path, "a labeler", LabelerError)
    file.only(_SETTINGS)
    if (name := file.text("name", path.stem)) != path.stem:
        raise file.fail("name", f"the labeler {name!r} is in a file named {path.name}", "give both the same name")
    if not NAME.fullmatch(name):
        raise file.fail("name", f"{name!r} is not a valid labeler name", "use a-z, 0-9 and _")
    file.text("description", "")
    backend = file.choice("backend", list(BACKENDS))
    about = BACKENDS[backend]
    try:
        taxonomy = taxonomies.get(file.text("taxonomy", EAI))
    except UsageError as error:
        raise file.fail("taxonomy", error.message, error.hint) from error
    excerpt, input_tokens = _document(file) if about.writes else (Excerpt(), 0)
    spec = Spec(
        name=name,
        path=path,
        taxonomy=taxonomy,
        taxonomies=taxonomies,
        backend=backend,
        model=_model(file) if about.model else None,
        passes=_passes(file, taxonomy) if about.writes else (),
        generation=_generation(file) if about.writes else Generation(0),
        excerpt=excerpt,
        input_tokens=input_tokens,
        chat_template=_text_of_file(file, "chat_template") if about.writes and about.model else None,
        engine=_engine(file, backend),
        price=_price(file),
    )
    file.done()
    return spec


def _model(file: Section) -> Model:
    section = file.section("model")
    if section is None:
        raise file.fail(None, "a labeler needs a model", "add model: {folder: …} or model: {id: …, revision: …}")
    section.only(("folder", "id", "revision", "dtype", "quantization", "adapter", "trust_remote_code"))
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
        trust_remote_code=section.flag("trust_remote_code", False),
    )


def _place(section: Section, key: str) -> Path | None:
    """Return a folder, relative to the labeler's file."""
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
        max_tokens=section.integer("max_tokens", None, low=1),
        structured=section.flag("structured", False),
        temperature=section.number("temperature", 0, 0, 10),
        top_p=section.number("top_p", 1, 0, 1),
        top_k=section.integer("top_k", 0),
        seed=section.integer("seed", 0),
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


def _passes(file: Section, taxonomy: Taxonomy) -> tuple[LabelingPass, ...]:
    codec = file.choice("codec", list(CODECS), "condensed")
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


def _pass(file: Section, codec: str, categories: Sequence[Category]) -> LabelingPass:
    try:
        form = make(codec, categories)
    except CuveeError as error:
        raise file.fail("codec", error.message, error.hint) from error
    section = file.section("prompt")
    if section is None:
        path = PROMPTS / f"{codec}.jinja"
        return LabelingPass(form, None, Template(path.read_text(encoding="utf-8"), Location(str(path), 1)))
    section.only(("system", "system_file", "user", "user_file"))
    system, user = _template(section, "system"), _template(section, "user")
    if user is None:
        raise section.fail(None, "a prompt needs what the user says", 'add user: "{{ text }}", or user_file: FILE')
    return LabelingPass(form, system, user)


def _template(section: Section, key: str) -> Template | None:
    file = f"{key}_file"
    if section.has(key) and section.has(file):
        raise section.fail(file, f"the prompt has both {key} and {file}")
    if section.has(file):
        text = _text_of_file(section, file)
        return Template(text or "", Location(str(section.path.parent / section.text(file)), 1))
    return Template(section.text(key), section.where(key)) if section.has(key) else None


def _text_of_file(section: Section, key: str) -> str | None:
    """Read a file whose name is relative to the labeler's file."""
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


def _engine(file: Section, backend: str) -> EngineSettings:
    """Return the backend's own settings, the defaults where the file has none."""
    settings = BACKENDS[backend].settings
    section = file.section("engine")
    if section is None:
        return (settings or EngineSettings)()
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
