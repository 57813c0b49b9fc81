"""Benchmark tasks on local files, through lm-eval: how many questions a checkpoint answers right.

A file is JSON lines, plain or gzip, in one of the forms of llm-foundry's evaluation data; its name is the task's:

    {query, choices, gold}                    the likeliest of the choices
    {context_options, continuation, gold}     the context that makes the continuation likeliest
    {context, continuation}                   the continuation, token by token the likeliest
    {context, answer}                         the answer, generated up to the end of the line
"""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from training.checkpoint.huggingface import export
from training.checkpoint.quiet import silence
from udfs.errors import CuveeError, Location, UsageError
from udfs.model_folders import NO_CODE, SAFE
from warehouse.lake.lake import Lake

#: Names in runs.metrics; the task is under component.
ACCURACY, NORMALIZED = "benchmark/accuracy", "benchmark/accuracy_by_length"

#: The keys of a form, and what lm-eval is to make of it.
_FORMS: Mapping[tuple[str, ...], Mapping[str, Any]] = {
    ("query", "choices", "gold"): {
        "output_type": "multiple_choice",
        # Questions that do not ask for the answer already.
        "doc_to_text": "{{query.rstrip()}}{{'\nAnswer:' if query.startswith('Question:') and"
        " not query.rstrip().endswith('Answer:') else ''}}",
        "doc_to_choice": "choices",
        "doc_to_target": "gold",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    },
    ("context_options", "continuation", "gold"): {
        "output_type": "multiple_choice",
        "doc_to_text": "gold",
        "doc_to_choice": "context_options",
        "doc_to_target": "continuation",
        "metric_list": [{"metric": "acc"}],
    },
    ("context", "continuation"): {
        "output_type": "loglikelihood",
        "doc_to_text": "context",
        "doc_to_target": "{{continuation}}",
        "metric_list": [{"metric": "acc"}],
    },
    ("context", "answer"): {
        "output_type": "generate_until",
        "doc_to_text": "context",
        "doc_to_target": "answer",
        "generation_kwargs": {"until": ["\n"], "do_sample": False},
        "metric_list": [{"metric": "exact_match", "ignore_case": True, "ignore_punctuation": True}],
    },
}


@dataclass(frozen=True, slots=True)
class Score:
    """The share of ``questions`` answered right; ``by_length`` takes each choice's likelihood per byte."""

    task: str
    questions: int
    accuracy: float
    by_length: float | None


def evaluate(
    source: Path, files: Sequence[Path], lake: Lake, *, shots: int = 0, limit: int | None = None, trust: bool = False
) -> list[Score]:
    """Ask a run's last checkpoint, or one of its .pt files, the questions in ``files``, and record the scores.

    ``shots`` solved questions come before each, ``limit`` is how many of a file are asked. ``trust``: see
    training.checkpoint.reading. Rows of the same run,
    batch and task in runs.metrics are replaced. Raises CuveeError without lm-eval, UsageError for a file or a
    checkpoint that cannot be used.
    """
    if find_spec("lm_eval") is None:
        raise CuveeError("benchmarks need lm_eval", hint="pip install 'cuvee[train,evaluation]'")
    questions = {task_name(path): read(path)[:limit] for path in files}
    with tempfile.TemporaryDirectory() as folder:
        exported = export(source, Path(folder) / "model", lake, trust=trust)
        if "Causal" not in exported.architecture:
            raise UsageError(f"{exported.run_id} is an encoder: it does not continue text")
        scores = _asked(Path(folder) / "model", questions, shots)
    with lake.commit(f"benchmarks of {exported.run_id}", author="cuvee checkpoint evaluate") as commit:
        for score in scores:
            for name, value in ((ACCURACY, score.accuracy), (NORMALIZED, score.by_length)):
                commit.sql(
                    "delete from runs.metrics where run_id = ? and name = ? and component = ? and batch = ?",
                    [exported.run_id, name, score.task, exported.batch],
                )
                if value is not None:
                    commit.sql(
                        "insert into runs.metrics (run_id, name, component, batch, tokens, value)"
                        " values (?, ?, ?, ?, ?, ?)",
                        [exported.run_id, name, score.task, exported.batch, exported.tokens, value],
                    )
    return scores


def task_name(path: Path) -> str:
    """Return a task's name: its file's, without the endings."""
    return path.name.split(".")[0]


def read(path: Path) -> list[dict[str, Any]]:
    """Return the questions of a file, all of one form. Raises UsageError with the line that is not."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            text = lines.read()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the questions in {path}: {error}") from error
    found: list[dict[str, Any]] = []
    for number, line in enumerate(text.splitlines(), 1):
        where = Location(str(path), number)
        try:
            question = json.loads(line)
        except ValueError as error:
            raise UsageError(f"not a line of JSON: {error}", where=where) from error
        form = _form(question)
        if form is None or (found and form != _form(found[0])):
            known = "; ".join(", ".join(keys) for keys in _FORMS)
            raise UsageError(
                "a question of another form than the first" if found and form else "a question of no known form",
                where=where,
                hint=f"known keys: {known}",
            )
        found.append({key: question[key] for key in form})
    if not found:
        raise UsageError(f"no questions in {path}")
    return found


def _form(question: object) -> tuple[str, ...] | None:
    if not isinstance(question, dict):
        return None
    return next((form for form in _FORMS if all(key in question for key in form)), None)


def _with_length(form: Mapping[str, Any], most: int) -> dict[str, Any]:
    generation = form.get("generation_kwargs")
    return {**form, **({"generation_kwargs": {**generation, "max_gen_toks": most}} if generation else {})}


def _asked(model: Path, questions: Mapping[str, Sequence[dict[str, Any]]], shots: int) -> list[Score]:
    silence()
    import datasets
    import lm_eval
    import torch
    import transformers
    from lm_eval.models.huggingface import HFLM

    library: Any = transformers
    tokenizer = library.AutoTokenizer.from_pretrained(model, **NO_CODE)
    loaded = library.AutoModelForCausalLM.from_pretrained(model, **SAFE).eval()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    asked = HFLM(pretrained=loaded.to(device), tokenizer=tokenizer, device=device, batch_size=8)
    most = min(32, asked.max_length // 4)  # tokens of an answer
    tasks = [
        {
            "task": name,
            "custom_dataset": lambda docs=docs, **_: {"test": datasets.Dataset.from_list(list(docs))},
            "test_split": "test",
            "fewshot_split": "test",
            "num_fewshot": shots,
            **_with_length(_FORMS[_form(docs[0]) or ()], most),
        }
        for name, docs in questions.items()
    ]
    found = lm_eval.simple_evaluate(model=asked, tasks=tasks, log_samples=False, bootstrap_iters=0, verbosity="ERROR")
    scores: list[Score] = []
    for name, docs in questions.items():
        values = {key.split(",")[0]: value for key, value in found["results"][name].items()}
        accuracy = values["acc"] if "acc" in values else values["exact_match"]
        scores.append(Score(name, len(docs), float(accuracy), values.get("acc_norm")))
    return scores
