"""Read ARC files, the older form of web archives: a header line, then that many bytes.

    http://example.com/ 93.184.216.119 20140216050221 text/html 1591

Their pages are treated like those of WARC files.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing
from email.parser import BytesParser
from pathlib import Path
from typing import Any, BinaryIO, cast

from udfs.prefetch import prefetch
from warehouse.ingest.bytestream import BlockFile, blocks
from warehouse.ingest.formats.warc import MAX_PAGE, WebPage, add_page, require_web
from warehouse.ingest.record_builder import RecordBuilder
from warehouse.ingest.records import RAW_LIMIT, DocumentBatch, IngestOptions

_HEADER_LIMIT = 64 << 10


def read_arc(path: Path, source: str, options: IngestOptions) -> Iterator[DocumentBatch]:
    """Read the pages of an ARC file."""
    require_web()
    builder = RecordBuilder(path, source, options)
    position = 0
    with closing(prefetch(blocks(path))) as stream:
        handle = BlockFile(stream)
        reader = cast(BinaryIO, io.BufferedReader(handle, 1 << 20))
        while header := reader.readline(_HEADER_LIMIT):
            if not header.strip():
                continue
            position += 1
            if not _add_record(builder, reader, header, position):
                break
            if builder.full:
                yield builder.take()
        if handle.damage is not None:
            builder.rejects.add(position + 1, handle.damage.message)
    yield builder.take()


def _add_record(builder: RecordBuilder, reader: BinaryIO, header: bytes, position: int) -> bool:
    """Add one record. Return False if the rest of the file cannot be read."""
    # URLs may hold spaces: only the last four fields are sure. The file's own header has further fields in version 2.
    fields = header.decode("utf-8", "replace").rsplit(None, 4)
    if len(fields) < 5 or not (fields[4].isascii() and fields[4].isdigit()):
        builder.rejects.add(position, "damaged ARC record: no header line", header)
        return False
    url, _, date, content_type, size = fields
    body = reader.read(min(int(size), MAX_PAGE + RAW_LIMIT))
    if int(size) > len(body):
        if len(body) < MAX_PAGE:
            builder.rejects.add(
                position, f"record is cut off: {int(size) - len(body):,} of {int(size):,} bytes lack", body
            )
            return False
        builder.rejects.add(position, f"page is longer than {MAX_PAGE >> 20} MB", body, int(size))
        _skip(reader, int(size) - len(body))
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
    add_page(builder, position, WebPage(body, url, content_type, charset, fields=record))
    return True


def _skip(reader: BinaryIO, size: int) -> None:
    while size > 0 and (piece := reader.read(min(size, 1 << 20))):
        size -= len(piece)
