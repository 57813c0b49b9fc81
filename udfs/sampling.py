"""Which part of a long document a labeler reads (Essential-Web, Algorithm 12).

A text of at most ``limit`` characters is read whole. Of a longer one: the first third of the limit, a window as long,
and the last third. The window's centre is drawn uniformly between head and tail, from the md5 of the document's own
key, so the same document is always read in the same places; the authors drew it from an unseeded generator.
"""

from __future__ import annotations

import hashlib

#: The paper's limit, in characters.
LIMIT = 30_000


def sample(text: str, key: str, limit: int = LIMIT) -> tuple[str, ...]:
    """The whole text, or its head, window and tail: three parts of ``limit // 3`` characters that never overlap.

    >>> sample("abcdefghijkl", key="any", limit=12)
    ('abcdefghijkl',)
    >>> sample("a" * 4 + "b" * 8 + "c" * 4, key="any", limit=12)
    ('aaaa', 'bbbb', 'cccc')
    """
    if len(text) <= limit:
        return (text,)
    third = limit // 3
    start = third + _draw(key, len(text) - 3 * third + 1)
    return text[:third], text[start : start + third], text[len(text) - third :]


def _draw(key: str, choices: int) -> int:
    """A number below ``choices``, always the same for the same key."""
    return int.from_bytes(hashlib.md5(key.encode(), usedforsecurity=False).digest()) % choices
