"""One document through a labeler, with everything seen on the way. Nothing is stored."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter

import pyarrow as pa

from udfs.expensive import INPUT_SCHEMA
from udfs.labels.backends.engine import Answer, Prompt
from udfs.labels.chat import Message
from udfs.labels.labeler import Labeler
from udfs.labels.labelers.prompted import PromptedLabeler
from udfs.labels.taxonomies.taxonomy import ABSTAIN

PairOrNone = tuple[str | None, str | None]


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
    labels: Mapping[str, PairOrNone]
    reasons: Mapping[str, str]
    note: str | None
    tokens: int | None
    seconds: float


def attempt(labeler: Labeler, text: str) -> Trial:
    """Label a text as a build would. One bad text does not raise; an engine that cannot start does (CuveeError)."""
    key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return _prompted(labeler, key, text) if isinstance(labeler, PromptedLabeler) else _judged(labeler, key, text)


def names(labeler: Labeler, category: str, code: str | None) -> str | None:
    """Return the name of a code, FDC's classes from the highest down."""
    if code is None:
        return None
    if code == ABSTAIN:
        return "abstains"
    return " / ".join(label.label for label in labeler.taxonomy.category(category).path(code) if label.label)


def _prompted(labeler: PromptedLabeler, key: str, text: str) -> Trial:
    prompt_maker = labeler.prompt_maker
    start = perf_counter()
    batch = prompt_maker.batch([key], [text])
    questions: tuple[Question, ...] = ()
    reasons: Mapping[str, str] = {}
    nothing: dict[str, PairOrNone] = {category.name: (None, None) for category in labeler.taxonomy.categories}
    labels: Mapping[str, PairOrNone]
    tokens = 0
    if batch.skipped:
        note = batch.skipped[0].error
        status = "error" if note else "ok"
        labels = nothing if note else dict.fromkeys(nothing, (ABSTAIN, None))
    else:
        answers = sorted(labeler.engine.generate(iter(batch.prompts)), key=lambda each: each.number)
        questions = tuple(_question(labeler, *each) for each in zip(batch.prompts, answers, strict=True))
        tokens = sum(each.prompt_tokens + each.output_tokens for each in answers)
        note = next((each.error for each in answers if each.error is not None), None)
        if note is not None:
            status, labels = "error", nothing
        else:
            decoded = labeler.decode(answers)
            status, reasons, note = decoded.status, decoded.problems, decoded.note
            labels = {name: decoded.verdict.get(name, (None, None)) for name in nothing}
    return Trial(
        doc_id=key,
        characters=len(text),
        read=(labeler.spec.excerpt.read(text, key),) if batch.prompts else (),
        questions=questions,
        status=status,
        labels=labels,
        reasons=reasons,
        note=note,
        tokens=tokens,
        seconds=perf_counter() - start,
    )


def _question(labeler: PromptedLabeler, prompt: Prompt, answer: Answer) -> Question:
    chat = labeler.engine.chat
    return Question(
        messages=prompt.messages,
        chat=chat.decode(prompt.tokens, special=True) if chat is not None and prompt.tokens is not None else None,
        tokens=len(prompt.tokens) if prompt.tokens else None,
        answer=None if answer.error else answer.text,
        complete=answer.complete,
    )


def _judged(labeler: Labeler, key: str, text: str) -> Trial:
    start = perf_counter()
    batch = pa.record_batch([[key], [text]], schema=INPUT_SCHEMA)
    (verdicts,) = labeler.label(iter([batch]))
    seconds = perf_counter() - start
    labels: dict[str, PairOrNone] = {}
    for category in labeler.taxonomy.categories:
        primary, secondary = verdicts.codes.get(category.name, ([None], [None]))
        labels[category.name] = (primary[0], secondary[0])
    return Trial(
        doc_id=key,
        characters=len(text),
        read=labeler.reads(text, key),
        questions=(),
        status=verdicts.statuses[0],
        labels=labels,
        reasons={},
        note=verdicts.raw[0],
        tokens=verdicts.tokens[0],
        seconds=seconds,
    )
