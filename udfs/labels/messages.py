"""Prompts and answers: what a labeler sends to an engine, and what it gets back."""

from __future__ import annotations

from typing import NamedTuple


class Message(NamedTuple):
    """A turn of a conversation: ``role`` is ``system`` or ``user``."""

    role: str
    content: str


class Prompt(NamedTuple):
    """What a model is asked about one document in one pass; ``(key, number)`` is unique among those in flight.

    ``tokens`` are the ids of the whole prompt, generation prompt included, for engines with a ``chat``; special
    tokens are there only where the chat format puts them. Other engines get ``messages`` and take care themselves
    that a document which contains special tokens stays a document. ``pattern`` is a regular expression for the whole
    answer, if the labeler wants it well-formed.
    """

    key: str
    number: int
    messages: tuple[Message, ...]
    tokens: list[int] | None
    pattern: str | None


class Answer(NamedTuple):
    """What a model wrote. ``complete`` is false if it was cut off at the length limit.

    ``error`` says why there is no answer: the prompt is lost, the others are not. ``prompt_tokens`` and
    ``output_tokens`` are what was paid for, also by an answer that failed.
    """

    key: str
    number: int
    text: str
    complete: bool
    prompt_tokens: int
    output_tokens: int
    error: str | None = None
