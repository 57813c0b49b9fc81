"""The base class of engines that write text: prompts in, answers out, as a stream.

The labeler hands over an iterator of prompts and reads a stream of answers. The engine takes a prompt when it has room
for it, so the engine bounds what is in flight. It gives answers as they are finished, in any order: no batch waits for
its slowest member. Closing the stream of answers cancels what is in flight.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

from udfs.labels.messages import Answer, Prompt

if TYPE_CHECKING:
    from udfs.labels.chat import ChatFormat


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
