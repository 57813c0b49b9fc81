"""What labelling costs beside vLLM: documents a second from a lake to committed labels, against bare LLM.generate.

    python tests/benchmarks/bench_vllm.py [--documents 2000] [--rounds 2]

A Qwen2 of two small layers decodes so fast that what is around the engine shows. Both sides run in processes of the
vLLM environment (``CUVEE_VLLM``, else ``.venv-vllm``), one after the other, with the same prompts, sampling, structured
output and engine settings. Bare is the call of ``LLM.generate`` alone, its prompts prepared; ours is all from the first
document read from the lake to the commit of the last label. The engine starts before the clock and stops after it, for
both.
Memory is the peak of the process that calls the engine, which computes in processes of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.real_texts import real_texts  # noqa: E402

PYTHON = Path(os.environ.get("CUVEE_VLLM", ROOT / ".venv-vllm")) / "bin" / "python"

LABELER = """
backend: vllm
model: {folder: model, dtype: float32}
prompt: {system: taxonomy, user: "{{ text }}"}
generation: {max_tokens: 80, structured: true}
document: {characters: 1200, tokens: 1900}
engine: {eager: true, memory: 0.1}
"""


def texts(count: int) -> list[str]:
    """Documents of the shared data, each different."""
    found = real_texts()
    return [f"{n} {found[n % len(found)]}" for n in range(count)]


def prepare(folder: Path, documents: list[str]) -> None:
    """A lake with the documents, and a project with a labeler and its model."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from tests.udfs.labels.tiny_qwen import make_tokenizer
    from udfs.labels.chat import ChatFormat
    from warehouse.lake.lake import Lake

    project = folder / "sql"
    for part in ("models", "seeds", "labelers"):
        (project / part).mkdir(parents=True)
    for name in ("taxonomy.csv", "fdc.csv"):
        (project / "seeds" / name).write_bytes((ROOT / "sql" / "seeds" / name).read_bytes())
    (project / "dbt_project.yml").write_text("name: bench\nversion: '1'\nmodels: {+materialized: table}\n")
    (project / "labelers" / "tiny.yml").write_text(LABELER)
    (project / "models" / "labelled.sql").write_text(
        "select doc_id, label_document(text, 'tiny') as label from raw.documents"
    )
    model = project / "labelers" / "model"
    make_tokenizer(model, documents[:300], vocab_size=8192)
    torch.manual_seed(7)
    config = Qwen2Config(
        vocab_size=8192 + 16, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=4096, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=ChatFormat(model).end,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(model)

    keys = [hashlib.sha256(text.encode()).hexdigest()[:32] for text in documents]
    sizes = pa.array(map(len, documents), pa.int64())
    table = pa.table({"doc_id": keys, "text": documents, "n_chars": sizes, "first_file_id": ["bench"] * len(keys)})
    lake = Lake.create(folder / "lake")
    with lake.staging() as staging:
        path = staging.file("raw.documents")
        pq.write_table(table, path, compression="zstd")
        with lake.commit("documents", author="bench") as commit:
            commit.add("raw.documents", [path])


def ours(folder: Path) -> dict[str, float]:
    """From the lake to committed labels."""
    from udfs.labels.backends import engine
    from warehouse.build import build
    from warehouse.lake.lake import Lake

    opened: list[float] = []
    start_engine = engine.open_engine

    def timed(spec: Any) -> Any:
        engine = start_engine(spec)
        opened.extend((time.time(), time.process_time()))
        return engine

    engine.open_engine = timed
    lake = Lake.open(folder / "lake")
    results = build.build(lake, folder / "sql")
    cpu = time.process_time() - opened[1]
    assert not [result for result in results if result.failed], results
    query = "select epoch(max(snapshot_time)) from lake.snapshots() where commit_message like 'answers%'"
    last = lake.cursor().execute(query).fetchone()
    assert last is not None
    seconds = last[0] - opened[0]
    query = "select count(*), count(*) filter (status = 'ok') from lake.labels.eai"
    row = lake.cursor().execute(query).fetchone()
    assert row is not None
    return {"documents": row[0], "ok": row[1], "seconds": seconds, "cpu": cpu}


def bare(folder: Path) -> dict[str, float]:
    """The same prompts, by LLM.generate."""
    from udfs.labels.backends import vllm as backend
    from udfs.labels.labelers.labeler_registry import LabelerRegistry
    from udfs.labels.labelers.prompted import PromptedLabeler
    from warehouse.lake.lake import Lake

    labeler = LabelerRegistry((folder / "sql",)).get("tiny")
    assert isinstance(labeler, PromptedLabeler)
    spec = labeler.spec
    assert spec.model is not None
    for name, value in backend.ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from vllm import LLM, SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    from udfs.labels.chat import ChatFormat
    from udfs.labels.labelers.prompt_batch import PromptMaker

    rows = Lake.open(folder / "lake").cursor().execute("select doc_id, text from lake.raw.documents").fetchall()
    chat = ChatFormat(spec.model.folder or Path())
    asked = PromptMaker(spec, chat).batch([key for key, _ in rows], [text for _, text in rows])
    llm = LLM(
        model=spec.model.source,
        dtype=spec.model.dtype,
        max_model_len=spec.input_tokens + spec.generation.max_tokens,
        enforce_eager=True,
        use_tqdm_on_load=False,
        **backend.memory(spec.engine),
    )
    pattern = StructuredOutputsParams(regex=spec.passes[0].codec.pattern)
    parameters = SamplingParams(max_tokens=spec.generation.max_tokens, temperature=0, structured_outputs=pattern)
    start, cpu = time.perf_counter(), time.process_time()
    answers = llm.generate([{"prompt_token_ids": each.tokens} for each in asked.prompts], parameters, use_tqdm=False)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {"documents": len(answers), "ok": len(answers), "seconds": seconds, "cpu": cpu}


def run(side: str, folder: Path) -> dict[str, float]:
    """One side, in a process of the vLLM environment."""
    done = subprocess.run(
        [PYTHON, __file__, "--side", side, "--folder", folder],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--side", choices=["bare", "ours"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        found = (bare if options.side == "bare" else ours)(options.folder)
        # Not ru_maxrss, which a process inherits from the one that starts it.
        status = Path("/proc/self/status").read_text()
        found["memory"] = int(status.partition("VmHWM:")[2].split()[0]) / 1024
        print(json.dumps(found), flush=True)
        return
    best: dict[str, dict[str, float]] = {}
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            prepare(Path(folder), texts(options.documents))
            for side in ("bare", "ours"):
                found = run(side, Path(folder))
                assert found["documents"] == options.documents
                print(
                    f"  {side}: {found['documents'] / found['seconds']:,.1f} documents/s; the process that calls the"
                    f" engine took {1000 * found['cpu'] / found['documents']:.2f} ms of CPU a document and"
                    f" {found['memory']:,.0f} MB",
                    flush=True,
                )
                if side not in best or found["seconds"] < best[side]["seconds"]:
                    best[side] = found
    ratio = best["bare"]["seconds"] / best["ours"]["seconds"]
    more = best["ours"]["memory"] - best["bare"]["memory"]
    print(f"{options.documents:,} documents, {best['ours']['ok']:,} of them labelled in full")
    print(f"lake → committed labels at {ratio:.3f} times the speed of LLM.generate (at least 0.95 wanted)")
    print(f"the labelling process took {more:+,.0f} MB beside the one that calls LLM.generate (below 500 wanted)")
    sys.exit(ratio < 0.95 or more > 500)


if __name__ == "__main__":
    main()
