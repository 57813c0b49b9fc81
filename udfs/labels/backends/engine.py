"""The base class of engines that write text: prompts in, answers out, as a stream.

The labeler hands over an iterator of prompts and reads a stream of answers. The engine takes a prompt when it has room
for it, so the engine bounds what is in flight. It gives answers as they are finished, in any order: no batch waits for
its slowest member. Closing the stream of answers cancels what is in flight.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from udfs.errors import CuveeError
from udfs.labels.backends.settings import BACKENDS
from udfs.labels.chat import ChatFormat, Message
from udfs.labels.spec import Model, Spec

#: A model's files but its weights.
_SMALL = ["*.json", "*.jinja", "*.txt", "*.model"]


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


class Engine:
    """A running model. ``start_engine(spec)`` of a backend's module makes one, and checks what it can without a prompt.

    ``chat`` is the model's tokenizer and chat format if the engine takes token ids, None if it takes messages.
    """

    chat: ChatFormat | None = None

    def generate(self, prompts: Iterator[Prompt]) -> Generator[Answer, None, None]:
        """Answer every prompt once, in any order.

        ``prompts`` is advanced by one thread at a time, and only when there is room in flight. Advancing may take
        long, because texts are read from the lake meanwhile. A failure that concerns one prompt is an answer with an
        ``error``; one that concerns all of them is raised. Closing the stream cancels what is in flight and leaves
        ``prompts`` alone; the engine can be used again.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Free the model. Does nothing unless an engine holds one."""


def open_engine(spec: Spec) -> Engine:
    """Start the engine of a labeler that writes. Raises CuveeError naming the extra if a package is missing."""
    path = f"{__package__}.{spec.backend}"
    try:
        engine: Engine = import_module(path).start_engine(spec)
    except ImportError as error:
        if error.name == path:
            raise CuveeError(f"this installation of cuvee has no backend {spec.backend}") from error
        extra = BACKENDS[spec.backend].extra
        package = (error.name or "").partition(".")[0]
        reason = f"needs the package {package}" if package else f"cannot be imported: {error}"
        hint = f"pip install 'cuvee[{extra}]'" if extra else None
        raise CuveeError(f"the backend {spec.backend} {reason}", hint=hint) from error
    return engine


def tokenizer_folder(model: Model) -> Path:
    """Return the folder with the model's tokenizer: its own, or one that Hugging Face's client has or gets.

    Raises CuveeError if it cannot be had.
    """
    if model.folder is not None:
        return model.folder
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise CuveeError("a model given by its id needs the package huggingface_hub") from error
    try:
        return Path(snapshot_download(model.source, revision=model.revision, allow_patterns=_SMALL))
    except Exception as error:  # of many kinds: no network, no such model, no permission
        raise CuveeError(
            f"cannot get the model {model.id} at {model.revision}: {error}",
            hint="download it where there is a network, and name the folder: model: {folder: …}",
        ) from error
