"""Numbers as people write them: 500k tokens, 64 MB, 10%."""

from __future__ import annotations

import math
from collections.abc import Mapping

_COUNTS = {"k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
_DECIMAL = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_count(text: str) -> int:
    """Return a whole number: 600000, 600_000, 6e5, 600k, 1.7T. Raises ValueError.

    >>> parse_count("600k"), parse_count("1.7T")
    (600000, 1700000000000)
    """
    text = text.strip().replace("_", "")
    number = _number(text, _COUNTS)
    if not math.isfinite(number) or number != round(number):
        raise ValueError(text)
    return int(text) if text.lstrip("+-").isdigit() else round(number)


def parse_bytes(text: str, *, binary: bool = False) -> float:
    """Return a size in bytes. A unit is a power of 1000, or of 1024 where ``binary``. Raises ValueError.

    >>> parse_bytes("30MB"), parse_bytes("64mb", binary=True)
    (30000000.0, 67108864.0)
    """
    return _number(text.strip().lower().removesuffix("b"), _BINARY if binary else _DECIMAL)


def parse_share(text: str, of: float = 1) -> float:
    """Return a percentage ``of`` a number. Raises ValueError for text without a percent sign.

    >>> parse_share("10%"), parse_share("12.5%", of=800)
    (0.1, 100.0)
    """
    if not text.endswith("%"):
        raise ValueError(text)
    return of * float(text[:-1]) / 100


def _number(text: str, units: Mapping[str, int]) -> float:
    factor = units.get(text[-1:].lower(), 1)
    return float(text[:-1] if factor > 1 else text) * factor
