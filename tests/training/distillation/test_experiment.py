"""What distillation must show: two students of some 1M parameters learn 20,000 passages' domain and length.

Run by `make prove`, or alone: CUVEE_PROVE=1 pytest -s -k test_students_agree_with_the_truth
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

from tests.helpers import RECIPES, ROOT
from tests.training.distillation.passages import cut, judge, load, make_project
from training.cli.distil import distil
from udfs.expensive import INPUT_SCHEMA
from udfs.labels.labeler import Labeler
from udfs.labels.labelers.labeler_registry import LabelerRegistry
from warehouse.lake.lake import Lake
from warehouse.mixtures.tokenizers import TokenizerCorpus
from warehouse.mixtures.tokenizers import train as train_tokenizer

#: The tiny recipes, with what this experiment has another of.
SETTINGS = ("teacher=truth", "taxonomy=passages", "student.tokenizer=passages", "tokens=4M", "batch_tokens=4096")
STUDENTS = {
    "writer": ("distil_tiny_generative", ("name=writer", "max_tokens=24", "student.backend=transformers")),
    "chooser": ("distil_tiny_heads", ("name=chooser",)),
}

VLLM = """
taxonomy: passages
backend: vllm
model: {folder: writer, dtype: float32}
prompt: {system: taxonomy, user: "{{ text }}"}
generation: {max_tokens: 24}
document: {tokens: 488}
engine: {memory: 0.1}
"""


def invoke(folder: Path, name: str, *options: str) -> str:
    recipe, own = STUDENTS[name]
    places = [
        "--lake",
        str(folder / "lake"),
        "--project-dir",
        str(folder / "sql"),
        "--out",
        str(folder / "runs" / name),
    ]
    settings = [option for setting in (*SETTINGS, *own) for option in ("--set", setting)]
    path = str(RECIPES / f"{recipe}.yaml")
    return CliRunner().invoke(distil, [path, *places, *settings, *options], catch_exceptions=False).stdout


def documents_a_second(labeler: Labeler, keys: Sequence[str], texts: Sequence[str]) -> float:
    """With the model loaded, from texts to verdicts."""

    def label(n: int) -> int:
        rows = pa.record_batch([pa.array(keys[:n]), pa.array(texts[:n])], schema=INPUT_SCHEMA)
        return sum(len(verdicts.keys) for verdicts in labeler.label(iter([rows])))

    label(16)
    start = perf_counter()
    assert label(len(keys)) == len(keys)
    return len(keys) / (perf_counter() - start)


def label_with_vllm(folder: Path, vllm_bin: Path) -> None:
    """Label the held-out passages by the backend vllm, in its own environment, as the labeler writer_vllm."""
    project = folder / "sql"
    (project / "labelers" / "writer_vllm.yml").write_text(VLLM)
    sql = (project / "models" / "by_writer.sql").read_text()
    (project / "models" / "by_writer_vllm.sql").write_text(sql.replace("'writer'", "'writer_vllm'"))
    done = subprocess.run(
        [
            vllm_bin / "cuvee", "build", "--select", "by_writer_vllm", "--project-dir", project,
            "--lake", folder / "lake",
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]


def served(folder: Path, vllm_bin: Path) -> dict[str, Any]:
    """Kappas, speeds and how often vLLM says otherwise, of students that are trained."""
    lake, project = Lake.open(folder / "lake"), folder / "sql"
    kappas = {name: judge(lake, project, name) for name in STUDENTS}
    query = "select doc_id, text from raw.documents where doc_id in (from evaluation_documents) order by doc_id"
    keys, texts = zip(*lake.reader().execute(query).fetchall(), strict=True)
    catalogue = LabelerRegistry((project,))
    speeds = {name: documents_a_second(catalogue.get(name), keys, texts) for name in STUDENTS}
    label_with_vllm(folder, vllm_bin)
    both, same = lake.reader().execute(
        "select count(*), count(*) filter (t.domain = v.domain and t.length = v.length and t.raw = v.raw)"
        " from labels.passages as t join labels.passages as v using (doc_id)"
        " where t.labeler = 'writer' and v.labeler = 'writer_vllm'"
    ).fetchone() or (0, 0)  # fmt: skip
    return {
        "kappas": kappas, "documents/s": speeds, "held out": len(keys), "by vllm": both, "same by vllm": same,
    }  # fmt: skip


@pytest.mark.prove
@pytest.mark.timeout(7200)
def test_students_agree_with_the_truth(shared_data: Path, tmp_path: Path, vllm_bin: Path) -> None:
    lake = Lake.create(tmp_path / "lake")
    passages = list(cut(shared_data, 60))
    load(lake, make_project(tmp_path / "sql", 0.1), tmp_path, passages)
    train_tokenizer(lake, "passages", TokenizerCorpus("distillation_documents", 10**8), 4096)
    plans, seconds = {}, {}
    for name in STUDENTS:
        plans[name] = json.loads(invoke(tmp_path, name, "--plan", "--json"))
        start = perf_counter()
        invoke(tmp_path, name)
        seconds[name] = perf_counter() - start
    found = served(tmp_path, vllm_bin)
    parameters = {name: plan["parameters"] for name, plan in plans.items()}
    print(json.dumps({"passages": len(passages), "parameters": parameters, "seconds": seconds, **found}, indent=1))
    assert len(passages) > 20_000
    assert max(parameters.values()) <= 3_000_000
    assert max(seconds.values()) < 1800
    assert min(kappa for kappas in found["kappas"].values() for kappa in kappas.values()) >= 0.8
    assert found["same by vllm"] == found["by vllm"] == found["held out"]
    assert found["documents/s"]["chooser"] > 5 * found["documents/s"]["writer"]
