"""Near duplicates of edited web pages: precision, recall and throughput, beside datatrove's MinHash.

    python tests/benchmarks/bench_duplicates.py

Each page of the shared data is edited: cut to four fifths, given boilerplate before and after, and 5, 15, 30 and 50 %
of its words changed. A pair is a true one if the edited page's word 5-grams have a Jaccard similarity of at least 0.7
with the page's. Found is what lies in one cluster. datatrove's signatures over the same documents with the same
parameters (words split at white space, which costs it least) go through the same SQL, so only signatures differ. It
runs from ``CUVEE_PEERS``, else ``.venv-peers``. Times are of the CPU, from texts to signatures.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pyarrow as pa

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.peers import peer  # noqa: E402
from tests.sql import plain_jinja  # noqa: E402
from udfs.text.decontamination_normalization import pieces, words  # noqa: E402
from udfs.text.minhash import minhash  # noqa: E402

BANDS, ROWS, WORDS, SIMILARITY = 14, 9, 5, 0.7

DATATROVE = f"""
import json, sys, tempfile, time
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
class Split:
    def word_tokenize(self, text):
        return text.split()
MinhashDedupSignature.__init__.__globals__["load_word_tokenizer"] = lambda language: Split()
config = MinhashConfig(n_grams={WORDS}, num_buckets={BANDS}, hashes_per_bucket={ROWS})
step = MinhashDedupSignature(tempfile.mkdtemp(), config)
texts = [json.loads(line) for line in sys.stdin]
start = time.process_time()
found = []
for text in texts:
    shingles = step.get_shingles(text)
    found.append(sum(step.get_signature(shingles), []) if shingles.size else None)
print(time.process_time() - start)
print(json.dumps(found))
"""


def pages() -> list[str]:
    """Pages of more than 60 words, no two of them alike."""
    data = Path(os.environ.get("CUVEE_TEST_DATA", ROOT.parent / "shared" / "data"))
    with gzip.open(data / "web" / "extracted_docs.jsonl.gz", "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file]
    kept: list[str] = []
    seen: set[tuple[int, ...]] = set()
    for text in texts:
        own = shingles(text)
        if len(text.split()) > 60 and len(own & seen) < 0.2 * len(own):
            kept.append(text)
            seen |= own
    return kept


def edits(text: str, chance: random.Random, vocabulary: list[str]) -> dict[str, str]:
    """The edited forms of a page."""
    found = text.split(" ")
    boilerplate = " ".join(chance.choices(vocabulary, k=len(found) // 12))
    changed = {
        f"{share:.0%} of words changed": " ".join(
            chance.choice(vocabulary) if chance.random() < share else word for word in found
        )
        for share in (0.05, 0.15, 0.3, 0.5)
    }
    return {
        "cut to four fifths": " ".join(found[: len(found) * 4 // 5]),
        "boilerplate": f"Home About {boilerplate}\n{text}\nCookies {boilerplate}",
    } | changed


def shingles(text: str) -> set[tuple[int, ...]]:
    """The sequences of words of a text."""
    ((_, content, bounds),) = pieces(pa.array([text]), len(text) + 1)
    found = words(content, bounds).hashes().tolist()
    return {tuple(found[i : i + WORDS]) for i in range(max(len(found) - WORDS + 1, 1))}


def clusters(signatures: pa.Array) -> list[str]:
    """The cluster of each document, by the macros of the project."""
    connection = duckdb.connect()
    names = [f"{n:06}" for n in range(len(signatures))]
    connection.register("signed", pa.table({"doc_id": names, "signature": signatures}))
    macros = ["duplicates.sql"]
    found = plain_jinja.render(macros, f"{{{{ minhash_bands('signature', {BANDS}, {ROWS}) }}}}")
    similarity = plain_jinja.render(macros, "{{ signature_similarity('a.signature', 'b.signature') }}")
    connection.execute(f"create table banded as select doc_id, unnest({found}) as band from signed")
    connection.execute(
        "create table pairs as select * from (select distinct a.doc_id, b.doc_id as near_doc_id from banded as a"
        " join banded as b on b.band = a.band and b.doc_id < a.doc_id) as agreeing"
        " join signed as a using (doc_id) join signed as b on b.doc_id = near_doc_id"
        f" where {similarity} >= {SIMILARITY}"
    )
    query = plain_jinja.render(macros, "{{ connected_components('pairs', 'doc_id', 'near_doc_id') }}")
    found = dict(connection.execute(query).fetchall())
    return [found.get(name, name) for name in names]


def score(found: list[str], truth: list[tuple[str, int, int, bool]], origin: list[int]) -> str:
    """Precision and recall over edited pages, and recall by edit."""
    right = sum(found[a] == found[b] for _, a, b, near in truth if near)
    near = sum(each[3] for each in truth)
    ordered = sorted(range(len(found)), key=found.__getitem__)
    together = [list(group) for _, group in itertools.groupby(ordered, found.__getitem__)]
    wrong = sum(origin[a] != origin[b] for group in together for a, b in itertools.combinations(group, 2))
    far = sum(found[a] == found[b] for _, a, b, is_near in truth if not is_near)
    by_edit = {
        edit: (sum(found[a] == found[b] for _, a, b, _ in rows), len(rows))
        for edit in dict.fromkeys(each[0] for each in truth)
        if (rows := [each for each in truth if each[0] == edit])
    }
    return (
        f"precision {right / max(right + far + wrong, 1):.3f}, recall {right / near:.3f} of {near} pairs"
        f" ({wrong} pairs of different pages)\n    found: "
        + ", ".join(f"{edit} {hit}/{count}" for edit, (hit, count) in by_edit.items())
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.parse_args()
    chance = random.Random(3)
    originals = pages()
    vocabulary = [word for text in originals for word in text.split()]
    documents, origin = list(originals), list(range(len(originals)))
    truth: list[tuple[str, int, int, bool]] = []
    for index, text in enumerate(originals):
        own = shingles(text)
        for edit, changed in edits(text, chance, vocabulary).items():
            other = shingles(changed)
            truth.append((edit, index, len(documents), len(own & other) / len(own | other) >= 0.7))
            documents.append(changed)
            origin.append(index)
    column = pa.array(documents)
    size = sum(len(text.encode()) for text in documents)
    print(f"{len(originals)} pages, {len(documents)} documents, {size / 1e6:.1f} MB")
    seconds = []
    for _ in range(3):
        start = time.process_time()
        batches = [minhash(column.slice(at, 512), BANDS * ROWS, WORDS) for at in range(0, len(column), 512)]
        seconds.append(time.process_time() - start)
    ours = min(seconds)
    signatures = pa.Table.from_batches(batches)["signature"].combine_chunks()
    print(f"ours: {len(documents) / ours:,.0f} documents/s a core, {size / ours / 1e6:.1f} MB/s")
    print("  " + score(clusters(signatures), truth, origin))
    if datatrove := peer("datatrove"):
        lines = "".join(json.dumps(text) + "\n" for text in documents)
        done = subprocess.run([datatrove, "-c", DATATROVE], input=lines, capture_output=True, text=True, check=True)
        *_, taken, found = done.stdout.strip().split("\n")
        theirs = float(taken)
        print(f"datatrove: {len(documents) / theirs:,.0f} documents/s a core   ratio {theirs / ours:.1f}")
        print("  " + score(clusters(pa.array(json.loads(found), pa.list_(pa.uint64()))), truth, origin))


if __name__ == "__main__":
    main()
