"""Recipes of distillation: whose labels a student learns, on which documents, and what it is.

The published student (Essential-Web, arXiv 2506.14111, section 6.2 and tables 32 to 36): Qwen2.5-0.5B-Instruct, the
condensed form of the labels, the teacher's prompt dropped, loss on labels only, AdamW with betas 0.9 and 0.95 and
weight decay 0.1, batches of 2M tokens in sequences of 16,384, peak rate 1e-4.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from training.recipe.configuration import Amount, Count, Positive, Range, RecipeError, YamlNode, load, only_for, read
from training.recipe.durations import Duration
from training.recipe.settings import Checkpoints, Piece
from udfs.labels.taxonomies.taxonomies import EAI
from udfs.labels.taxonomies.taxonomy import NAME

#: Warm-up over 2B tokens, cosine to a tenth, linear to zero in the last 2B, of the published run's 82B tokens.
PUBLISHED = (Piece(1.0, Duration(2 / 82, "dur")), Piece(0.1, None, "cosine"), Piece(0.0, Duration(2 / 82, "dur")))


@dataclass(frozen=True, slots=True)
class StudentSettings:
    """What learns. ``generative`` writes labels as text, ``heads`` has a classification head per category and rank.

    ``folder`` is a model as transformers saves it, with tokenizer.json: a causal model with a chat template, or an
    encoder. Without one, fresh weights: a Qwen2 (vLLM serves it) or a ModernBERT of the given sizes, with a
    ``tokenizer`` of the lake. ``backend`` is that of the generative student's labeler.
    """

    kind: Literal["generative", "heads"]
    folder: str | None = None
    tokenizer: str | None = None
    layers: Count | None = None
    hidden: Count | None = None
    intermediate: Count | None = None
    heads: Count | None = None
    key_value_heads: Count | None = None
    pooling: Literal["mean", "first"] = "mean"
    backend: Literal["vllm", "transformers"] = "vllm"


@dataclass(frozen=True, slots=True)
class StudentPrompt:
    """What a generative student is asked; ``user`` is a template, as in a labeler's file."""

    system: str = "taxonomy"
    user: str = "{{ text }}"


@dataclass(frozen=True, slots=True)
class AdamW:
    """AdamW as published: weight decay times the current rate. eps and the clipping are not published."""

    betas: tuple[Annotated[float, Range(at_least=0, below=1)], ...] = (0.9, 0.95)
    eps: Positive = 1e-8
    weight_decay: Annotated[float, Range(at_least=0)] = 0.1
    clip_norm: Positive | None = 1.0


@dataclass(frozen=True, slots=True)
class Distillation:
    """A recipe. ``name`` is the student's name as a labeler.

    ``documents`` is a relation of the lake with ``doc_id`` and, if it is a mixture, ``copies``; what the ``teacher``
    has labelled in full of them is learnt. A document of more than ``characters`` is read in parts, and an answer has
    at most ``max_tokens``. ``tokens`` and ``batch_tokens`` count sequences of ``sequence_length``, full or not.
    ``microbatch`` is in sequences. ``seed`` draws fresh weights and the order of the documents.
    """

    name: str
    teacher: str
    student: StudentSettings
    tokens: Count
    batch_tokens: Count
    sequence_length: Count
    taxonomy: str = EAI
    documents: str = "distillation_documents"
    prompt: StudentPrompt = StudentPrompt()
    characters: Count = 30_000
    max_tokens: Count = 100
    learning_rate: Positive = 1e-4
    pieces: tuple[Piece, ...] = PUBLISHED
    optimizer: AdamW = AdamW()
    precision: Literal["fp32", "amp_bf16"] = "fp32"
    microbatch: Count | None = None
    checkpoints: Checkpoints = Checkpoints()
    seed: Amount = 17

    @property
    def generative(self) -> bool:
        """Whether the student writes."""
        return self.student.kind == "generative"

    @property
    def sequences(self) -> int:
        """Sequences in a batch."""
        return self.batch_tokens // self.sequence_length

    @property
    def steps(self) -> int:
        """Whole batches in the run."""
        return self.tokens // self.batch_tokens


def read_recipe(path: Path, settings: tuple[str, ...] = ()) -> Distillation:
    """Read and check a recipe; ``settings`` are ``key=value`` pairs that go over it.

    Raises RecipeError (file, line, column, and the nearest known name) for anything it cannot mean.
    """
    node = load(path, settings)
    only_for("distil", node, path)
    recipe = read(node, Distillation)
    if not NAME.fullmatch(recipe.name):
        raise RecipeError(f"{recipe.name!r} is not a valid labeler name: a-z, 0-9 and _ only", where=node.at("name"))
    _check_student(recipe.student, node)
    if recipe.batch_tokens % recipe.sequence_length:
        raise RecipeError(
            f"batch_tokens {recipe.batch_tokens:,} is not a whole number of sequences of {recipe.sequence_length:,}",
            where=node.at("batch_tokens"),
        )
    if recipe.tokens < recipe.batch_tokens:
        raise RecipeError(f"tokens is less than one batch ({recipe.batch_tokens:,} tokens)", where=node.at("tokens"))
    if recipe.generative and recipe.max_tokens >= recipe.sequence_length:
        raise RecipeError(
            f"an answer of max_tokens {recipe.max_tokens:,} leaves no room for a document in a sequence",
            where=node.at("max_tokens"),
        )
    if len(recipe.optimizer.betas) != 2:
        raise RecipeError("optimizer.betas must be two numbers", where=node.at("optimizer.betas"))
    if sum(piece.over is None for piece in recipe.pieces) > 1:
        raise RecipeError("only one piece may lack 'over', and takes the rest", where=node.at("pieces"))
    return recipe


def _check_student(student: StudentSettings, node: YamlNode) -> None:
    sizes = ("tokenizer", "layers", "hidden", "intermediate", "heads", "key_value_heads")
    if student.folder is not None:
        if given := [key for key in sizes if getattr(student, key)]:
            message = f"student.folder already says what student.{given[0]} is"
            raise RecipeError(message, where=node.at(f"student.{given[0]}"))
        for file in ("config.json", "tokenizer.json"):
            if not (Path(student.folder) / file).is_file():
                raise RecipeError(f"no model in {student.folder}: it has no {file}", where=node.at("student.folder"))
        return
    for key in sizes[:-1]:
        if getattr(student, key) is None:
            raise RecipeError(f"student lacks {key!r}", where=node.at("student"), hint="or name a model: folder: DIR")
    assert student.hidden and student.heads
    if student.hidden % student.heads or (student.hidden // student.heads) % 2:
        message = f"hidden {student.hidden} over {student.heads} heads gives no even head width"
        raise RecipeError(message, where=node.at("student.heads"))
    if student.heads % (student.key_value_heads or student.heads):
        message = f"{student.heads} heads cannot share {student.key_value_heads} key_value_heads"
        raise RecipeError(message, where=node.at("student.key_value_heads"))
    if student.key_value_heads and student.kind == "heads":
        raise RecipeError("an encoder has no key_value_heads", where=node.at("student.key_value_heads"))
