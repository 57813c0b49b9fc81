"""Take the transfer and content codings off a response, as far as they are there.

What a header says of the coding is often wrong in an archive: crawlers keep the header and store the decoded page. So
a coding is taken off if the bytes are in it. Of a damaged body, the part that can be decoded is the page, and
``damage`` says so. Nothing here raises an error for what a server sent.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import zstandard

from warehouse.ingest.bytestream import GZIP, ZSTD, controls

_HEAD_END = re.compile(rb"\r?\n\r?\n")
_STATUS = re.compile(rb"(?:HTTP/[\d.]+|ICY)[ \t]+(\d{3})\b")
_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\n]*)?\r?\n")
_CHUNK_END = re.compile(rb"\r?\n")

#: Bytes fed to a decoder at once, and given by it at once.
_STEP = 4 << 10
_OUTPUT = 64 << 10


#: Codings that mean that there is none.
_NONE = frozenset(("", "identity", "none", "chunked", "binary", "utf-8", "utf8", "8bit", "7bit"))


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response: its status, its headers with names in lower case, and its body as the archive has it."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Payload:
    """A body without its codings. ``damage`` says what could not be decoded; the body is then what could."""

    body: bytes
    damage: list[str] = field(default_factory=list)


def read_response(block: bytes) -> HttpResponse | None:
    """Read the head of a response; None if the bytes are no response. Interim responses (1xx) are passed over."""
    while True:
        status = _STATUS.match(block)
        if status is None:
            return None
        end = _HEAD_END.search(block)
        head, body = (block[: end.start()], block[end.end() :]) if end else (block, b"")
        if not status[1].startswith(b"1") or not _STATUS.match(body):
            return HttpResponse(int(status[1]), _headers(head), body)
        block = body


def _headers(head: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in re.sub(rb"\r?\n[ \t]+", b" ", head).decode("latin-1").split("\n")[1:]:
        name, colon, value = line.partition(":")
        name, value = name.strip().lower(), value.strip()
        if colon:
            # Codings add up; of everything else the first counts.
            found[name] = f"{found[name]}, {value}" if name in found and name.endswith("-encoding") else (
                found.get(name, value)
            )  # fmt: skip
    return found


def decode_payload(response: HttpResponse, limit: int) -> Payload:
    """Return the body without its codings, up to ``limit`` bytes and one more if there are more."""
    payload = Payload(response.body)
    transfer = _codings(response.headers.get("transfer-encoding"))
    if "chunked" in transfer:
        payload = dechunk(response.body)
    for coding in reversed(_codings(response.headers.get("content-encoding")) + transfer):
        if coding not in _NONE:
            _take_off(payload, coding, limit)
    if payload.body.startswith(b"\x1f\x8b\x08") and not payload.damage:
        _take_off(payload, "gzip", limit)  # the header was lost, or the page compressed twice
    return payload


def _codings(value: str | None) -> list[str]:
    return [part.split(";")[0].strip().strip("\"'").lower() for part in (value or "").split(",")]


def dechunk(body: bytes) -> Payload:
    """Join chunks. What follows a place where no chunk begins is taken as it is; a body without chunks is the body."""
    pieces: list[bytes] = []
    at = 0
    while size := _CHUNK_SIZE.match(body, at):
        length = int(size[1], 16)
        start, end = size.end(), size.end() + length
        if length == 0:
            return Payload(b"".join(pieces))  # trailers may follow
        if end > len(body):
            return Payload(b"".join((*pieces, body[start:])), [f"chunk at byte {at:,} is cut off"])
        behind = _CHUNK_END.match(body, end)
        pieces.append(body[start:end])
        if behind is None:
            if end == len(body):
                break
            if not pieces[:-1] and not _CHUNK_SIZE.match(body, end):
                # No chunk at all, though the first line looks like a size: or one with a wrong size.
                line = _next_size(body, start)
                return Payload(body) if line is None else _resumed(pieces[:-1], body, start, line)
            line = _next_size(body, end - length)
            if line is None:
                pieces.append(body[end:])
                return Payload(b"".join(pieces), [f"chunk at byte {at:,} has a wrong length"])
            return _resumed(pieces[:-1], body, start, line)
        at = behind.end()
    if not pieces:
        return Payload(body)
    rest = body[at:] if at < len(body) and _CHUNK_END.match(body, at - 1 if at else 0) else b""
    return Payload(b"".join((*pieces, rest)), [f"no chunk begins at byte {at:,}"] if rest else ["the last chunk lacks"])


def _next_size(body: bytes, start: int) -> int | None:
    """Find the next line that is the size of a chunk which ends where its size says."""
    for line in re.finditer(rb"\r\n([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n", body[start:]):
        end = start + line.end() + int(line[1], 16)
        if body[end : end + 2] == b"\r\n":
            return start + line.start()
    return None


def _resumed(pieces: list[bytes], body: bytes, start: int, line: int) -> Payload:
    """Take a chunk with a wrong length up to the next one."""
    rest = dechunk(body[line + 2 :])
    damage = [f"chunk at byte {start:,} has a wrong length", *rest.damage]
    return Payload(b"".join((*pieces, body[start:line], rest.body)), damage)


def _take_off(payload: Payload, coding: str, limit: int) -> None:
    """Take one coding off, if the bytes are in it."""
    name = coding.removeprefix("x-")
    decoder = _DECODERS.get(name)
    if decoder is None:
        if not looks_like_text(payload.body):
            payload.damage.append(f"content coding {coding[:40]!r} is unknown")
        return
    data, reason = decoder(payload.body, limit)
    if reason is None:
        payload.body = data
    elif not payload.body or (looks_like_text(payload.body) and not payload.body.startswith((GZIP, ZSTD))):
        return  # the header is wrong
    else:
        payload.body = data or payload.body
        payload.damage.append(f"{name}: {reason}")


def looks_like_text(data: bytes) -> bool:
    """Tell whether at most a twentieth of the first bytes are control characters."""
    start = data[:_STEP]
    return 20 * controls(start) <= len(start)


Decoded = tuple[bytes, str | None]


def _gunzip(data: bytes, limit: int) -> Decoded:
    return _inflate(data, limit, 31)


def _inflate(data: bytes, limit: int, bits: int) -> Decoded:
    """Inflate all members; bytes after the last one are dropped, as browsers do."""
    out: list[bytes] = []
    size = 0
    reason = None
    while data:
        decoder = zlib.decompressobj(bits)
        before = size
        try:
            for at in range(0, len(data), _STEP):
                piece = data[at : at + _STEP]
                while piece and not decoder.eof and size <= limit:
                    out.append(decoder.decompress(piece, _STEP))
                    size += len(out[-1])
                    piece = decoder.unconsumed_tail
                if decoder.eof or size > limit:
                    data = decoder.unused_data + data[at + _STEP :] if decoder.eof else b""
                    break
            else:
                reason, data = "the data is cut off", b""
        except zlib.error as error:
            if before and size == before:
                return b"".join(out), None  # junk behind a member
            return b"".join(out), str(error)
        if bits != 31:
            break
    return b"".join(out)[: limit + 1], reason


def _deflate(data: bytes, limit: int) -> Decoded:
    """Inflate zlib's form, which the standard means by deflate, or the raw one, which some servers send."""
    whole = _inflate(data, limit, 15)
    if whole[1] is None or whole[0]:
        return whole
    raw = _inflate(data, limit, -15)
    return raw if raw[1] is None or raw[0] else whole


