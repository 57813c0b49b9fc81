"""Archives as crawlers write them, made of records whose places in the file are known."""

from __future__ import annotations

import gzip
from dataclasses import dataclass

ARTICLE = "<html><body><article><h1>Bees</h1>" + "<p>The page of number {} has a text — naïve.</p>" * 4 + "</article>"


@dataclass(frozen=True)
class Archive:
    """The bytes of an archive; ``records`` are the id, the content and the place of each record."""

    name: str
    data: bytes
    records: list[tuple[str, bytes, range]]


def http(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers]
    if not any(header.lower().startswith("content-type") for header in headers):
        lines.append("Content-Type: text/html; charset=utf-8")
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


def warc_record(
    name: str, block: bytes, kind: str = "response", *, newline: bytes = b"\r\n", length: int = -1
) -> bytes:
    length = len(block) if length < 0 else length
    content = "text/plain" if kind == "conversion" else "application/http; msgtype=response"
    lines = [
        "WARC/1.0", f"WARC-Type: {kind}", f"WARC-Record-ID: <urn:uuid:{name}>", "WARC-Date: 2024-02-03T04:05:06Z",
        f"WARC-Target-URI: http://example.org/{name}", f"Content-Type: {content}", f"Content-Length: {length}", "", "",
    ]  # fmt: skip
    return newline.join(line.encode() for line in lines) + block + newline * 2


def arc_record(name: str, block: bytes) -> bytes:
    return f"http://example.org/{name} 93.184.216.119 20140216050221 text/html {len(block)}\n".encode() + block + b"\n"


def archive(form: str, blocks: list[bytes]) -> Archive:
    """Make an archive: ``warc``, ``lf`` (with LF alone), ``arc``; with ``.gz`` one member a record."""
    kind, _, compressed = form.partition(".")
    records, data = [], b""
    for number, block in enumerate(blocks):
        name = f"record-{number}"
        written = (
            arc_record(name, block) if kind == "arc"
            else warc_record(name, block, newline=b"\n" if kind == "lf" else b"\r\n")
        )  # fmt: skip
        written = gzip.compress(written, mtime=0) if compressed else written
        records.append((name, block, range(len(data), len(data) + len(written))))
        data += written
    return Archive("x." + form.replace("lf", "warc"), data, records)


def pages(number: int) -> list[bytes]:
    """Blocks of many kinds: pages, images, lines that look like those of an archive."""
    found = []
    for index in range(number):
        page = ARTICLE.format(*[index] * 4).encode()
        found.append(
            [
                http(page),
                http(page * 30),
                http(bytes(range(256)) * (index + 1), "Content-Type: image/png"),
                http(page, status="404 Not Found"),
                http(b"<pre>a record begins with WARC/1.0 and\nnames its type\n\n" + page),
                http(gzip.compress(page, mtime=0), "Content-Encoding: gzip"),
            ][index % 6]
        )
    return found
