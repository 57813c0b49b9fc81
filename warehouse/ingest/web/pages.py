"""Make documents of web archives' records and of HTML files.

A response's HTML becomes the text of its main content; plain text, and WET's conversion records, are taken as they are.
Passed over, and counted, are records that are no page (requests, metadata, revisits), pages answered with another
status than 200, what is neither HTML nor text, and pages without any text. A record's number, counted from 1, is its
position; its WARC-Record-ID is the ``source_id``. The time of the crawl is not a date of publication: it is in the
metadata, as ``warc_date``. ``extraction`` names what made text of HTML, ``damage`` what lacks of a page.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from udfs.errors import CuveeError
from warehouse.ingest.bytestream import DamagedStreamError, blocks
from warehouse.ingest.formats.text import add_document
from warehouse.ingest.record_builder import RecordBuilder
from warehouse.ingest.records import DocumentBatch, IngestOptions
from warehouse.ingest.web.charset import UndecodableError, decode
from warehouse.ingest.web.extraction import extract, require
from warehouse.ingest.web.payload import HttpResponse, Payload, decode_payload, looks_like_text, read_response
from warehouse.ingest.web.records import MAX_PAGE, Arc, ArchiveRecord, Damage, Syntax, Warc, read_records

_HTML = ("text/html", "application/xhtml+xml")
_KINDS = ("response", "conversion", "resource")


@dataclass(frozen=True, slots=True)
class WebPage:
    """A page as it was fetched. ``fields`` are the other fields of its record."""

    body: bytes
    url: str
    content_type: str
    fields: dict[str, Any] = field(default_factory=dict)


def read_warc(path: Path, source: str, options: IngestOptions) -> Iterator[DocumentBatch]:
    """Read the pages of a WARC or WET file."""
    return _read(path, source, options, Warc())


def read_arc(path: Path, source: str, options: IngestOptions) -> Iterator[DocumentBatch]:
    """Read the pages of an ARC file."""
    return _read(path, source, options, Arc())


def read_html(path: Path, source: str, options: IngestOptions, *, name: str) -> Iterator[DocumentBatch]:
    """Read an HTML file as one page; ``name`` is its source_id."""
    _require(options.extractor)
    builder = RecordBuilder(path, source, options)
    pieces: list[bytes] = []
    try:
        for block in blocks(path):
            pieces.append(block)
            if sum(map(len, pieces)) > MAX_PAGE:
                break
    except DamagedStreamError as error:
        builder.rejects.add(0, error.message)
    else:
        _add_page(builder, 1, WebPage(b"".join(pieces), "", "text/html", {options.id_field: name}))
    yield builder.take()


def _read(path: Path, source: str, options: IngestOptions, syntax: Syntax) -> Iterator[DocumentBatch]:
    _require(options.extractor)
    builder = RecordBuilder(path, source, options)
    for record in read_records(path, syntax):
        if isinstance(record, Damage):
            builder.rejects.add(record.position, record.reason, record.raw)
        elif isinstance(syntax, Warc):
            _add_warc_record(builder, record)
        else:
            _add_arc_record(builder, record)
        if builder.full:
            yield builder.take()
    yield builder.take()


def _require(extractor: str) -> None:
    """Raise OSError where a package lacks: the file is not in the lake then, and other files are read."""
    try:
        require(extractor)
    except CuveeError as error:
        raise OSError(f"{error.message}: {error.hint}") from error


def _add_warc_record(builder: RecordBuilder, record: ArchiveRecord) -> None:
    headers = record.headers
    kind = headers.get("warc-type", "").lower()
    url = headers.get("warc-target-uri", "").strip("<>")
    if kind not in _KINDS or url.startswith("metadata:"):  # a crawler's own log
        return builder.pass_over("not_pages")
    fields: dict[str, Any] = {
        builder.options.id_field: headers.get("warc-record-id"),
        "warc_date": headers.get("warc-date"),
        "warc_type": kind,
    }
    content_type = headers.get("content-type", "")
    over_http = url.lower().startswith(("http:", "https:")) or content_type.lower().startswith("application/http")
    if kind != "response" or not over_http:
        return _add_page(builder, record.position, WebPage(record.block, url, content_type, fields), record.length)
    response = read_response(record.block)
    if response is None:
        return builder.rejects.add(record.position, "response without an HTTP status line", record.block, record.length)
    return _add_response(builder, record, response, WebPage(b"", url, "", fields))


def _add_arc_record(builder: RecordBuilder, record: ArchiveRecord) -> None:
    url = record.headers["warc-target-uri"]
    if url.startswith("filedesc:"):
        return builder.pass_over("not_pages")
    page = WebPage(record.block, url, record.headers["content-type"], {"warc_date": record.headers["warc-date"]})
    response = read_response(record.block)
    if response is None:
        return _add_page(builder, record.position, page, record.length)
    return _add_response(builder, record, response, page)


def _add_response(builder: RecordBuilder, record: ArchiveRecord, response: HttpResponse, page: WebPage) -> None:
    if response.status != 200:
        return builder.pass_over("other_status")
    content_type = response.headers.get("content-type", "")
    fields = {**page.fields, "http_status": response.status}
    payload = Payload(response.body)
    if _is_page(content_type) and len(record.block) == record.length:
        payload = decode_payload(response, MAX_PAGE)
    if payload.damage:
        fields["damage"] = "; ".join(payload.damage)
    length = record.length if len(record.block) < record.length else 0
    return _add_page(builder, record.position, WebPage(payload.body, page.url, content_type, fields), length)


def _is_page(content_type: str) -> bool:
    kind = _media_type(content_type)
    return not kind or kind in _HTML or kind == "text/plain"


def _is_garbled(text: str) -> bool:
    """Tell whether more than a fifth of a text are characters that could not be decoded."""
    return 5 * text.count("\ufffd") > len(text)


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _add_page(builder: RecordBuilder, position: int, page: WebPage, length: int = 0) -> None:
    """Add the document of a page's content, if it has one. ``length`` is that of the whole, if it is known."""
    body, kind = page.body, _media_type(page.content_type)
    html = kind in _HTML or (not kind and body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<")
    if not html and kind != "text/plain":
        return builder.pass_over("not_html")
    if max(len(body), length) > MAX_PAGE:
        size = max(len(body), length)
        return builder.rejects.add(position, f"page is longer than {MAX_PAGE >> 20} MB", body, size)
    record = {**page.fields}
    try:
        text = decode(body, page.content_type, html=html)
        if not looks_like_text(text[:4096].encode("utf-8", "replace")) or _is_garbled(text[:4096]):
            why = f" ({page.fields['damage']})" if "damage" in page.fields else ""
            return builder.rejects.add(position, f"binary content as {kind or 'a page'}{why}", body)
        if html:
            found = extract(text, builder.options.extractor)
            text, record["extraction"] = found.text, found.extraction
    except UndecodableError as error:
        return builder.rejects.add(position, str(error), body)
    except (ValueError, RuntimeError, RecursionError) as error:
        return builder.rejects.add(position, f"page cannot be parsed: {error}", body)
    if not text.strip():
        return builder.pass_over("empty")
    if _is_garbled(text):
        return builder.rejects.add(position, "its bytes are not in the encoding that it names", body)
    if kind:
        record["content_type"] = kind
    if page.url:
        record[builder.options.url_field] = page.url
    return add_document(builder, text.encode("utf-8", "replace").replace(b"\0", b""), position, record)
