"""Decode JSON records too large for a Python string of their text.

Python keeps a string with one emoji in it at 4 bytes a character: a 200 MB document would take 800 MB. Here long
strings are found in the bytes, cut out and unescaped in pieces, straight into UTF-8; the rest is decoded as usual.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from typing import Any

import orjson

#: Records up to this size take the ordinary way. Decoded, 16 MB of the worst JSON (``[],[],…``) are 340 MB of objects.
GIANT = 16 << 20

#: Strings longer than this are cut out.
_LONG = 1 << 20

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)

#: Whole characters and escapes, a surrogate pair being one.
_WHOLE = re.compile(rb"(?:[^\\]++|\\u[Dd][89ABab]..\\u....|\\u(?![Dd][89ABab])....|\\[^u])*+", re.DOTALL)


def decode_giant(raw: bytes | memoryview, text_field: str) -> tuple[Any, bytearray | None]:
    """Decode a large JSON value.

    Returns the value and the bytes of its text. The text is None, and everything stays in the value, if the value is
    not an object or if its field ``text_field`` is not a long string.

    Raises orjson.JSONDecodeError for what orjson would refuse, and for a value with more than 16 MB of other things
    than long strings.
    """
    view = memoryview(raw)
    mark = uuid.uuid4().hex
    small = bytearray()
    cut: list[memoryview] = []
    done = 0
    for found in _STRING.finditer(raw):
        if found.end() - found.start() > _LONG:
            small += view[done : found.start()]
            small += b'"%s%d"' % (mark.encode(), len(cut))
            cut.append(view[found.start() + 1 : found.end() - 1])
            done = found.end()
    if len(small) + len(view) - done > GIANT:
        raise orjson.JSONDecodeError(f"more than {GIANT >> 20} MB of a record without its long strings", "", 0)
    small += view[done:]
    value = orjson.loads(small)
    text = None
    if type(value) is dict:
        index = _index(value.get(text_field), mark)
        if index is not None:
            del value[text_field]
            text = _unescape(cut[index])
    return _restore(value, mark, cut), text


def _unescape(view: memoryview) -> bytearray:
    """Return the UTF-8 bytes of a JSON string's content."""
    out = bytearray()
    done = 0
    while done < len(view):
        piece = bytes(view[done : done + _LONG])
        if done + len(piece) < len(view):
            piece = piece[: _whole(piece)]
        # orjson checks escapes, control characters and UTF-8 as it would in the whole string.
        out += orjson.loads(b'"' + piece + b'"').encode()
        done += len(piece)
    return out


def _whole(piece: bytes) -> int:
    """Return the length of the longest part that does not split an escape, surrogate pair or character."""
    found = _WHOLE.match(piece)
    assert found is not None
    end = found.end()
    if len(piece) - end > 12:
        return len(piece)  # no escape begins here that could be whole: the decoder will say what is wrong
    while end and piece[end - 1] & 0xC0 == 0x80:
        end -= 1
    return end - 1 if end and piece[end - 1] >= 0xC0 else end


def _index(value: object, mark: str) -> int | None:
    return int(value[len(mark) :]) if type(value) is str and value.startswith(mark) else None


def _restore(value: Any, mark: str, cut: Sequence[memoryview]) -> Any:
    """Put the other long strings back in their places."""
    if (index := _index(value, mark)) is not None:
        return _unescape(cut[index]).decode()
    if type(value) is dict:
        return {_restore(name, mark, cut): _restore(inner, mark, cut) for name, inner in value.items()}
    if type(value) is list:
        return [_restore(inner, mark, cut) for inner in value]
    return value
