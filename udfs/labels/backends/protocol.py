"""What a labeler and an engine that writes text say to each other: prompts in, answers out, as a stream.

The labeler hands over an iterator of prompts and reads an iterator of answers. The engine takes a prompt when it has
room for it, so what is in flight is bounded by the engine, and gives answers as they are finished, in any order: no
batch waits for its slowest member. Closing the iterator of answers cancels what is in flight.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from udfs.labels.chat import ChatFormat


class Message(NamedTuple):
    """A turn of a conversation: ``role`` is ``system`` or ``user``."""

    role: str
    content: str


class Prompt(NamedTuple):
    """What a model is asked about one document in one pass; ``(key, number)`` is unique among those in flight.

    ``tokens`` are the ids of the whole prompt, generation prompt included, for engines with a ``chat``; special
    tokens stand there only where the chat format puts them. Other engines get ``messages`` and see to it themselves
    that a document which contains special tokens stays a document. ``pattern`` is a regular expression for the whole
    answer, if the labeler wants one in form.
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


class Engine(Protocol):
    """A running model. Made by ``open(spec)`` of a backend's module, which checks what it can without a prompt."""

    @property
    def chat(self) -> ChatFormat | None:
        """The model's tokenizer and chat format, if the engine takes token ids; None if it takes messages."""

    def generate(self, prompts: Iterator[Prompt]) -> Iterator[Answer]:
        """Answer every prompt once, in any order.

        ``prompts`` is advanced by one thread at a time, and only when there is room in flight; advancing may take
        long, because texts are read from the lake meanwhile. A failure that concerns one prompt is an answer with an
        ``error``; one that concerns all of them is raised. Closing the iterator cancels what is in flight and leaves
        ``prompts`` alone; the engine can be used again.
        """

    def close(self) -> None:
        """Free the model."""
