r"""Foreign text for a terminal. Texts, names of files and messages about them may hold control characters.

A terminal obeys them: they move the cursor, change its title, write what is pasted next. They are shown instead, as
``\x1b``. So is what no terminal can show, half a surrogate pair: a file's name that is not UTF-8 has such.
"""

from __future__ import annotations

import re

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class Styled(str):
    """A line with colours of ours, in which all that is foreign is ``plain`` already."""

    __slots__ = ()


def plain(text: str) -> str:
    r"""Return a text whose control characters are shown. Tabs and ends of lines stay.

    >>> plain("a\x1b[2Jb\tc")
    'a\\x1b[2Jb\tc'
    """
    if isinstance(text, Styled) or not _CONTROLS.search(text):
        return text
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def plain_json(text: str) -> str:
    """Return a JSON value with the control characters that JSON may hold escaped. It means the same."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