def _unbrotli(data: bytes, limit: int) -> Decoded:
    """Decode Brotli. The library loses the output of a call that fails: that piece is fed again, byte by byte."""
    found = _unbrotli_until(data, limit, len(data))
    return found[:2] if found[2] is None else _unbrotli_until(data, limit, found[2])[:2]


def _unbrotli_until(data: bytes, limit: int, careful: int) -> tuple[bytes, str | None, int | None]:
    """Decode, from the byte ``careful`` on byte by byte. The last value is where the piece begins that failed."""
    import brotli

    decoder = brotli.Decompressor()
    out: list[bytes] = []
    size = at = 0
    try:
        while at < len(data):
            step = _STEP if at + _STEP <= careful else 1 if at >= careful else careful - at
            piece = data[at : at + step]
            while piece or not decoder.can_accept_more_data():
                out.append(decoder.process(piece, output_buffer_limit=_OUTPUT))
                size += len(out[-1])
                piece = b""
                if decoder.is_finished() or size > limit:
                    return b"".join(out)[: limit + 1], None, None
            at += step
    except brotli.error as error:
        return b"".join(out), str(error), None if at >= careful else at
    return b"".join(out), "the data is cut off", None


def _unzstd(data: bytes, limit: int) -> Decoded:
    out: list[bytes] = []
    size = 0
    try:
        reader: Any = zstandard.ZstdDecompressor(max_window_size=32 << 20).stream_reader(data, read_size=_STEP)
        while size <= limit and (piece := reader.read(_OUTPUT)):
            out.append(piece)
            size += len(piece)
    except zstandard.ZstdError as error:
        return b"".join(out), str(error)
    return b"".join(out)[: limit + 1], None if out else "it holds no frame"


_DECODERS: dict[str, Callable[[bytes, int], Decoded]] = {
    "gzip": _gunzip,
    "deflate": _deflate,
    "br": _unbrotli,
    "zstd": _unzstd,
}
