"""A Composer checkpoint as a folder that transformers loads."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.helpers import HELD_OUT, anneal, cuvee
from warehouse.lake.lake import Lake

pytest.importorskip("composer")
torch = pytest.importorskip("torch")


def test_a_decoder_loads_and_has_the_loss_that_the_run_measured(place: Path) -> None:
    import transformers

    done = cuvee(place, "checkpoint", "export", "runs/decoder/control-1", "models/decoder")
    assert done.returncode == 0, done.stderr
    assert "ModernBertDecoderForCausalLM of tiny-control-1-" in done.stdout
    folder = place / "models" / "decoder"
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
    tokens = torch.from_numpy(HELD_OUT)
    with torch.no_grad():
        loss = model(input_ids=tokens, labels=tokens).loss.item()
    lake = Lake.open(place / "lake")
    ((run_id, measured),) = (
        lake.reader()
        .execute(
            "select run_id, arg_max(value, batch) from runs.metrics join runs.runs using (run_id)"
            " where name = 'held_out/loss' and arm = 'control' and (config->>'$.model.kind') = 'decoder'"
            " group by run_id"
        )
        .fetchall()
    )
    assert loss == pytest.approx(measured, abs=1e-5)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    from udfs.tokens.tokenizer import Tokenizer

    text = "abcde fedcb\n"
    assert tokenizer(text).input_ids == Tokenizer(place / "lake" / "tokenizers" / "t").encode_batch([text])[0].tolist()
    assert (tokenizer.eos_token_id, len(tokenizer)) == (0, 300)
    card = (folder / "README.md").read_text()
    for shown in (
        run_id,
        "| mixture fingerprint | baseline-fingerprint |",
        f"| common | {measured:.4f} |",
        "2,048 tokens",
    ):
        assert shown in card


def test_an_encoder_loads_with_its_mask_token(place: Path) -> None:
    import transformers

    checkpoint = place / "runs/encoder/trunk-17/checkpoints/ba000000000008.pt"
    done = cuvee(place, "checkpoint", "export", str(checkpoint), "models/encoder", "--json")
    assert done.returncode == 0, done.stderr
    folder = place / "models" / "encoder"
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder, local_files_only=True)
    saved = torch.load(checkpoint, weights_only=False)["state"]["model"]
    assert {f"scorer.model.{name}" for name in model.state_dict()} == set(saved)
    assert all(torch.equal(tensor, saved[f"scorer.model.{name}"]) for name, tensor in model.state_dict().items())
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert (tokenizer.mask_token_id, model.config.vocab_size) == (300, 301)
    guess = transformers.pipeline("fill-mask", model=model, tokenizer=tokenizer)(f"abc {tokenizer.mask_token} abc")
    assert len(guess) == 5


def test_an_encoder_learns_and_resumes_with_the_same_masks(place: Path) -> None:
    query = (
        "select arm, batch, name, value from runs.metrics join runs.runs using (run_id)"
        " where (config->>'$.model.kind') = 'encoder' and name not like 'speed/%' order by all"
    )
    lake = Lake.open(place / "lake")
    before = lake.reader().execute(query).fetchall()
    losses = [value for arm, _, name, value in before if (arm, name) == ("trunk", "train/loss")]
    assert losses[0] == pytest.approx(np.log(301), abs=0.3)  # nothing is known yet
    assert losses[-1] < losses[0] - 0.1
    with lake.commit("forget", author="test") as commit:
        for table in ("metrics", "batches", "checkpoints", "runs"):
            chosen = "select run_id from runs.runs where arm = 'control' and (config->>'$.model.kind') = 'encoder'"
            commit.sql(f"delete from runs.{table} where run_id in ({chosen})")
    (place / "runs/encoder/control-1/checkpoints/ba000000000004.pt").unlink()
    done = anneal(place, "encoder")
    assert done.returncode == 0, done.stderr
    assert Lake.open(place / "lake").reader().execute(query).fetchall() == before


#: Tokens that vLLM chooses after each prompt, or an encoder's states, as JSON on the last line.
ASK_VLLM = """
import json, sys
from vllm import LLM, SamplingParams
from vllm.config import PoolerConfig
if __name__ == "__main__":
    folder, kind, prompts = sys.argv[1], sys.argv[2], [{"prompt_token_ids": ids} for ids in json.loads(sys.argv[3])]
    own = {} if kind == "decoder" else {"runner": "pooling", "pooler_config": PoolerConfig(task="token_embed")}
    llm = LLM(folder, dtype="float32", enforce_eager=True, max_model_len=32, gpu_memory_utilization=0.1, **own)
    if kind == "decoder":
        found = llm.generate(prompts, SamplingParams(temperature=0, max_tokens=8, ignore_eos=True), use_tqdm=False)
        answer = [list(one.outputs[0].token_ids) for one in found]
    else:
        answer = [one.outputs.data.tolist() for one in llm.encode(prompts, pooling_task="token_embed", use_tqdm=False)]
    print(json.dumps(answer), flush=True)
"""


def ask_vllm(vllm_bin: Path, folder: Path, kind: str, prompts: list[list[int]]) -> Any:
    script = folder.parent / "ask.py"
    script.write_text(ASK_VLLM)
    command = [vllm_bin / "python", script, folder, kind, json.dumps(prompts)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    answers = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert answers, done.stderr[-4000:]  # its threads may abort the process at its end: not its exit status
    return json.loads(answers[-1])


@pytest.mark.prove
def test_vllm_writes_with_a_causal_model_of_its_own_kind(place: Path, vllm_bin: Path) -> None:
    """vLLM has no ModernBERT decoder; a decoder that is to be served begins as one that it has."""
    import transformers

    config = transformers.Qwen2Config(
        vocab_size=300, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    transformers.Qwen2ForCausalLM(config).save_pretrained(place / "qwen2")
    done = anneal(place, "decoder", "served", "model={folder: qwen2}")
    assert done.returncode == 0, done.stderr
    done = cuvee(place, "checkpoint", "export", "runs/served/control-1", "models/served")
    assert done.returncode == 0, done.stderr
    folder = place / "models" / "served"
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
    prompts = HELD_OUT[:4, :16].tolist()
    with torch.no_grad():
        written = model.generate(torch.tensor(prompts), max_new_tokens=8, min_new_tokens=8, do_sample=False)
    assert ask_vllm(vllm_bin, folder, "decoder", prompts) == written[:, 16:].tolist()


@pytest.mark.prove
def test_vllm_reads_with_an_encoder(place: Path, vllm_bin: Path) -> None:
    import transformers

    done = cuvee(place, "checkpoint", "export", "runs/encoder/control-1", "models/read", "--without-head")
    assert done.returncode == 0, done.stderr
    folder = place / "models" / "read"
    model = transformers.AutoModel.from_pretrained(folder, local_files_only=True).eval()
    prompts = HELD_OUT[:4, :16].tolist()
    with torch.no_grad():
        states = torch.nn.functional.normalize(model(torch.tensor(prompts)).last_hidden_state, dim=-1)
    assert torch.allclose(torch.tensor(ask_vllm(vllm_bin, folder, "encoder", prompts)), states, atol=1e-4)


def test_mistakes_are_told(place: Path, tmp_path: Path) -> None:
    nothing = cuvee(place, "checkpoint", "export", "runs/nowhere", str(tmp_path / "out"))
    assert nothing.returncode == 2
    assert "no checkpoint in runs/nowhere" in nothing.stderr
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    full = cuvee(place, "checkpoint", "export", "runs/decoder/control-1", str(tmp_path / "full"))
    assert full.returncode == 2
    assert "exists" in full.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
