"""The backend ``fake``: an engine without a model, whose labels are drawn from the md5 of the prompt's last message.

It writes them in the codec's form, as a model would: equal prompts get equal answers, everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from udfs.backends.protocol import Answer, Prompt
from udfs.codecs import Codec, Pair
from udfs.codecs.condensed import SKIP, Condensed

if TYPE_CHECKING:
    from udfs.chat import ChatFormat
    from udfs.labeler import Spec

_WORD = 1 << 64


def open(spec: Spec) -> FakeEngine:  # the protocol's name
    """An engine for the spec's passes."""
    return FakeEngine([each.codec for each in spec.passes])


class FakeEngine:
    """Writes an answer to every prompt. A token is four characters."""

    def __init__(self, codecs: list[Codec]) -> None:
        self._codecs = codecs
        self._choices = [
            [(category.name, [label.code for label in category.choices]) for category in codec.categories]
            for codec in codecs
        ]

    @property
    def chat(self) -> ChatFormat | None:
        """None: it reads messages."""
        return None

    def generate(self, prompts: Iterator[Prompt]) -> Iterator[Answer]:
        """One answer per prompt, in their order."""
        for prompt in prompts:
            content = prompt.messages[-1].content
            text = self._write(prompt.number, content)
            yield Answer(prompt.key, prompt.number, text, True, len(content) // 4 + 1, len(text) // 4 + 1)

    def close(self) -> None:
        """Nothing to free."""

    def _write(self, number: int, content: str) -> str:
        digest = hashlib.md5(content.encode("utf-8", "surrogatepass"), usedforsecurity=False).digest()
        first, second = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
        pairs = []
        for index, (name, codes) in enumerate(self._choices[number]):
            n = len(codes)
            chosen = (first + index * second) % _WORD % n
            # Twice as many places as labels, the first of them none: about every second document has a secondary.
            offset = (second + index * first) % _WORD % (2 * n)
            pairs.append((name, codes[chosen], codes[(chosen + offset) % n] if 0 < offset < n else None))
        codec = self._codecs[number]
        if isinstance(codec, Condensed):
            return "\n".join([f"{primary},{secondary or SKIP}" for _, primary, secondary in pairs])
        return codec.encode({name: Pair(primary, secondary) for name, primary, secondary in pairs})
