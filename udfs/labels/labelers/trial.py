"""One document through a labeler, with everything seen on the way. Nothing is stored."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import pyarrow as pa

from udfs.expensive import INPUT_SCHEMA
from udfs.labels.labelers.prompted import PromptedLabeler
from udfs.labels.taxonomies.taxonomy import ABSTAIN

if TYPE_CHECKING:
    from udfs.labels.backends.protocol import Message, Prompt
    from udfs.labels.labels import Labeler

Codes = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt as messages, and as the text that the model gets where the engine takes tokens; and the raw answer.

    ``answer`` is None where there is none, ``complete`` false if it was cut off at the length limit.
    """

    messages: tuple[Message, ...]
    chat: str | None
    tokens: int | None
    answer: str | None
    complete: bool


@dataclass(frozen=True, slots=True)
class Trial:
    """A document's labels, by category; ``reasons`` says why one is missing, ``note`` what else is wrong.

    ``doc_id`` is the id that the text has in a lake, ``read`` what the labeler reads of it. ``seconds`` is the time
    of the labelling; for a labeler without prompts its model may be loaded in it.
    """

    doc_id: str
    characters: int
    read: tuple[str, ...]
    questions: tuple[Question, ...]
    status: str
    labels: Mapping[str, Codes]
    reasons: Mapping[str, str]
    note: str | None
    tokens: int | None
    seconds: float


def attempt(labeler: Labeler, text: str) -> Trial:
    """Label a text as a build would. One bad text does not raise; an engine that cannot start does (CuveeError)."""
    key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return _asked(labeler, key, text) if isinstance(labeler, PromptedLabeler) else _judged(labeler, key, text)


def names(labeler: Labeler, category: str, code: str | None) -> str | None:
    """What a code is called, FDC's classes from the highest down."""
    if code is None:
        return None
    if code == ABSTAIN:
        return "abstains"
    return " / ".join(label.label for label in labeler.taxonomy.category(category).path(code) if label.label)


def _asked(labeler: PromptedLabeler, key: str, text: str) -> Trial:
    asking = labeler.asking
    start = perf_counter()
    asked = asking.ask([key], [text])
    read = (labeler.spec.excerpt.read(text, key),) if asked.prompts else ()
    categories = [category.name for category in labeler.taxonomy.categories]
    if asked.aside:
        error = asked.aside[0].error
        labels: dict[str, Codes] = dict.fromkeys(categories, (None, None) if error else (ABSTAIN, None))
        seconds = perf_counter() - start
        return Trial(key, len(text), read, (), "error" if error else "ok", labels, {}, error, 0, seconds)
    answers = sorted(labeler.engine.generate(iter(asked.prompts)), key=lambda each: each.number)
    failed = next((each.error for each in answers if each.error is not None), None)
    questions = tuple(
        Question(prompt.messages, _chat(labeler, prompt), len(prompt.tokens) if prompt.tokens else None,
                 None if answer.error else answer.text, answer.complete)
        for prompt, answer in zip(asked.prompts, answers, strict=True)
    )  # fmt: skip
    tokens = sum(each.prompt_tokens + each.output_tokens for each in answers)
    if failed is not None:
        labels = dict.fromkeys(categories, (None, None))
        return Trial(key, len(text), read, questions, "error", labels, {}, failed, tokens, perf_counter() - start)
    decoded = labeler.decode(answers)
    labels = {name: decoded.verdict.get(name, (None, None)) for name in categories}
    seconds = perf_counter() - start
    return Trial(
        key, len(text), read, questions, decoded.status, labels, decoded.problems, decoded.note, tokens, seconds
    )


def _chat(labeler: PromptedLabeler, prompt: Prompt) -> str | None:
    chat = labeler.engine.chat
    return chat.show(prompt.tokens) if chat is not None and prompt.tokens is not None else None


def _judged(labeler: Labeler, key: str, text: str) -> Trial:
    start = perf_counter()
    batch = pa.record_batch([[key], [text]], schema=INPUT_SCHEMA)
    (verdicts,) = labeler.label(iter([batch]))
    seconds = perf_counter() - start
    labels: dict[str, Codes] = {}
    for category in labeler.taxonomy.categories:
        primary, secondary = verdicts.codes.get(category.name, ([None], [None]))
        labels[category.name] = (primary[0], secondary[0])
    reads = getattr(labeler, "reads", None)
    read = tuple(reads(text, key)) if reads is not None else (text,)
    return Trial(
        key, len(text), read, (), verdicts.statuses[0], labels, {}, verdicts.raw[0], verdicts.tokens[0], seconds
    )
