"""Read times as documents have them: ISO 8601, RFC 2822, seconds since 1970, and the crawlers' fourteen digits.

A time without a zone is taken as UTC. A number is a count of seconds, milliseconds, microseconds or nanoseconds since
1970, by its size: from 1973 on these do not overlap.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

#: The first number of seconds that is taken for a time: March 1973. Less is a year, or no time.
FIRST = 100_000_000

#: Years that crawlers write in fourteen digits.
_COMPACT = re.compile(r"(?:19|20)\d{12}")

_NUMBER = re.compile(r"[0-9]{9,20}(?:\.[0-9]{1,9})?")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: Written dates, of which each has one meaning.
_WRITTEN = ("%B %d, %Y", "%b %d, %Y", "%d %B %Y", "%d %b %Y", "%Y/%m/%d", "%Y/%m/%d %H:%M:%S", "%Y.%m.%d")


def timestamp(value: object) -> datetime | None:
    """Read a time, in UTC. None if it is anything else."""
    if type(value) is not str:
        return _counted(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    if len(value) < 8 or len(value) > 60:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return _otherwise(value.strip())
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:
        return None


def unread_note(name: str) -> str:
    """Return the note for a value that should be a time."""
    return f"no time could be read from {name!r}: published_at is NULL"


def is_iso(value: object) -> bool:
    """Tell whether a time that was read is ISO 8601: then it says no more than the moment."""
    if type(value) is not str:
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def unit(number: float) -> int | None:
    """Return how many of a number's units are a second: 1, 10³, 10⁶ or 10⁹. None for a number that is not a time.

    >>> unit(1_700_000_000), unit(1_700_000_000_000), unit(2024)
    (1, 1000, None)
    """
    if not FIRST <= number < FIRST * 10**12:
        return None
    return next(power for power in (1, 10**3, 10**6, 10**9) if number < FIRST * 1000 * power)


def _counted(number: float) -> datetime | None:
    units = unit(number)
    if units is None:
        return _compact(str(number))
    if type(number) is float:
        return _EPOCH + timedelta(seconds=number / units)
    if _COMPACT.fullmatch(str(number)) and (moment := _compact(str(number))):
        return moment
    return _EPOCH + timedelta(microseconds=int(number) * 10**6 // units)


def _otherwise(text: str) -> datetime | None:
    if _NUMBER.fullmatch(text):
        return _compact(text) or _counted(float(text) if "." in text else int(text))
    try:
        moment = parsedate_to_datetime(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        pass
    zoneless = text.removesuffix("UTC").removesuffix("GMT").rstrip()
    for shape in ("iso", *_WRITTEN):
        try:
            moment = datetime.fromisoformat(zoneless) if shape == "iso" else datetime.strptime(zoneless, shape)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    return None


def _compact(digits: str) -> datetime | None:
    """Read ``20240102030405`` or ``20240102``."""
    try:
        if _COMPACT.fullmatch(digits):
            return datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        if len(digits) == 8 and digits.startswith(("19", "20")):
            return datetime.strptime(digits, "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        pass
    return None
