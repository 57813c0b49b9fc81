"""Finding benchmarks in texts, beside datatrove's and dolma's ways, on one core and the same text in one run.

    python tests/benchmarks/bench_contamination.py [--megabytes 24] [--rounds 2]

The filter is that of GSM8K's test questions; the text is the shared test data, read once before the clock starts. Peers
run from an environment of their own (``CUVEE_PEERS``, else ``.venv-peers``), on the texts as Python strings, which is
how they get them: datatrove's NGramsDecontFilter with 13-grams and its English word tokenizer; dolma's deduper (Rust)
with 13-grams of words against a filter that only reads, line breaks taken out (its n-grams are those of a paragraph);
it reads gzipped JSON and writes its findings within the time. Seconds are the processor's.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("CUVEE_TEST_DATA", ROOT.parent / "shared" / "data"))
sys.path.insert(0, str(ROOT))

from tests.peers import peer  # noqa: E402

DATATROVE = """
import json, sys, tempfile, time
import numpy as np
from datatrove.data import Document
from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter
from datatrove.utils.text import ngrams, simplify_text
texts, items = (json.load(open(path)) for path in sys.argv[1:])
with tempfile.TemporaryDirectory() as folder:
    decont = NGramsDecontFilter(folder, NGramsDecontConfig(n_grams=13))
    words = lambda text: decont.tokenizer.word_tokenize(simplify_text(text, decont.config.norm_config))
    hashes = {decont.hash_func(" ".join(gram)) for item in items for gram in ngrams(words(item), 13)}
    np.array(list(hashes), decont.config.hash_config.np_descr).tofile(folder + "/gsm8k.index.hashes")
    decont.filter(Document(text=texts[0], id="0"))
    started = time.process_time()
    found = sum(decont.filter(Document(text=text, id="0")) is not True for text in texts)
    print(time.process_time() - started, found)
"""

DOLMA = """
import gzip, importlib.util, json, os, resource, sys, tempfile
from pathlib import Path
# Its module in Rust alone: the package around it imports what needs numpy 1.
(folder,) = importlib.util.find_spec("dolma").submodule_search_locations
(path,) = Path(folder).glob("dolma*.so")
spec = importlib.util.spec_from_file_location("dolma", path)
dolma = importlib.util.module_from_spec(spec)
spec.loader.exec_module(dolma)
texts, items = (json.load(open(path)) for path in sys.argv[1:])
used = lambda: sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
with tempfile.TemporaryDirectory() as folder:
    for name, some in (("items", items), ("texts", texts)):
        os.makedirs(f"{folder}/{name}/documents")
        with gzip.open(f"{folder}/{name}/documents/a.jsonl.gz", "wt", compresslevel=1) as out:
            for number, text in enumerate(some):
                record = {"id": str(number), "text": text.replace("\\n", " "), "source": name}
                out.write(json.dumps(record) + "\\n")
    def run(name, read_only):
        ngrams = {"ngram_length": 13, "stride": 1, "overlap_threshold": 0.0, "skip_short_paragraphs": True}
        dolma.deduper_entrypoint(json.dumps({
            "documents": [f"{folder}/{name}/documents/*.gz"],
            "work_dir": {"input": f"{folder}/in", "output": f"{folder}/out"},
            "dedupe": {
                "name": "found", "skip_empty": True,
                "paragraphs": {"attribute_name": "found", "by_ngram": ngrams},
            },
            "bloom_filter": {
                "file": f"{folder}/bloom", "read_only": read_only, "size_in_bytes": 1 << 20,
                "estimated_doc_count": 100_000, "desired_false_positive_rate": 1e-9,
            },
            "processes": 1,
        }))
    run("items", False)
    started = used()
    run("texts", True)
    seconds = used() - started
    found = 0
    for path in Path(folder, "texts/attributes/found").glob("*.gz"):
        for line in gzip.open(path, "rt"):
            found += any(span[2] > 0 for span in json.loads(line)["attributes"].get("found", []))
    print(seconds, found)
"""

CUVEE = """
import json, sys, time
import pyarrow as pa
from udfs.text.contamination import Filter
from udfs.text.ngrams import ngrams
texts, items = (json.load(open(path)) for path in sys.argv[1:])
known = Filter.of({"gsm8k": {gram for some in ngrams(items) for gram in some}})
column = pa.array(texts, pa.large_string())
known.scan(column.slice(0, 100))
started = time.process_time()
found = sum(quotes is not None for quotes in known.scan(column))
print(time.process_time() - started, found)
"""

SCRIPTS = {"cuvee": CUVEE, "datatrove": DATATROVE, "dolma": DOLMA}


def texts(megabytes: float) -> list[str]:
    """Documents of the shared test data, a number before each, until there are so many bytes."""
    found: list[str] = []
    size = 0
    while size < megabytes * 1e6:
        for folder in ("domains", "web"):
            for path in sorted((DATA / folder).glob("*.jsonl.gz")):
                with gzip.open(path) as lines:
                    for line in lines:
                        text = json.loads(line).get("text")
                        if isinstance(text, str) and size < megabytes * 1e6:
                            found.append(f"{len(found)} {text}")
                            size += len(text.encode())
    return found


def measure(script: str, python: Path, inputs: list[Path]) -> tuple[float, int]:
    """Seconds and documents found."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([python, "-c", script, *inputs], capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    seconds, found = done.stdout.split()[-2:]
    return float(seconds), int(found)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=24)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    pythons = {"cuvee": Path(sys.executable), "datatrove": peer("datatrove"), "dolma": peer("dolma")}
    with tempfile.TemporaryDirectory() as folder:
        inputs = [Path(folder) / "texts.json", Path(folder) / "items.json"]
        some = texts(arguments.megabytes)
        inputs[0].write_text(json.dumps(some))
        lines = (DATA / "benchmarks" / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()
        inputs[1].write_text(json.dumps([json.loads(line)["question"] for line in lines]))
        megabytes = sum(len(text.encode()) for text in some) / 1e6
        started = time.perf_counter()
        best: dict[str, tuple[float, int]] = {}
        for _ in range(arguments.rounds):
            for name, python in pythons.items():
                if python:
                    result = measure(SCRIPTS[name], python, inputs)
                    best[name] = min(best.get(name, result), result)
        print(f"{megabytes:.0f} MB, {len(some):,} texts, {time.perf_counter() - started:.0f} s in all")
        for name, (seconds, found) in best.items():
            ratio = "" if name == "cuvee" else f"   cuvee is {seconds / best['cuvee'][0]:.1f}x as fast"
            print(f"{name:10}{megabytes / seconds:8.1f} MB/s on one core, {found} found{ratio}", flush=True)


if __name__ == "__main__":
    main()
