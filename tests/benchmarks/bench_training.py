"""Tokens per second of a whole run under Composer's Trainer, beside a bare PyTorch loop with the same model.

    python tests/benchmarks/bench_training.py [--steps 12] [--threads 2]

On the CPU every step of the Trainer (streaming, provenance, measurements, progress; no evaluation, no checkpoint) is
followed by one step of the bare loop: the same model and threads, batches loaded and collated beforehand, torch's
AdamW. The ratio is the median over these pairs, by the clock and by the processor's seconds: other work on the machine
counts in the former. Goal: at least 0.95.

With a GPU, Ettin's decoders 150m and 400m instead, at 1,024 and 8,192 tokens in bf16: the Trainer's tokens per second
and its share of the chip's peak (``--peak`` FLOP/s; 6 N D, and 6 width length D for each global layer's causal
attention); documents one to a row, padded, in a bare loop, and in transformers' Trainer where accelerate is installed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from training.checkpoint.quiet import silence  # noqa: E402

silence()

import numpy as np  # noqa: E402
import torch  # noqa: E402

from tests.training.tiny_sweep import Part, write_export  # noqa: E402
from training.checkpoint.models import SUITE_VOCABULARY, attention, count_parameters, make  # noqa: E402
from training.recipe.exports import Export, Reading  # noqa: E402
from training.recipe.recipe import Recipe  # noqa: E402
from training.recipe.settings import Evaluation, ModelSettings, OptimizerSettings, Trunk, suite  # noqa: E402
from training.run import run  # noqa: E402
from training.run.objectives import LanguageModel, objective  # noqa: E402
from warehouse.lake.lake import Lake  # noqa: E402

END_OF_TEXT = 0
WARMUP = 3


def recipe(model: ModelSettings, batch_tokens: int, microbatch: int, precision: Any = "fp32") -> Recipe:
    """Everything that ``run.train`` asks a recipe for; nothing is evaluated or saved before the end."""
    return Recipe(
        name="bench",
        model=model,
        trunk=Trunk("m", learning_rate=1e-3),
        evaluation=Evaluation("m", samples=1),
        batch_tokens=batch_tokens,
        microbatch=microbatch,
        optimizer=OptimizerSettings(clip_norm=1.0),
        precision=precision,
    )


def documents(length: int, vocabulary: int) -> Iterator[np.ndarray]:
    """Documents of log-normal lengths (median 400 tokens), each with its end of text, none longer than ``length``."""
    random = np.random.default_rng(0)
    while True:
        size = int(np.clip(random.lognormal(6.0, 1.0), 16, length))
        yield np.append(random.integers(1, vocabulary, size - 1), END_OF_TEXT)


def packed(length: int, sequences: int, vocabulary: int) -> np.ndarray:
    """Sequences of ``length`` tokens, filled with documents end to end."""
    stream, filled = [], 0
    for document in documents(length, vocabulary):
        stream.append(document)
        filled += len(document)
        if filled >= length * sequences:
            return np.concatenate(stream)[: length * sequences].reshape(sequences, length)
    raise AssertionError


def export(folder: Path, length: int, sequences: int, vocabulary: int) -> Export:
    """Packed sequences as ``cuvee export`` leaves them."""
    rows = packed(length, sequences, vocabulary)
    return Export(
        folder, write_export(Lake.create(folder / "lake"), folder, "m", {"c": Part(rows)}, vocabulary=vocabulary)
    )


class Seconds(NamedTuple):
    """How long something took, by the clock and by the processor (all threads)."""

    wall: float
    processor: float


def now() -> Seconds:
    """The two clocks."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return Seconds(time.perf_counter(), time.process_time())


def since(begin: Seconds) -> Seconds:
    """The seconds that have passed."""
    end = now()
    return Seconds(end.wall - begin.wall, end.processor - begin.processor)


class Steps:
    """Progress that times the Trainer's steps, and lets something else run between them."""

    def __init__(self, between: Callable[[], Seconds] | None = None) -> None:
        self._between = between
        self._from: Seconds | None = None
        self.trainer: list[Seconds] = []
        self.other: list[Seconds] = []

    def advance(self, amount: float = 1, note: str | None = None) -> None:
        """A step has ended (the first call comes before the first step)."""
        if self._from is not None:
            self.trainer.append(since(self._from))
        if self._between is not None:
            self.other.append(self._between())
        self._from = now()


