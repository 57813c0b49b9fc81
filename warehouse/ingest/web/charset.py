"""Turn bytes into characters as the WHATWG Encoding Standard says, which is what browsers do.

The byte order mark decides, then the response's header, then ``<meta>``, then what the bytes look like. Labels mean
what the Standard says: iso-8859-1 is windows-1252. Invalid bytes become U+FFFD, and the mark is not text.

Differences: euc-jp lacks NEC's and IBM's extensions, which Python's codec does not have.
"""

from __future__ import annotations

import codecs
import re
from functools import lru_cache

_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))

#: Labels of the Standard that resiliparse does not know, with Python's codecs; the last are those that have no decoder.
_MORE = {"x-mac-cyrillic": "mac-cyrillic", "x-mac-ukrainian": "mac-cyrillic", "x-user-defined": "x-user-defined"}
_REPLACED = frozenset(("hz-gb-2312", "iso-2022-cn", "iso-2022-cn-ext", "iso-2022-kr", "csiso2022kr", "replacement"))

#: The Standard's decoders read more than Python's codecs of the same name.
_WIDER = {
    "euc-kr": "cp949", "shift-jis": "cp932", "gbk": "gb18030", "big5": "big5hkscs", "iso8859-11": "cp874",
    "iso-2022-jp": "iso2022_jp_ext",
}  # fmt: skip

#: A declaration counts up to here; the Standard looks at 1,024 bytes first, and at the rest of the head while parsing.
_DECLARED = 64 << 10

_SKIPPED = rb"<!--.*?(?:-->|\Z)|<(?P<raw>script|style|title|noscript|textarea)\b.*?</(?P=raw)"
_META = re.compile(
    _SKIPPED + rb"|<meta[\s/](?P<meta>(?:[^>\"']++|\"[^\"]*+\"|'[^']*+')*+)>|(?P<body><body[\s>])",
    re.IGNORECASE | re.DOTALL,
)
_ATTRIBUTE = re.compile(rb"([^\s=/>\"']+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))")
_CONTENT = re.compile(rb"charset\s*=\s*[\"']?\s*([^\s\"';]+)", re.IGNORECASE)
_XML = re.compile(rb"<\?xml\b[^>]*?\bencoding\s*=\s*[\"']([A-Za-z0-9._:-]+)[\"']")
_HEADER = re.compile(r"charset\s*=\s*[\"']?\s*([^\s\"';,]+)", re.IGNORECASE)


class UndecodableError(ValueError):
    """The Standard has no decoder for what the page says it is written in."""


def decode(body: bytes, content_type: str | None, *, html: bool) -> str:
    """Decode a page. ``content_type`` is that of its header. Raises UndecodableError."""
    for mark, codec in _BOMS:
        if body.startswith(mark):
            return body[len(mark) :].decode(codec, "replace")
    stated = _HEADER.search(content_type or "")
    codec = (stated and find_codec(stated[1])) or (_declared(body) if html else None) or _guessed(body)
    return _characters(body, codec)


def find_codec(label: str) -> str | None:
    """Return the codec of a label of the Standard; None if there is no such label. Raises UndecodableError."""
    from resiliparse.parse.encoding import map_encoding_to_html5

    label = label.strip(" \t\n\r\f").lower()
    if label in _REPLACED:
        raise UndecodableError(f"encoding {label} is not read, by browsers neither")
    if label in _MORE:
        return _MORE[label]
    known: str | None = map_encoding_to_html5(label, fallback_utf8=False)
    return _wider(known) if known else None


def _wider(codec: str) -> str:
    name = codec.lower().replace("_", "-")
    return _WIDER.get(name, name)


def _declared(body: bytes) -> str | None:
    """Find the encoding that the page says it has: in an XML declaration or in ``<meta>``."""
    start = body[:_DECLARED]
    found = _XML.match(start.lstrip())
    codec = _stated(found[1]) if found else None
    for tag in () if codec else _META.finditer(start):
        if tag["body"]:
            break
        if tag["meta"] is not None and (codec := _of_meta(tag["meta"])):
            break
    # Bytes in which the declaration was readable are not UTF-16.
    return "utf-8" if codec and codec.startswith("utf-16") else "cp1252" if codec == "x-user-defined" else codec


def _of_meta(tag: bytes) -> str | None:
    values: dict[bytes, bytes] = {}
    for name, *value in _ATTRIBUTE.findall(tag):
        values.setdefault(name.lower(), b"".join(value))
    if label := values.get(b"charset"):
        return _stated(label)
    content = _CONTENT.search(values.get(b"content", b""))
    return _stated(content[1]) if content and values.get(b"http-equiv", b"").lower() == b"content-type" else None


def _stated(label: bytes) -> str | None:
    return find_codec(label.decode("latin-1"))


def _guessed(body: bytes) -> str:
    """Tell the encoding by the bytes: UTF-8 if more of them are in it than not, for pages are cut inside characters."""
    if body.isascii():
        return "utf-8"
    wrong = body.decode("utf-8", "replace").count("\ufffd") - body.count(b"\xef\xbf\xbd")
    whole = len(re.findall(rb"[\xc2-\xf4][\x80-\xbf]+", body))
    if wrong < whole or wrong == 0 or (wrong == 1 and re.search(rb"[\xc2-\xf4][\x80-\xbf]*\Z", body)):
        return "utf-8"
    from resiliparse.parse.encoding import detect_encoding

    found = _wider(detect_encoding(body) or "cp1252")
    return "cp1252" if found in ("utf-8", "ascii") else found


def _characters(body: bytes, codec: str) -> str:
    if codec == "x-user-defined":
        return "".join(chr(byte if byte < 128 else 0xF780 + byte - 128) for byte in body)
    table = _table(codec)
    if table is None:
        return body.removeprefix(b"\xef\xbb\xbf" if codec == "utf-8" else b"").decode(codec, "replace")
    return codecs.charmap_decode(body, "replace", table)[0]


@lru_cache
def _table(codec: str) -> str | None:
    """Return the 256 characters of a one-byte encoding; None for others.

    Bytes that Windows leaves undefined are control characters in the Standard.
    """
    if not re.fullmatch(r"cp(125\d|866|874)|iso8859-\d+|koi8-[ru]|mac-\w+", codec):
        return None
    characters = [bytes([byte]).decode(codec, "replace") for byte in range(256)]
    if codec.startswith("cp"):
        for byte in range(0x80, 0xA0):
            if characters[byte] == "\ufffd":
                characters[byte] = chr(byte)
    if codec == "koi8-u":
        characters[0xAE], characters[0xBE] = "ў", "Ў"
    return "".join(characters)
