"""What makes text of HTML: resiliparse and trafilatura, on the pages of the test data.

    python tests/benchmarks/bench_extraction.py [FOLDER]

F1 is that of the words (as a bag) against texts that people marked as the page's content. The test data have texts of
395 pages, but their HTML only where FOLDER/html (default: web in the test data) holds it. Without it, the 23 pages of
the web archives tell how fast the extractors are, what they keep, and how far they agree.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections import Counter
from pathlib import Path
from time import process_time

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from warehouse.ingest.web.charset import decode  # noqa: E402
from warehouse.ingest.web.extraction import EXTRACTORS, extract  # noqa: E402
from warehouse.ingest.web.payload import decode_payload, read_response  # noqa: E402
from warehouse.ingest.web.records import MAX_PAGE, ArchiveRecord, Warc, read_records  # noqa: E402


def f1(found: str, wanted: str) -> float:
    """Compare two bags of words."""
    ours, theirs = Counter(found.split()), Counter(wanted.split())
    both = (ours & theirs).total()
    return 2 * both / (ours.total() + theirs.total()) if both else float(not ours and not theirs)


def archived(folder: Path) -> list[str]:
    """Read the pages of the web archives."""
    pages = []
    for path in sorted((folder / "warc").glob("*.warc.gz")):
        for record in read_records(path, Warc()):
            if isinstance(record, ArchiveRecord) and record.headers.get("warc-type") == "response":
                response = read_response(record.block)
                if response is not None and response.status == 200:
                    kind = response.headers.get("content-type")
                    pages.append(decode(decode_payload(response, MAX_PAGE).body, kind, html=True))
    return pages


def marked(folder: Path) -> list[tuple[str, str]]:
    """Read the pages whose text is known: HTML and text."""
    with gzip.open(folder / "extracted_docs.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    found = [(folder / row["html"], row["text"]) for row in rows if (folder / row.get("html", "-")).is_file()]
    return [(decode(gzip.decompress(path.read_bytes()), None, html=True), text) for path, text in found]


def timed(pages: list[str], extractor: str) -> tuple[list[str], float]:
    """Extract all pages; return the texts, and pages a second of one core."""
    extract(pages[0], extractor)
    start = process_time()
    texts = [extract(page, extractor).text for page in pages]
    return texts, len(pages) / (process_time() - start)


def main() -> None:
    data = Path(os.environ.get("CUVEE_TEST_DATA", ROOT.parent / "shared" / "data")) / "web"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else data
    pages = archived(data)
    runs = {name: timed(pages, name) for name in EXTRACTORS}
    first = runs[EXTRACTORS[0]][0]
    print(f"{len(pages)} pages of web archives, {sum(map(len, pages)) / 1e6:.1f} MB")
    print(f"{'extractor':14} {'pages/s':>8} {'words':>8} {'F1 with ' + EXTRACTORS[0]:>20}")
    for name, (texts, speed) in runs.items():
        agreement = sum(map(f1, texts, first)) / len(texts)
        print(f"{name:14} {speed:8,.0f} {sum(len(text.split()) for text in texts):8,} {agreement:20.3f}")
    wanted = marked(folder)
    print(f"\n{len(wanted)} pages with a known text")
    for name in EXTRACTORS if wanted else ():
        texts, speed = timed([page for page, _ in wanted], name)
        score = sum(map(f1, texts, [text for _, text in wanted])) / len(wanted)
        print(f"{name:14} {speed:8,.0f} F1 {score:.3f}")


if __name__ == "__main__":
    main()
