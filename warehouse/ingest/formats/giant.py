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

from warehouse.ingest import exact_json

#: Records up to this size take the ordinary way. Decoded, 16 MB of the worst JSON (``[],[],…``) are 340 MB of objects.
GIANT = 16 << 20

#: Strings longer than this are cut out.
_LONG = 1 << 20

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)

#: Digits that may be a number beyond 64 bits.
_LONG_NUMBER = re.compile(rb"\d{19}|\d[eE]\+?\d\d")

#: Whole characters and escapes, a surrogate pair being one.
_WHOLE = re.compile(rb"(?:[^\\]++|\\u[Dd][89ABab]..\\u....|\\u(?![Dd][89ABab])....|\\[^u])*+", re.DOTALL)


def decode_giant(raw: bytes | memoryview, text_field: str) -> tuple[Any, bytearray | None, int]:
    """Decode a large JSON value, with all digits of its numbers.

    Returns the value, the bytes of its text, and how often it has NaN or Infinity. The text is None, and everything
    stays in the value, if the value is not an object or if its field ``text_field`` is not a long string.

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
    value, constants = _decoded(small)
    text = None
    if type(value) is dict:
        index = _index(value.get(text_field), mark)
        if index is not None:
            del value[text_field]
            text = _unescape(cut[index])
    return _restore(value, mark, cut), text, constants


def _decoded(small: bytearray) -> tuple[Any, int]:
    try:
        return exact_json.loads(small) if _LONG_NUMBER.search(small) else (orjson.loads(small), 0)
    except orjson.JSONDecodeError as error:
        if not exact_json.is_exact_only(small, error):
            raise
        value, constants = exact_json.loads(small)
        if type(value) is not dict:
            raise
        return value, constants


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
    """Put the other long strings back in their places, at any depth."""

    def restored(each: Any) -> Any:
        index = _index(each, mark)
        return each if index is None else _unescape(cut[index]).decode()

    whole = [value]
    waiting: list[Any] = [whole]
    while waiting:
        each = waiting.pop()
        if type(each) is dict:
            for name in [name for name in each if _index(name, mark) is not None]:
                each[restored(name)] = each.pop(name)
            items: Sequence[tuple[Any, Any]] = list(each.items())
        else:
            items = list(enumerate(each))
        for key, inner in items:
            if type(inner) is dict or type(inner) is list:
                waiting.append(inner)
            elif type(inner) is str:
                each[key] = restored(inner)
    return whole[0]
