"""Which part of a long document a labeler reads (Essential-Web, Algorithm 12).

A text of at most 30,000 characters is read whole. Of a longer one: the first third of the limit, a window as long,
and the last third. The window's centre is drawn uniformly between head and tail, from the md5 of the document's own
key, so the same document is always read in the same places; the authors drew it from an unseeded generator.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

#: The paper's limit, in characters.
LIMIT = 30_000


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A rule for what is read of a document: a text of at most ``limit`` characters whole, of a longer one three parts.

    ``head``, ``window`` and ``tail`` are their characters, at most ``limit`` together; a part of none is left out, its
    marker too. ``markers`` are the lines before the three parts.
    """

    limit: int = LIMIT
    head: int = LIMIT // 3
    window: int = LIMIT // 3
    tail: int = LIMIT // 3
    markers: tuple[str, str, str] = ("[beginning]", "[middle]", "[end]")

    @classmethod
    def thirds(cls, limit: int) -> Excerpt:
        """Make the paper's rule with another limit."""
        return cls(limit, limit // 3, limit // 3, limit // 3)

    def parts(self, text: str, key: str) -> tuple[str, ...]:
        """Return the whole text, or its head, window and tail, which never overlap."""
        length = len(text)
        if length <= self.limit:
            return (text,)
        drawn = int.from_bytes(hashlib.md5(key.encode(), usedforsecurity=False).digest())
        start = self.head + drawn % (length - self.head - self.window - self.tail + 1)
        return text[: self.head], text[start : start + self.window], text[length - self.tail :]

    def read(self, text: str, key: str) -> str:
        r"""Return the text that a labeler gets: the document, or its parts, each below its marker.

        >>> Excerpt.thirds(6).read("aabbbbcc", key="any")
        '[beginning]\naa\n[middle]\nbb\n[end]\ncc'
        """
        parts = self.parts(text, key)
        if len(parts) == 1:
            return text
        return "\n".join(f"{marker}\n{part}" for marker, part in zip(self.markers, parts, strict=True) if part)


def sample(text: str, key: str, limit: int = LIMIT) -> tuple[str, ...]:
    """Return the whole text, or its head, window and tail, which have ``limit // 3`` characters and never overlap.

    >>> sample("abcdefghijkl", key="any", limit=12)
    ('abcdefghijkl',)
    >>> sample("a" * 4 + "b" * 8 + "c" * 4, key="any", limit=12)
    ('aaaa', 'bbbb', 'cccc')
    """
    return Excerpt.thirds(limit).parts(text, key)
