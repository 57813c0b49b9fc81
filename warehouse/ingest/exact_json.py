"""Read and write the JSON that the fast way alters or refuses.

orjson makes floats of whole numbers beyond 64 bits, refuses ``NaN``, ``Infinity`` and ``1e999``, and writes 254 levels
of the 1,024 that it reads. Here numbers keep their digits, any depth is written, and ``NaN`` and ``Infinity``, which
Python writes and JSON lacks, become null.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

#: Text that Python and others write into JSON, where JSON has no number, and the note for it.
_NOT_FINITE = re.compile(rb"NaN|Infinity")
BECAME_NULL = "NaN or Infinity became null"

#: A number in JSON that orjson has written from a float of 19 digits or more: its digits may be lost.
_HUGE = re.compile(rb"[:,\[]-?\d(?:\.\d+)?e\+?(?:1[89]|[2-9]\d|\d{3})")


def is_exact_only(raw: bytes | bytearray | memoryview, error: orjson.JSONDecodeError) -> bool:
    """Tell whether ``loads`` may read what orjson has refused."""
    return "infinity" in error.msg or _NOT_FINITE.search(raw) is not None


def loads(raw: bytes | bytearray | memoryview) -> tuple[Any, int]:
    """Decode a JSON value with all digits; return it, and how often it has NaN or Infinity.

    Raises orjson.JSONDecodeError for what cannot be read so.
    """
    constants: list[float] = []

    def constant(name: str) -> float:
        constants.append(float(name))
        return constants[-1]

    try:
        value = json.loads(str(raw, "utf-8"), parse_float=_digits, parse_int=_whole, parse_constant=constant)
    except RecursionError as error:
        raise orjson.JSONDecodeError("nested too deeply for numbers beyond 64 bits, NaN or Infinity", "", 0) from error
    except ValueError as error:
        raise orjson.JSONDecodeError(str(error), "", 0) from error
    return value, len(constants)


def digits(value: object) -> str | None:
    """Return a whole number's digits, None for everything else."""
    if type(value) is int:
        return str(value)
    if isinstance(value, orjson.Fragment):
        text = orjson.dumps(value).decode()
        return text if text.removeprefix("-").isdecimal() else None
    return None


def may_have_lost_digits(written: bytes) -> bool:
    """Tell whether JSON that orjson wrote has a number that may have been a whole one beyond 64 bits."""
    return _HUGE.search(written) is not None


def dumps(value: Any) -> bytes:
    """Write a value that may be nested to any depth. Raises orjson.JSONEncodeError for a lone surrogate."""
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError as error:
        if "ecursion" not in str(error):
            raise
        return _deeply(value)


def _deeply(value: Any) -> bytes:
    """Write without recursion. ``bytes`` are pieces that are written already: no decoded value is bytes."""
    written: list[bytes] = []
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if type(each) is bytes:
            written.append(each)
        elif type(each) is dict:
            pieces: list[Any] = [b"}"]
            for name, inner in reversed(each.items()):
                pieces += [inner, orjson.dumps(str(name)) + b":", b","]
            waiting += [*(pieces[:-1] if each else pieces), b"{"]
        elif type(each) is list:
            pieces = [b"]"]
            for inner in reversed(each):
                pieces += [inner, b","]
            waiting += [*(pieces[:-1] if each else pieces), b"["]
        else:
            written.append(orjson.dumps(each, default=str))
    return b"".join(written)


def _digits(text: str) -> orjson.Fragment:
    return orjson.Fragment(text)


def _whole(text: str) -> int | orjson.Fragment:
    return int(text) if len(text) < 19 else orjson.Fragment(text)
