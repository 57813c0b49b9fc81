"""Quality signals in MB/s a core, and repeated n-grams beside dolma's and datatrove's, of the same words.

    python tests/benchmarks/bench_signals.py

The peers' statistics are those of their Gopher code (datatrove 0.10, ``gopher_repetition_filter``; dolma 1.2,
``taggers/gopher``), over words that were split before. datatrove runs from ``CUVEE_PEERS``, else ``.venv-peers``.
Dolma's taggers do not run with numpy 2, so its two statistics are written out here. What dolma defines as
RedPajama-V2 does (the characters in the most frequent n-gram, where one is repeated) is compared. Times are of the CPU,
the best of three.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.peers import peer  # noqa: E402
from udfs.text import redpajama_words, repetition  # noqa: E402
from udfs.text.quality_signals import quality_signals  # noqa: E402

#: Reads lists of words as JSON lines, prints the CPU seconds of datatrove's statistics over them.
DATATROVE = """
import json, sys, time
from datatrove.pipeline.filters import gopher_repetition_filter as gopher
documents = [json.loads(line) for line in sys.stdin]
best = 1e9
for _ in range(3):
    start = time.process_time()
    for words in documents:
        for n in (2, 3, 4):
            grams = gopher.get_n_grams(words, n)
            if grams:
                gopher.find_top_duplicate(grams)
        for n in range(5, 11):
            gopher.find_all_duplicate(words, n)
    best = min(best, time.process_time() - start)
print(best)
"""


def texts() -> list[str]:
    """The web documents of the shared data."""
    data = Path(os.environ.get("CUVEE_TEST_DATA", ROOT.parent / "shared" / "data"))
    found = []
    for name in ("extracted_docs", "dclm_human_quality"):
        with gzip.open(data / "web" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            found += [json.loads(line)["text"] for line in file]
    return found


def best(work: Callable[[], Any]) -> tuple[float, Any]:
    """The CPU seconds of the fastest of three runs, and what it gave."""
    seconds = []
    for _ in range(3):
        start = time.process_time()
        result = work()
        seconds.append(time.process_time() - start)
    return min(seconds), result


def ours(split: list[list[str]]) -> dict[int, Any]:
    """Shares of characters in repeated n-grams, from lists of words."""
    column = pa.array(split, pa.list_(pa.string()))
    found = redpajama_words.split_already(column)
    top, _ = repetition.shares(found, repetition.word_groups(found))
    return top


def dolmas(split: list[list[str]]) -> list[dict[int, float]]:
    """The statistics of dolma's Gopher tagger about repeated n-grams."""
    results = []
    for document in split:
        characters = max(sum(map(len, document)), 1)
        shares = {}
        for n in range(2, 11):
            counts = Counter(list(zip(*[document[i:] for i in range(n)], strict=False)))
            if not counts:
                continue
            if n < 5:
                gram, count = counts.most_common(1)[0]
                shares[n] = count * sum(map(len, gram)) / characters if count > 1 else 0.0
            else:
                total = sum(count * sum(map(len, gram)) for gram, count in counts.items())
                repeated = sum(count * sum(map(len, gram)) for gram, count in counts.items() if count > 1)
                shares[n] = repeated / max(total, 1)
        results.append(shares)
    return results


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.parse_args()
    documents = texts()
    size = sum(len(text.encode()) for text in documents)
    column = pa.array(documents)
    seconds, _ = best(lambda: quality_signals(column))
    print(f"quality_signals: {size / seconds / 1e6:.1f} MB/s a core, {len(documents) / seconds:,.0f} documents/s")

    split = [text.split() for text in documents]
    mine, top = best(lambda: ours(split))
    print(f"repeated n-grams of split words: {len(split) / mine:,.0f} documents/s")
    theirs, expected = best(lambda: dolmas(split))
    print(f"  dolma's: {len(split) / theirs:,.0f} documents/s   ratio {theirs / mine:.1f}")
    wrong = sum(
        abs(top[n][i] - shares[n]) > 1e-9 for i, shares in enumerate(expected) for n in (2, 3, 4) if n in shares
    )
    compared = sum(n in shares for shares in expected for n in (2, 3, 4))
    print(f"  values that both define: {compared:,} compared, {wrong} differ")
    if datatrove := peer("datatrove"):
        lines = "".join(json.dumps(each) + "\n" for each in split)
        done = subprocess.run([datatrove, "-c", DATATROVE], input=lines, capture_output=True, text=True, check=True)
        seconds = float(done.stdout)
        print(f"  datatrove's: {len(split) / seconds:,.0f} documents/s   ratio {seconds / mine:.1f}")
    sys.exit(int(wrong > 0))


if __name__ == "__main__":
    main()
