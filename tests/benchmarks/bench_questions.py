"""The twelve questions of docs/questions.md, on rows in the schema of Essential-Web, each as a whole command.

    python tests/benchmarks/bench_questions.py [--rows 200000] [--rounds 2]

The rows are made here: texts of 120 words on average, codes drawn from the taxonomy, four crawls, 2,000 hosts, two
files that are two sources; two people label 2,000 documents. Ingest and build are timed once; each question is the best
of the rounds, from the start of the process to its end, with its characters.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from warehouse.ingest.formats.essential_web import FIELDS  # noqa: E402


def essential_web(first: int, rows: int, codes: dict[str, list[str]]) -> pa.Table:
    """Return rows in the published schema, the same for the same numbers."""
    chance = random.Random(first)
    words = [f"{a}{b}{c}" for a in ("ba", "ke", "lo", "mi", "nu") for b in "rstlnm" for c in ("a", "en", "ing", "o")]
    words += ["the", "of", "and", "to", "a", "in", "is", "that"] * 8

    def pair(name: str) -> dict[str, object]:
        primary, secondary = chance.choice(codes[name]), chance.choice([*codes[name], "-1"])
        return {"primary": {"code": primary, "label": ""}, "secondary": {"code": secondary, "label": ""}}

    made = [
        {
            "id": first + number,
            "text": " ".join(chance.choices(words, k=chance.randint(20, 220))) + f". {first + number}",
            "pid": "p",
            "metadata": {
                "url": f"https://host-{int(chance.paretovariate(1)) % 2000}.org/{first + number}",
                "snapshot_id": f"CC-MAIN-2024-{10 + 10 * (number % 4)}",
                "warc_metadata": {"WARC-Date": f"2024-{1 + number % 12:02}-15T00:00:00Z"},
            },
            "quality_signals": {"fasttext": {"dclm": chance.random(), "english": chance.random()}},
            "eai_taxonomy": {name: pair(name) for name in FIELDS},
        }
        for number in range(rows)
    ]
    return pa.Table.from_pylist(made)


def codes() -> dict[str, list[str]]:
    """Return the codes of each field of the taxonomy, without the abstention."""
    found = defaultdict(list)
    with (ROOT / "sql/seeds/taxonomy.csv").open(newline="") as rows:
        for row in csv.DictReader(rows):
            if row["category"] in FIELDS and row["code"] != "-1":
                found[row["category"]].append(row["code"])
    return found


def cuvee(folder: Path, *words: str) -> float:
    """Run a command that must succeed; returns its seconds."""
    started = time.perf_counter()
    command = [sys.executable, "-c", "from warehouse.cli.main import main; main()", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{words} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return time.perf_counter() - started


def prepare(folder: Path, rows: int) -> None:
    """Write the corpus and two people's labels, ingest them, build, and print the seconds."""
    drawn = codes()
    for number, source in enumerate(("web", "books")):
        pq.write_table(essential_web(number * rows, rows // 2, drawn), folder / f"{source}.parquet")
    urls = pq.read_table(folder / "web.parquet", columns=["metadata"])["metadata"].slice(0, 2000).to_pylist()
    for person in ("ada", "bob"):
        chance = random.Random(person)
        lines = [f"{row['url']},{chance.choice(drawn['education_level'])}" for row in urls]
        (folder / f"{person}.csv").write_text("\n".join(["url,education_level", *lines]) + "\n")
    cuvee(folder, "init")
    print(f"ingest  {cuvee(folder, 'ingest', 'web.parquet', 'books.parquet'):8.2f} s")
    for person in ("ada", "bob"):
        cuvee(folder, "ingest", "--labels", f"{person}.csv", "--labeler", person)
    print(f"build   {cuvee(folder, 'build'):8.2f} s")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    page = (ROOT / "docs/questions.md").read_text()
    questions = re.findall(r"^ +`(.+)`$", page, re.MULTILINE)
    with tempfile.TemporaryDirectory() as given:
        folder = Path(given)
        prepare(folder, arguments.rows)
        print("question  characters  seconds")
        for number, question in enumerate(questions, 1):
            command = shlex.split(question)[1:] if question.startswith("cuvee ") else ["sql", "--quiet", question]
            best = min(cuvee(folder, *command) for _ in range(arguments.rounds))
            print(f"{number:8}  {len(question):10}  {best:7.2f}")


if __name__ == "__main__":
    main()
