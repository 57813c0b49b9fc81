"""Split a JSON file that is not one record a line into its values, without holding the file.

A file that begins with ``[`` is an array and gives its elements; any other gives its values one after the
other. Values are cut by brackets and strings only: the decoder finds out whether each is JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

#: Prefixes of what was read of an array whose end is missing, and of what follows an array's end. They make the piece
#: invalid JSON.
NOT_CLOSED = b"\0not closed\0"
AFTER_END = b"\0after the end\0"

_IN_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_STRUCTURE = re.compile(rb'["\[\]{},]')
_SPACE = b" \t\r\n"


def values(stream: Iterable[bytes], limit: int, keep: int) -> Iterator[tuple[bytes, int]]:
    """Yield each value's bytes and its size. A value larger than ``limit`` gives only its first ``keep`` bytes."""
    splitter = _Splitter(limit, keep)
    for block in stream:
        yield from splitter.feed(block)
    yield from splitter.finish()


class _Splitter:
    def __init__(self, limit: int, keep: int) -> None:
        self._limit, self._keep = limit, keep
        self._value = bytearray()
        self._size = 0
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._array: bool | None = None  # unknown until the first character
        self._closed = False
        self._elements = 0

    def feed(self, block: bytes) -> Iterator[tuple[bytes, int]]:
        at = done = self._begin(block) if self._array is None else 0
        while at < len(block):
            if self._escaped:
                self._escaped = False
                at += 1
                continue
            if self._in_string:
                found = _IN_STRING.match(block, at)
                assert found is not None
                at = found.end()
                if at < len(block):
                    self._in_string = block[at : at + 1] != b'"'
                    # Else a backslash is the block's last byte, and what it escapes begins the next block.
                    self._escaped = self._in_string
                    at += 1
                continue
            token = _STRUCTURE.search(block, at)
            if token is None:
                break
            at = token.end()
            symbol = token.group()
            if symbol == b'"':
                self._in_string = True
            elif symbol in (b"[", b"{"):
                self._depth += 1
            elif symbol == b",":
                if self._array and not self._closed and self._depth == 0:
                    self._take(block[done : at - 1])
                    done = at
                    self._elements += 1
                    yield self._give()
            elif self._depth == 0 and self._array and not self._closed and symbol == b"]":
                self._take(block[done : at - 1])
                done = at
                self._closed = True
                if self._elements or self._value.strip(_SPACE):
                    yield self._give()
            elif self._depth:
                self._depth -= 1
                if self._depth == 0 and not self._array:
                    self._take(block[done:at])
                    done = at
                    yield self._give()
        self._take(block[done:])

    def _begin(self, block: bytes) -> int:
        """Find out whether the file is an array; return where its values begin in the block."""
        start = block.lstrip(b"\xef\xbb\xbf" + _SPACE)
        if not start:
            return len(block)
        self._array = start.startswith(b"[")
        return len(block) - len(start) + self._array

    def finish(self) -> Iterator[tuple[bytes, int]]:
        mark = b"" if not self._array else AFTER_END if self._closed else NOT_CLOSED
        if self._value.strip(_SPACE) or mark == NOT_CLOSED:
            self._value[:0] = mark
            self._size += len(mark)
            yield self._give()

    def _take(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size <= self._limit:
            self._value += piece
        else:
            self._value = (self._value or bytearray(piece))[: self._keep]

    def _give(self) -> tuple[bytes, int]:
        value, size = bytes(self._value.strip(_SPACE)), self._size
        self._value, self._size = bytearray(), 0
        # An empty element, as in [1,,2], must not pass for a blank line.
        return (value, size) if size > self._limit else (value or b",", len(value))
