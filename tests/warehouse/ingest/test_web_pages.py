"""Pages: codings taken off, characters as browsers read them, text wherever the page has it."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import brotli
import pytest
import zstandard
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.warehouse.ingest.archives import ARTICLE, arc_record, http, warc_record
from tests.warehouse.ingest.helpers import assert_consistent
from warehouse.cli.main import cli
from warehouse.ingest.web.charset import UndecodableError, decode, find_codec
from warehouse.ingest.web.extraction import extract
from warehouse.ingest.web.payload import dechunk, decode_payload, read_response
from warehouse.lake.lake import Lake

PAGE = ARTICLE.format(1, 2, 3, 4).encode()
LIMIT = 1 << 20


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def chunked(data: bytes, size: int = 50, extension: bytes = b"") -> bytes:
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in parts) + b"0\r\n\r\n"


#: Bodies that are PAGE, with the headers under which they were sent.
CODED = {
    "plain": ((), PAGE),
    "gzip": (("Content-Encoding: gzip",), gzip.compress(PAGE)),
    "x-gzip, upper case": (("content-encoding: X-GZIP",), gzip.compress(PAGE)),
    "two members": (("Content-Encoding: gzip",), gzip.compress(PAGE[:99]) + gzip.compress(PAGE[99:])),
    "bytes behind gzip": (("Content-Encoding: gzip",), gzip.compress(PAGE) + b"\r\n<!-- x -->"),
    "deflate": (("Content-Encoding: deflate",), zlib.compress(PAGE)),
    "raw deflate": (("Content-Encoding: deflate",), raw_deflate(PAGE)),
    "brotli": (("Content-Encoding: br",), brotli.compress(PAGE)),
    "bytes behind brotli": (("Content-Encoding: br",), brotli.compress(PAGE) + b"x"),
    "zstd": (("Content-Encoding: zstd",), zstandard.compress(PAGE)),
    "two codings": (("Content-Encoding: deflate, gzip",), gzip.compress(zlib.compress(PAGE))),
    "twice, said once": (("Content-Encoding: gzip",), gzip.compress(gzip.compress(PAGE))),
    "gzip, not said": ((), gzip.compress(PAGE)),
    "false gzip": (("Content-Encoding: gzip",), PAGE),
    "false brotli": (("Content-Encoding: br",), PAGE),
    "false deflate": (("Content-Encoding: deflate",), PAGE),
    "false zstd": (("Content-Encoding: zstd",), PAGE),
    "unknown": (("Content-Encoding: utf-8",), PAGE),
    "chunks": (("Transfer-Encoding: chunked",), chunked(PAGE)),
    "Chunks": (("Transfer-Encoding: Chunked",), chunked(PAGE)),
    "extended chunks": (("Transfer-Encoding: chunked",), chunked(PAGE, extension=b';name="v a"')),
    "padded chunks": (("Transfer-Encoding: chunked",), chunked(PAGE, extension=b"  ")),
    "chunks with LF": (("Transfer-Encoding: chunked",), chunked(PAGE).replace(b"\r\n", b"\n")),
    "trailers": (("Transfer-Encoding: chunked",), chunked(PAGE)[:-2] + b"Expires: never\r\n\r\n"),
    "false chunks": (("Transfer-Encoding: chunked",), PAGE),
    "gzip in chunks": (("Content-Encoding: gzip", "Transfer-Encoding: chunked"), chunked(gzip.compress(PAGE))),
    "gzip as transfer": (("Transfer-Encoding: gzip, chunked",), chunked(gzip.compress(PAGE))),
    "brotli in chunks": (("Content-Encoding: br", "Transfer-Encoding: chunked"), chunked(brotli.compress(PAGE))),
    "no last chunk": (("Transfer-Encoding: chunked",), chunked(PAGE)[:-5]),
    "a wrong size": (("Transfer-Encoding: chunked",), chunked(PAGE, 90).replace(b"5a\r\n", b"50\r\n", 1)),
}


@pytest.mark.parametrize("name", CODED)
def test_a_response_is_decoded_as_far_as_it_is_coded(name: str) -> None:
    headers, body = CODED[name]
    response = read_response(http(body, *headers))
    assert response is not None
    assert decode_payload(response, LIMIT).body == PAGE


@pytest.mark.parametrize("form", ["warc", "arc"])
def test_every_coding_gives_the_same_document_and_loses_no_record(
    read: Any, ask: Any, lake: Lake, tmp_path: Path, form: str
) -> None:
    record = arc_record if form == "arc" else warc_record
    blocks = [http(body, *headers) for headers, body in CODED.values()]
    first = b"filedesc://x 0.0.0.0 20140216050221 text/plain 4\n1 0\n\n" if form == "arc" else b""
    (tmp_path / f"x.{form}").write_bytes(first + b"".join(record(str(n), block) for n, block in enumerate(blocks)))
    report = read(tmp_path / f"x.{form}")
    assert (report.rows, report.documents, report.rejected) == (len(CODED), 1, 0)
    assert ask("select text like '%text — naïve.%' from raw.documents") == [(True,)]
    assert_consistent(lake)


@settings(max_examples=200)
@given(
    cut=st.integers(0, 400), junk=st.binary(max_size=40), name=st.sampled_from([*CODED]),
    coding=st.sampled_from(["", "gzip", "br", "deflate", "zstd", "nonsense"]), chunks=st.booleans(),
)  # fmt: skip
def test_no_body_of_a_server_raises(cut: int, junk: bytes, name: str, coding: str, chunks: bool) -> None:
    body = CODED[name][1]
    body = body[:cut] + junk + body[cut + len(junk) :]
    headers = (f"Content-Encoding: {coding}", *(("Transfer-Encoding: chunked",) if chunks else ()))
    response = read_response(http(body, *headers))
    assert response is not None
    payload = decode_payload(response, LIMIT)
    assert len(payload.body) <= LIMIT + 1
    read_response(junk)
    dechunk(junk)


def test_a_damaged_body_says_what_lacks(read: Any, ask: Any, tmp_path: Path) -> None:
    whole = gzip.compress(PAGE * 40, 0)
    block = http(whole[: len(whole) // 2], "Content-Encoding: gzip")
    noise = http(b"\x1f\x8b\x08\0" + bytes(range(256)), "Content-Encoding: gzip")
    unknown = http(gzip.compress(PAGE)[10:], "Content-Encoding: sdch")
    parts = [warc_record(str(number), each) for number, each in enumerate((block, noise, unknown, http(PAGE)))]
    (tmp_path / "x.warc").write_bytes(b"".join(parts))
    read(tmp_path / "x.warc")
    assert ask("select metadata ->> 'damage' from raw.occurrences order by position") == [
        ("gzip: the data is cut off",), (None,)
    ]  # fmt: skip
    reasons = [reason for (reason,) in ask("select reason from raw.rejects order by position")]
    assert [reason.startswith("binary content as text/html (") for reason in reasons] == [True, True]
    assert "unknown" in reasons[1]


def test_a_bomb_is_one_reject(read: Any, ask: Any, tmp_path: Path) -> None:
    bodies = {"gzip": gzip.compress(bytes(80 << 20)), "br": brotli.compress(bytes(80 << 20))}
    bodies["zstd"] = zstandard.compress(bytes(80 << 20))
    parts = [warc_record(name, http(body, f"Content-Encoding: {name}")) for name, body in bodies.items()]
    (tmp_path / "x.warc").write_bytes(b"".join((*parts, warc_record("last", http(PAGE)))))
    assert read(tmp_path / "x.warc").rows == 1
    assert {reason.split(" (")[0] for (reason,) in ask("select reason from raw.rejects")} == {
        "page is longer than 16 MB"
    }


#: The bytes of a page, its content type, and its text.
CHARACTERS = {
    "one invalid byte": ("naïve — café ".encode() + b"\xff!", "text/html; charset=utf-8", "naïve — café \ufffd!"),
    "cut in a character, not said": ("naïve — café".encode()[:-1], "", "naïve — caf\ufffd"),
    "latin-1 is windows-1252": (b"\x93it\x92s\x94 \x96 \x80", "text/html; charset=ISO-8859-1", "“it’s” – €"),
    "ascii is windows-1252": (b"\x85\x81", "text/plain; charset=us-ascii", "…\x81"),
    "latin-5 is windows-1254": (b"\xfd\xf0 \x80", 'text/html; charset="iso-8859-9"', "ığ €"),
    "a mark before the header": ("\ufeffé".encode(), "text/html; charset=windows-1251", "é"),
    "UTF-16 by its mark": (b"\xff\xfe" + "naïve".encode("utf-16-le"), "text/html", "naïve"),
    "UTF-16 by the header": ("naïve".encode("utf-16-be"), "text/html; charset=utf-16be", "naïve"),
    "the header before meta": ("<meta charset=koi8-r>é".encode(), "text/html; charset=utf8", "<meta charset=koi8-r>é"),
    "meta": ("<meta charset='windows-1251'>Жук".encode("cp1251"), "text/html", "<meta charset='windows-1251'>Жук"),
    "an unknown header": ("<meta charset=big5>中".encode("big5"), "text/html; charset=x-none", "<meta charset=big5>中"),
    "an older meta": (
        b'<META content="text/html; charset=euc-kr" http-equiv=Content-Type>' + "똠방".encode("cp949"), "",
        '<META content="text/html; charset=euc-kr" http-equiv=Content-Type>똠방',
    ),
    "no meta in comments and scripts": (
        "<!-- <meta charset=koi8-r> --><script>'<meta charset=koi8-r>'</script>é".encode(), "",
        "<!-- <meta charset=koi8-r> --><script>'<meta charset=koi8-r>'</script>é",
    ),
    "meta cannot mean UTF-16": ("<meta charset=utf-16>é".encode(), "", "<meta charset=utf-16>é"),
    "XML": ("<?xml version='1.0' encoding='iso-8859-2'?>Žít".encode("iso-8859-2"), "application/xhtml+xml",
            "<?xml version='1.0' encoding='iso-8859-2'?>Žít"),
    "Shift_JIS with NEC's signs": ("①髙".encode("cp932"), "text/html; charset=Shift_JIS", "①髙"),
    "GB2312 is GBK": ("镕€".encode("gb18030"), "text/html; charset=gb2312", "镕€"),
    "TIS-620 is windows-874": (b"\xa1\x80\x85", "text/html; charset=tis-620", "ก€…"),
    "guessed": ("Съешь же ещё этих мягких французских булок, да выпей чаю. ".encode("cp1251") * 9, "",
                "Съешь же ещё этих мягких французских булок, да выпей чаю. " * 9),
}  # fmt: skip


@pytest.mark.parametrize("name", CHARACTERS)
def test_characters_are_those_that_a_browser_shows(name: str) -> None:
    body, content_type, text = CHARACTERS[name]
    assert decode(body, content_type, html=True) == text


def test_labels_are_the_standards() -> None:
    for label, codec in {
        "latin1": "cp1252", "l1": "cp1252", " ASCII\n": "cp1252", "x-sjis": "cp932", "ks_c_5601-1987": "cp949",
        "chinese": "gb18030", "unicode-1-1-utf-8": "utf-8", "ucs-2": "utf-16-le", "dos-874": "cp874",
        "x-mac-ukrainian": "mac-cyrillic", "visual": "iso8859-8", "utf-7": None, "": None,
    }.items():  # fmt: skip
        assert find_codec(label) == codec, label
    for label in ("hz-gb-2312", "ISO-2022-KR", "replacement"):
        with pytest.raises(UndecodableError):
            find_codec(label)


@given(body=st.binary(max_size=200), label=st.text(max_size=12), html=st.booleans())
def test_every_body_has_characters(body: bytes, label: str, html: bool) -> None:
    decode(body, f"text/html; charset={label}", html=html).encode()


def test_plain_text_and_arc_are_decoded_alike(read: Any, ask: Any, tmp_path: Path) -> None:
    body = b"\x93it\x92s\x94"
    block = http(body, "Content-Type: text/plain; charset=iso-8859-1")
    (tmp_path / "x.warc").write_bytes(
        warc_record("1", block) + warc_record("2", "naïve é".encode() + b"\xff", "conversion")
    )
    (tmp_path / "x.arc").write_bytes(arc_record("3", block))
    read(tmp_path / "x.warc", tmp_path / "x.arc")
    assert ask("select text from raw.documents order by 1") == [("naïve é\ufffd",), ("“it’s”",)]


TEXT = "This is the text of an article, which is long enough to be seen as one, and it has a second part. " * 4


@pytest.mark.parametrize(
    "around",
    [
        "<header>{}</header>", "<aside>{}</aside>", "<noscript>{}</noscript>", "<nav>{}</nav>", "<footer>{}</footer>",
        "<div style='display:none'>{}</div>", "<div hidden>{}</div>", "<div id=navigation-main>{}</div>",
        "<div class=modal>{}</div>", "<div aria-hidden=true>{}</div>", "<textarea>{}</textarea>", "<button>{}</button>",
    ],
)  # fmt: skip
@pytest.mark.parametrize("extractor", ["resiliparse", "trafilatura"])
def test_text_is_found_wherever_the_page_has_it(around: str, extractor: str) -> None:
    page = f"<html><body>{around.format(f'<p>{TEXT}</p>')}</body></html>"
    found = extract(page, extractor)
    assert "second part" in found.text
    assert found.extraction in (extractor, f"{extractor}, whole text")


def test_the_whole_text_is_said_to_be_it_and_deep_pages_take_no_time(read: Any, ask: Any, tmp_path: Path) -> None:
    (tmp_path / "aside.html").write_text(f"<aside><p>{TEXT}</p></aside>")
    (tmp_path / "main.html").write_text(f"<article><p>{TEXT}</p></article><nav>Home</nav>")
    (tmp_path / "deep.html").write_text("<div>" * 100_000 + "a deep text" + "</div>" * 100_000)
    read(tmp_path)
    assert ask("select source_id, metadata ->> 'extraction' from raw.occurrences order by 1") == [
        ("aside.html", "resiliparse, whole text"),
        ("deep.html", "resiliparse, whole text"),
        ("main.html", "resiliparse"),
    ]


def test_html_files_are_pages(read: Any, ask: Any, lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "a.html").write_bytes(PAGE)
    (folder / "b.HTM.gz").write_bytes(gzip.compress(PAGE + b"<p>more"))
    (folder / "c.xhtml").write_bytes("<p>\x93c\x94".encode("latin-1"))
    (folder / "d.html").write_bytes(b"<script>only</script>")
    (folder / "e.md").write_text("<p>a text file</p>")
    (folder / "f.html").write_bytes(b"\xff\xfe" + "<p>sixteen".encode("utf-16-le"))
    report = read(folder)
    assert report.passed_over == {"empty": 1}
    rows = ask(
        "select source, source_id, text from raw.occurrences join raw.documents using (doc_id)"
        " where source_id <> 'b.HTM.gz' order by 2"
    )
    assert [(source, name) for source, name, _ in rows] == [("site", f"{name}") for name in
        ("a.html", "c.xhtml", "e.md", "f.html")]  # fmt: skip
    assert [text for *_, text in rows][1:] == ["“c”", "<p>a text file</p>", "sixteen"]
    assert "<p>" not in rows[0][2]
    assert_consistent(lake)


def test_the_extractor_is_chosen_and_part_of_what_a_file_is(lake: Lake, ask: Any, tmp_path: Path) -> None:
    def ingest(*arguments: str) -> Any:
        return CliRunner().invoke(cli, ["ingest", *arguments, "--lake", str(lake.root)])

    (tmp_path / "x.warc").write_bytes(warc_record("1", http(PAGE)) + warc_record("2", http(PAGE, status="500 No")))
    (tmp_path / "y.jsonl").write_text('{"text": "y"}\n')
    done = ingest(str(tmp_path))
    assert done.exit_code == 0, done.output
    assert "a page answered with another status than 200" in done.stdout
    done = ingest(str(tmp_path), "--extractor", "trafilatura")
    assert done.exit_code == 0, done.output
    assert ask("select metadata ->> 'extraction', count(*) from raw.occurrences group by 1 order by 1") == [
        ("resiliparse", 1), ("trafilatura", 1), (None, 1)
    ]  # fmt: skip
    assert "2 files: already in the lake" in ingest(str(tmp_path), "--extractor", "trafilatura").stdout
    done = ingest(str(tmp_path), "--extractor", "trafilaturra")
    assert done.exception is not None
    assert "no extractor called 'trafilaturra'" in str(done.exception)