def trained(found: Export, settings: Recipe, steps: int, progress: Steps) -> None:
    """A whole run of ``steps``, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        run.train(run.Job(Path(folder) / "run", (Reading(found, steps),), found, steps, 1, None), settings, progress)


def bare(ours: LanguageModel, settings: Recipe, batches: list[Any]) -> Callable[[], Seconds]:
    """One step of a plain loop, and its seconds."""
    optimizer = torch.optim.AdamW(ours.parameters(), lr=1e-3, betas=(0.9, 0.98), eps=1e-6, weight_decay=1e-5)
    turn = iter(range(10**9))

    def step() -> Seconds:
        batch = batches[next(turn) % len(batches)]
        begin = now()
        optimizer.zero_grad()
        prepared = ours.prepare(batch, 0)
        size = settings.microbatch or len(batch["input_ids"])
        for start in range(0, len(batch["input_ids"]), size):
            part = {key: value[start : start + size] for key, value in prepared.items()}
            (ours.loss(ours(part), part) * len(part["inputs"]) / len(batch["input_ids"])).backward()
        torch.nn.utils.clip_grad_norm_(ours.parameters(), 1.0)
        optimizer.step()
        return since(begin)

    return step


def cpu(steps: int) -> None:
    """The Trainer beside the bare loop, step by step."""
    length, sequences, vocabulary = 256, 8, 8192
    settings = recipe(ModelSettings(layers=6, hidden=256, intermediate=384, heads=4), length * sequences, sequences)
    with tempfile.TemporaryDirectory() as folder:
        found = export(Path(folder), length, sequences * (steps + WARMUP + 1), vocabulary)
        rows = torch.from_numpy(packed(length, sequences * 4, vocabulary).astype(np.int64))
        batches = [{"input_ids": part, "sample_ids": torch.arange(sequences)} for part in rows.split(sequences)]
        model = make(settings.model, vocabulary, length, end_of_text=END_OF_TEXT)
        progress = Steps(bare(objective(model, settings, vocabulary, END_OF_TEXT, 1), settings, batches))
        trained(found, settings, steps + WARMUP, progress)
    ours, theirs = progress.trainer[WARMUP:], progress.other[WARMUP:-1]
    tokens = length * sequences
    print(f"{steps} steps of {tokens:,} tokens, {torch.get_num_threads()} threads, model of 6 layers, width 256")
    for kind in Seconds._fields:
        mine, bare_loop = ([getattr(one, kind) for one in part] for part in (ours, theirs))
        ratio = statistics.median(other / one for one, other in zip(mine, bare_loop, strict=True))
        print(
            f"  by the {kind}: {statistics.median(mine):.2f} s a step, bare loop {statistics.median(bare_loop):.2f} s;"
            f" Trainer {tokens / statistics.median(mine):,.0f} tokens/s, {ratio:.3f} x of the bare loop (goal 0.95)"
        )


def gpu(steps: int, peak: float) -> None:
    """Ettin on a GPU: the Trainer on packed documents, padded documents, transformers' Trainer."""
    from transformers.utils.import_utils import is_accelerate_available

    for size, length in ((size, length) for size in ("150m", "400m") for length in (1024, 8192)):
        microbatch = 65_536 // length
        sequences = 4 * microbatch
        settings = recipe(ModelSettings(size=size), sequences * length, microbatch, "amp_bf16")
        sizes = suite()[size]
        with tempfile.TemporaryDirectory() as folder:
            found = export(Path(folder), length, sequences * (steps + WARMUP + 1), SUITE_VOCABULARY)
            progress = Steps()
            trained(found, settings, steps + WARMUP, progress)
        speed = sequences * length / statistics.median(step.wall for step in progress.trainer[WARMUP:])
        weights = count_parameters(sizes, SUITE_VOCABULARY).total
        flops = 6 * weights + 6 * sizes.layers * sizes.hidden * length / sizes.global_every
        print(f"{size} at {length:,}: {speed:,.0f} tokens/s packed, {flops * speed / peak:.1%} of the peak")
        rows, useful = padded(length, sequences)
        speed_padded = useful / padded_step(settings, rows, length, steps)
        print(f"  padded, documents' own tokens: {speed_padded:,.0f} tokens/s; packed {speed / speed_padded:.2f} x")
        if is_accelerate_available():
            theirs = useful / transformers_step(settings, rows, length, steps)
            print(f"  transformers' Trainer, the same rows: {theirs:,.0f} tokens/s; ours {speed / theirs:.2f} x")


def padded(length: int, sequences: int) -> tuple[list[dict[str, Any]], int]:
    """``sequences`` documents, one to a row of ``length``, and how many tokens they have together."""
    rows, useful = [], 0
    for document, _ in zip(documents(length, SUITE_VOCABULARY), range(sequences), strict=False):
        rest = length - len(document)
        rows.append(
            {
                "input_ids": np.pad(document, (0, rest)),
                "attention_mask": np.pad(np.ones(len(document), np.int64), (0, rest)),
                "labels": np.pad(document, (0, rest), constant_values=-100),
            }
        )
        useful += len(document)
    return rows, useful


def padded_step(settings: Recipe, rows: list[dict[str, Any]], length: int, steps: int) -> float:
    """Seconds of a bare loop's step over padded rows."""
    assert settings.microbatch
    how = attention(settings.precision)
    model = make(settings.model, SUITE_VOCABULARY, length, end_of_text=END_OF_TEXT, attention=how).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    batch = {key: torch.from_numpy(np.stack([row[key] for row in rows])).cuda() for key in rows[0]}
    times = []
    for _ in range(steps + WARMUP):
        begin = now()
        for start in range(0, len(rows), settings.microbatch):
            part = {key: value[start : start + settings.microbatch] for key, value in batch.items()}
            with torch.autocast("cuda", dtype=torch.bfloat16):
                loss = model(**part, use_cache=False).loss
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(since(begin).wall)
    return statistics.median(times[WARMUP:])


def transformers_step(settings: Recipe, rows: list[dict[str, Any]], length: int, steps: int) -> float:
    """Seconds of a step of transformers' Trainer over padded rows."""
    import transformers

    class Clock(transformers.TrainerCallback):  # type: ignore[misc]
        """When each step ended."""

        times: list[float] = []  # noqa: RUF012

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.times.append(now().wall)

    assert settings.microbatch
    how = attention(settings.precision)
    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=settings.microbatch,
            gradient_accumulation_steps=len(rows) // settings.microbatch,
            max_steps=steps + WARMUP,
            bf16=True,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        clock = Clock()
        transformers.Trainer(
            model=make(settings.model, SUITE_VOCABULARY, length, end_of_text=END_OF_TEXT, attention=how),
            args=arguments,
            train_dataset=rows * (steps + WARMUP),
            callbacks=[clock],
        ).train()
    return statistics.median(np.diff(clock.times)[WARMUP - 1 :])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument(
        "--peak", type=float, default=989e12, help="the GPU's bf16 FLOP/s without sparsity (H100, H200)"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if torch.cuda.is_available():
        gpu(options.steps, options.peak)
    else:
        cpu(options.steps)


if __name__ == "__main__":
    main()
