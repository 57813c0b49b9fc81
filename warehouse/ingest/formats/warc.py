"""Read WARC, WET and ARC files: web pages to text.

A response's HTML becomes the text of its main content (resiliparse); plain text, and WET's conversion records, are
taken as they are. Skipped are requests, metadata, revisits, images, pages answered with another status than 200 and
pages without any text. A record's number, counted from 1, is its position; its WARC-Record-ID is the ``source_id``.
The time of the crawl is not a date of publication: it is in the metadata, as ``warc_date``.

Pages of ARC, the older form, are treated alike. A record is a header line, then as many bytes as it says:

    http://example.com/ 93.184.216.119 20140216050221 text/html 1591
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from email.parser import BytesParser
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, cast

from udfs.errors import CuveeError
from udfs.prefetch import prefetch
from warehouse.ingest.bytestream import BlockFile, blocks
from warehouse.ingest.formats.text import add_document
from warehouse.ingest.record_builder import RecordBuilder
from warehouse.ingest.records import RAW_LIMIT, DocumentBatch, IngestOptions

#: A longer page is rejected: its parsed tree takes 10 to 20 times its size. Common Crawl cuts pages at 1 or 5 MB.
MAX_PAGE = 16 << 20

#: The longest header line of an ARC record.
_HEADER_LIMIT = 64 << 10

_HTML = ("text/html", "application/xhtml+xml")


@dataclass(frozen=True, slots=True)
class WebPage:
    """A page as it was fetched. ``fields`` are the other fields of its record; ``charset`` is the stated encoding."""

    body: bytes
    url: str
    content_type: str
    charset: str | None
    fields: dict[str, Any]


def read_warc(path: Path, source: str, options: IngestOptions) -> Iterator[DocumentBatch]:
    """Read the pages of a WARC or WET file."""
    _require_web()
    from fastwarc.warc import ArchiveIterator

    builder = RecordBuilder(path, source, options)
    position = 0
    with closing(prefetch(blocks(path))) as stream:
        handle = BlockFile(stream)
        try:
            for record in ArchiveIterator(handle, auto_decode="all"):
                position += 1
                _add_warc_record(builder, record, position, handle)
                if builder.full:
                    yield builder.take()
        except (OSError, ValueError) as error:
            if handle.damage is None:
                builder.rejects.add(position + 1, f"damaged WARC record: {error}")
        if handle.damage is not None:
            builder.rejects.add(position + 1, handle.damage.message)
    yield builder.take()


def read_arc(path: Path, source: str, options: IngestOptions) -> Iterator[DocumentBatch]:
    """Read the pages of an ARC file."""
    _require_web()
    builder = RecordBuilder(path, source, options)
    position = 0
    with closing(prefetch(blocks(path))) as stream:
        handle = BlockFile(stream)
        reader = cast(BinaryIO, io.BufferedReader(handle, 1 << 20))
        while header := reader.readline(_HEADER_LIMIT):
            if not header.strip():
                continue
            position += 1
            if not _add_arc_record(builder, reader, header, position):
                break
            if builder.full:
                yield builder.take()
        if handle.damage is not None:
            builder.rejects.add(position + 1, handle.damage.message)
    yield builder.take()


def _require_web() -> None:
    """Raise CuveeError unless the packages that web archives need are installed."""
    if missing := [name for name in ("fastwarc", "resiliparse") if find_spec(name) is None]:
        raise CuveeError(f"web archives need {' and '.join(missing)}", hint="pip install 'cuvee[web]'")


def _add_warc_record(builder: RecordBuilder, record: Any, position: int, handle: BlockFile) -> None:
    from fastwarc.warc import WarcRecordType as Type

    if record.record_type not in (Type.response, Type.conversion, Type.resource):
        return None
    try:
        body = record.reader.read(MAX_PAGE + 1)
    except OSError as error:
        return builder.rejects.add(position, f"damaged WARC record: {error}")
    headers = record.headers
    stated = headers.get("Content-Length") or "0"
    if len(body) > MAX_PAGE:
        return builder.rejects.add(position, f"page is longer than {MAX_PAGE >> 20} MB", body, record.content_length)
    if handle.ended and stated.isascii() and stated.isdigit():
        header = len("WARC/1.0\r\n\r\n") + sum(len(name) + len(value) + 4 for name, value in headers.items())
        missing = record.stream_pos + header + int(stated) - handle.size
        if missing > 0:
            return builder.rejects.add(position, f"record is cut off: {missing:,} of {int(stated):,} bytes lack", body)
    fields: dict[str, Any] = {
        builder.options.id_field: headers.get("WARC-Record-ID"),
        "warc_date": headers.get("WARC-Date"),
        "warc_type": headers.get("WARC-Type"),
    }
    content_type, charset = headers.get("Content-Type") or "", None
    if record.record_type == Type.response:
        http = record.http_headers
        if http is None or http.status_code != 200:
            return None
        fields["http_status"] = http.status_code
        content_type, charset = record.http_content_type or "", record.http_charset
    url = (headers.get("WARC-Target-URI") or "").strip("<>")
    if url.startswith("metadata:"):  # a crawler's own log
        return None
    return _add_page(builder, position, WebPage(body, url, content_type, charset, fields=fields))


def _add_arc_record(builder: RecordBuilder, reader: BinaryIO, header: bytes, position: int) -> bool:
    """Add one record. Return False if the rest of the file cannot be read."""
    # URLs may hold spaces: only the last four fields are sure. The file's own header has further fields in version 2.
    fields = header.decode("utf-8", "replace").rsplit(None, 4)
    if len(fields) < 5 or not (fields[4].isascii() and fields[4].isdigit()):
        builder.rejects.add(position, "damaged ARC record: no header line", header)
        return False
    url, _, date, content_type, size = fields
    body = reader.read(min(int(size), MAX_PAGE + RAW_LIMIT))
    left = int(size) - len(body)
    if left > 0 and len(body) < MAX_PAGE:
        builder.rejects.add(position, f"record is cut off: {left:,} of {int(size):,} bytes lack", body)
        return False
    if left > 0:
        builder.rejects.add(position, f"page is longer than {MAX_PAGE >> 20} MB", body, int(size))
        while left > 0 and (piece := reader.read(min(left, 1 << 20))):
            left -= len(piece)
        return True
    if url.startswith("filedesc://"):
        return True
    record: dict[str, Any] = {"warc_date": date}
    charset = None
    if body.startswith(b"HTTP/"):
        status, _, rest = body.partition(b"\n")
        words = status.split()
        if len(words) < 2 or words[1] != b"200":
            return True
        end = min((at for at in (rest.find(b"\r\n\r\n") + 4, rest.find(b"\n\n") + 2) if at > 3), default=0)
        head = BytesParser().parsebytes(rest[:end], headersonly=True)
        record["http_status"] = 200
        content_type, charset = head.get_content_type(), head.get_content_charset()
        body = rest[end:]
    _add_page(builder, position, WebPage(body, url, content_type, charset, fields=record))
    return True


def _add_page(builder: RecordBuilder, position: int, page: WebPage) -> None:
    """Add the document of a page's content, if it has one."""
    body, charset = page.body, page.charset
    kind = page.content_type.partition(";")[0].strip().lower()
    if kind in _HTML or (not kind and body.lstrip()[:1] == b"<"):
        try:
            text = _page_text(body, charset).encode("utf-8", "replace")
        except (ValueError, RuntimeError) as error:
            return builder.rejects.add(position, f"page cannot be parsed: {error}", body)
    elif kind == "text/plain":
        text = _decoded(body, charset).encode().replace(b"\0", b"")
    else:
        return None
    if not text.strip():
        return None
    record = {**page.fields, "content_type": kind or None}
    if page.url:
        record[builder.options.url_field] = page.url
    return add_document(builder, text, position, record)


def _page_text(body: bytes, charset: str | None) -> str:
    """Extract the text of a page's main content."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse(_decoded(body, charset))
    text: str = extract_plain_text(tree, main_content=True, alt_texts=False, preserve_formatting=True)
    return text.replace("\0", "")


def _decoded(body: bytes, charset: str | None) -> str:
    """Decode bytes by the stated encoding if they fit it, else by the one they look like."""
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    for encoding in (charset, "utf-8"):
        try:
            if encoding:
                return body.decode(encoding)
        except (LookupError, UnicodeDecodeError):
            continue
    text: str = bytes_to_str(body, detect_encoding(body) or "utf-8")
    return text
