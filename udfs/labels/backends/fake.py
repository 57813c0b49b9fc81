"""The backend ``fake``: an engine without a model, whose labels are drawn from the md5 of the prompt's last message.

It writes them in the codec's form, as a model would: equal prompts get equal answers, everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator

from udfs.labels.backends.engine import Answer, Engine, Prompt
from udfs.labels.codecs import SKIP, Codec, Condensed
from udfs.labels.spec import Spec
from udfs.labels.taxonomies.taxonomy import Pair

_WORD = 1 << 64
_PIECE = 2047


def start_engine(spec: Spec) -> FakeEngine:
    """Return an engine for the spec's passes."""
    return FakeEngine([each.codec for each in spec.passes])


class FakeEngine(Engine):
    """Writes an answer to every prompt. A token is four characters."""

    def __init__(self, codecs: list[Codec]) -> None:
        self._codecs = codecs
        self._choices = [
            [(category.name, [label.code for label in category.choices]) for category in codec.categories]
            for codec in codecs
        ]

    def generate(self, prompts: Iterator[Prompt]) -> Generator[Answer, None, None]:
        """Write one answer per prompt, in their order."""
        for prompt in prompts:
            content = prompt.messages[-1].content
            text = self._write(prompt.number, content)
            yield Answer(prompt.key, prompt.number, text, True, len(content) // 4 + 1, len(text) // 4 + 1)

    def _write(self, number: int, content: str) -> str:
        digest = _digest(content)
        first, second = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
        codec = self._codecs[number]
        condensed = isinstance(codec, Condensed)
        lines: list[str] = []
        pairs: dict[str, Pair] = {}
        for index, (name, codes) in enumerate(self._choices[number]):
            n = len(codes)
            chosen = (first + index * second) % _WORD % n
            # Twice as many places as labels, the first of them none: about every second document has a secondary.
            offset = (second + index * first) % _WORD % (2 * n)
            secondary = codes[(chosen + offset) % n] if 0 < offset < n else None
            if condensed:
                lines.append(f"{codes[chosen]},{secondary or SKIP}")
            else:
                pairs[name] = Pair(codes[chosen], secondary)
        return "\n".join(lines) if condensed else codec.encode(pairs)


def _digest(content: str) -> bytes:
    """Compute the md5 of a text in pieces: for 2 KiB and more hashlib releases Python's lock, and waits for it."""
    data = content.encode("utf-8", "surrogatepass")
    md5 = hashlib.md5(usedforsecurity=False)
    for start in range(0, len(data), _PIECE):
        md5.update(data[start : start + _PIECE])
    return md5.digest()
