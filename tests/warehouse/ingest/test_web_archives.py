"""Web archives: every record is found, whatever the others are like."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.warehouse.ingest.archives import ARTICLE, Archive, archive, http, pages, warc_record
from tests.warehouse.ingest.helpers import assert_consistent
from warehouse.ingest.formats.detection import detect
from warehouse.ingest.inputs import find_inputs
from warehouse.ingest.records import IngestOptions
from warehouse.ingest.run import ingest
from warehouse.ingest.web import members, records
from warehouse.ingest.web.records import Arc, ArchiveRecord, Damage, Warc, read_records
from warehouse.lake.lake import Lake

FORMS = ("warc", "warc.gz", "lf", "arc", "arc.gz")
PAGE = ARTICLE.format(1, 2, 3, 4).encode()


def read_all(path: Path) -> list[ArchiveRecord | Damage]:
    return list(read_records(path, Arc() if ".arc" in path.name else Warc()))


def found(path: Path) -> tuple[dict[str, bytes], list[str]]:
    """The records of an archive by their names, and the reasons of its damages."""
    everything = read_all(path)
    assert [each.position for each in everything] == list(range(1, len(everything) + 1))
    read = [each for each in everything if isinstance(each, ArchiveRecord)]
    names = {each.headers.get("warc-target-uri", "").rpartition("/")[2]: each.block for each in read}
    return names, [each.reason for each in everything if isinstance(each, Damage)]


@pytest.mark.parametrize("form", FORMS)
def test_all_records_of_a_sound_archive_are_read(tmp_path: Path, form: str) -> None:
    made = archive(form, pages(24))
    path = tmp_path / made.name
    path.write_bytes(made.data)
    assert found(path) == ({name: block for name, block, _ in made.records}, [])


def lz4(data: bytes) -> bytes:
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, "lz4") as stream:
        stream.write(data)
    return packed.getvalue().to_pybytes()


@pytest.mark.parametrize(("suffix", "pack"), [(".bz2", bz2.compress), (".xz", lzma.compress), (".lz4", lz4)])
def test_an_archive_that_is_compressed_as_a_whole_is_read_up_to_its_damage(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    made = archive("warc", [*pages(24), random.Random(1).randbytes(1 << 21), *pages(4)])
    path = tmp_path / (made.name + suffix)
    path.write_bytes(pack(made.data))
    assert detect(path).format == "warc"
    names, reasons = found(path)
    assert (len(names), reasons) == (len(made.records), [])
    path.write_bytes(path.read_bytes()[: -(1 << 20)])
    names, reasons = found(path)
    assert set(names) == {f"record-{number}" for number in range(24)}
    assert len(reasons) == 1
    assert "cut off" in reasons[0]


def damaged(made: Archive, chance: random.Random) -> tuple[bytes, set[str], bool]:
    """An archive with bytes changed, lost or added in one to three places; and the names of the touched records.

    The last value tells whether two were joined into one, which may then look sound.
    """
    data, touched, joined, before = made.data, set(), False, len(made.data)
    for at in sorted((chance.randrange(len(data)) for _ in range(chance.randint(1, 3))), reverse=True):
        size = chance.choice((1, 1, 2, 7, 40, 400, 5000))
        kind = chance.choice(("change", "lose", "zero", "add", "cut"))
        if kind == "cut" and chance.random() < 0.7:
            kind = "change"
        end = len(made.data) if kind == "cut" else at if kind == "add" else min(at + size, before)
        new = chance.randbytes(size if kind == "add" else end - at)
        new = b"" if kind in ("lose", "cut") else bytes(len(new)) if kind == "zero" else new
        data = data[:at] + new + (b"" if kind == "cut" else data[end:])
        here = {
            name
            for name, _, place in made.records
            if (place.start < end and at < place.stop) or (kind == "add" and place.start < at < place.stop)
        }
        touched |= here
        joined |= kind != "add" and len(here) > 1
        before = at
    return data, touched, joined


def check_damaged(made: Archive, folder: Path, seed: int) -> None:
    data, touched, joined = damaged(made, random.Random(seed))
    path = folder / made.name
    path.write_bytes(data)
    read, reasons = found(path)
    untouched = {name: block for name, block, _ in made.records if name not in touched}
    assert {name: read.get(name) for name in untouched} == untouched, seed
    renamed = read.keys() - {name for name, *_ in made.records}
    assert reasons or joined or len(touched - read.keys()) <= len(renamed), seed
    assert len(reasons) <= len(touched) + 3, seed


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), form=st.sampled_from(FORMS))
def test_damage_costs_only_the_records_that_it_touches(tmp_path: Path, seed: int, form: str) -> None:
    check_damaged(archive(form, pages(12)), tmp_path, seed)


@pytest.mark.prove
@pytest.mark.parametrize("form", FORMS)
def test_damage_costs_only_the_records_that_it_touches_in_1000_copies(tmp_path: Path, form: str) -> None:
    made = archive(form, pages(12))
    for seed in range(1000):
        check_damaged(made, tmp_path, seed)


def test_every_archive_has_the_records_that_warcio_counts(shared_data: Path) -> None:
    from warcio.archiveiterator import ArchiveIterator
    from warcio.exceptions import ArchiveLoadFailed

    counted = 0
    for path in sorted((shared_data / "web" / "warc").rglob("*.*arc*")):
        try:
            with path.open("rb") as handle:
                theirs = [record.rec_headers for record in ArchiveIterator(handle, arc2warc=False)]
        except ArchiveLoadFailed:
            continue  # it does not read to the end
        ours = read_all(path)
        assert len(ours) == len(theirs), path
        ids = {headers.get_header("WARC-Record-ID") for headers in theirs}
        assert {each.headers.get("warc-record-id") for each in ours if isinstance(each, ArchiveRecord)} <= ids
        counted += 1
    assert counted >= 12


def test_a_wrong_length_costs_one_record(tmp_path: Path) -> None:
    blocks = pages(3)
    for length in (0, 5, len(blocks[1]) - 3, len(blocks[1]) + 3, len(blocks[1]) + 60, 10**9, 10**14):
        sound = [warc_record(f"record-{number}", block) for number, block in enumerate(blocks)]
        wrong = warc_record("record-1", blocks[1], length=length)
        for form in ("x.warc", "x.warc.gz", "one.warc.gz"):
            parts = [sound[0], wrong, sound[2]]
            data = b"".join(parts)
            if form == "x.warc.gz":
                data = b"".join(map(gzip.compress, parts))
            elif form == "one.warc.gz":
                data = gzip.compress(data)
            (tmp_path / form).write_bytes(data)
            read, reasons = found(tmp_path / form)
            assert {name: read[name] for name in ("record-0", "record-2")} == {
                "record-0": blocks[0], "record-2": blocks[2]
            }, (length, form)  # fmt: skip
            assert "record-1" in read or len(reasons) == 1, (length, form)


def test_a_garbage_line_between_records_is_one_reject_with_its_place(tmp_path: Path) -> None:
    parts = [warc_record(f"record-{number}", block) for number, block in enumerate(pages(3))]
    (tmp_path / "x.warc").write_bytes(parts[0] + b"garbage\r\n" + parts[1] + parts[2])
    read, reasons = found(tmp_path / "x.warc")
    assert len(read) == 3
    assert reasons == [f"no record begins here at offset {len(parts[0]):,}"]


def test_a_long_record_is_passed_without_memory_and_a_cut_one_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "MAX_PAGE", 100_000)
    monkeypatch.setattr(members, "_BATCH", 10_000)
    long = http(random.Random(1).randbytes(400_000), "Content-Type: video/mp4")
    first, last = warc_record("record-0", pages(1)[0]), warc_record("record-2", pages(1)[0])
    for cut in (0, 1000):
        middle = warc_record("record-1", long)
        path = tmp_path / "x.warc.gz"
        path.write_bytes(b"".join(gzip.compress(part) for part in (first, middle[: len(middle) - cut], last)))
        read, reasons = found(path)
        assert read.keys() == {"record-0", "record-1", "record-2"} - ({"record-1"} if cut else set())
        assert len(reasons) == (cut > 0)


def test_a_record_behind_blank_lines_or_damage_is_told_by_its_name(tmp_path: Path) -> None:
    record = warc_record("record-0", pages(1)[0])
    for name, data, expected in (
        ("x.bin", b"\r\n\n" + record, "warc"),
        ("x.warc", b"\0\0\0\0" + record, "warc"),
        ("x.warc.gz", b"\0\x01" + gzip.compress(record) * 2, "warc"),
        ("x.arc.gz", b"\x1f\x8b\x08" + bytes(100), "arc"),
        ("x.htm", b"no tag", "html"),
    ):
        (tmp_path / name).write_bytes(data)
        assert detect(tmp_path / name).format == expected
    assert len(found(tmp_path / "x.warc.gz")[0]) == 1


def test_what_gives_no_document_is_counted_by_reason(read: Any, ask: Any, lake: Any, tmp_path: Path) -> None:
    blocks = [
        http(PAGE), http(PAGE, status="404 Not Found"), http(b"\x89PNG", "Content-Type: image/png"),
        http(b"<html><script>x</script>"), http(PAGE, "Transfer-Encoding: chunked", "Content-Encoding: gzip"),
    ]  # fmt: skip
    parts = [warc_record(f"record-{number}", block) for number, block in enumerate(blocks)]
    parts.append(warc_record("record-5", b"GET / HTTP/1.0\r\n\r\n", "request"))
    parts.append(warc_record("record-6", b"a text of a WET file", "conversion"))
    (tmp_path / "x.warc.gz").write_bytes(b"".join(map(gzip.compress, parts)))
    report = read(tmp_path / "x.warc.gz")
    assert report.passed_over == {"other_status": 1, "not_html": 1, "empty": 1, "not_pages": 1}
    assert ask("select rows, rejected, not_pages, other_status, not_html, empty from raw.files") == [(3, 0, 1, 1, 1, 1)]
    assert_consistent(lake)


def test_a_lake_without_the_counts_gets_their_columns(read: Any, lake: Any, tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_text("an old text")
    read(tmp_path / "old.txt")
    with lake.commit("as the last version made it") as commit:
        for name in ("not_pages", "other_status", "not_html", "empty"):
            commit.sql(f"alter table raw.files drop column {name}")
    (tmp_path / "x.html").write_text("<script>no text</script>")
    lake = Lake.open(lake.root)  # a process looks once what the lake lacks
    ingest(lake, find_inputs([str(tmp_path / "x.html")]), IngestOptions())
    files = lake.reader().execute("select rows, empty from raw.files order by format").fetchall()
    assert files == [(0, 1), (1, None)]
    assert ingest(lake, find_inputs([str(tmp_path / "old.txt")]), IngestOptions()).count("unchanged") == 1


def test_an_archive_that_is_one_member_is_read_up_to_its_damage(tmp_path: Path) -> None:
    made = archive("warc", pages(60))
    data = gzip.compress(made.data)
    sound = data[: len(data) * 3 // 4]
    (tmp_path / "x.warc.gz").write_bytes(sound + b"\xff" * 5000)
    whole = len(zlib.decompressobj(31).decompress(sound))
    read, reasons = found(tmp_path / "x.warc.gz")
    before = {name: block for name, block, place in made.records if place.stop <= whole}
    assert len(before) > 20
    assert before.items() <= read.items()
    assert len(reasons) == 1


def test_a_page_without_its_packages_is_read_another_time(
    read: Any, ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.html").write_bytes(PAGE)
    (tmp_path / "y.txt").write_text("a text")
    with monkeypatch.context() as patch:
        patch.setattr("warehouse.ingest.web.extraction.find_spec", lambda name: None)
        report = read(tmp_path)
    (lacking,) = [file for file in report.files if file.outcome == "unreadable"]
    assert lacking.note == "web pages need resiliparse and brotli: pip install 'cuvee[web]'"
    assert ask("select text from raw.documents") == [("a text",)]
    assert read(tmp_path).documents == 1
