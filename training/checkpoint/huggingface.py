"""A checkpoint as a folder that transformers loads, with tokenizer and card (recipe, mixture, held-out losses)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.checkpoint.conversion import keep_window
from training.checkpoint.init_checkpoint import named
from training.checkpoint.quiet import silence
from training.checkpoint.reading import read_weights
from training.recipe.exports import stages_of
from training.recipe.run_folders import whole_folder
from udfs.errors import CuveeError, UsageError
from udfs.model_folders import NO_CODE
from udfs.tokens.tokenizer import Tokenizer
from warehouse.lake.lake import Lake

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

MASK_TOKEN = "<|mask|>"


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """What was written."""

    folder: Path
    run_id: str
    batch: int
    tokens: int
    parameters: int
    architecture: str


@dataclass(frozen=True, slots=True)
class ExportedMixture:
    """What the lake knows of the export that a run read."""

    name: str
    fingerprint: str
    export_id: str
    snapshot_id: int
    tokenizer: str
    manifest: Mapping[str, Any]


def export(
    source: Path, out: Path, lake: Lake, *, with_tokenizer: bool = True, with_head: bool = True, trust: bool = False
) -> ExportedModel:
    """Write the checkpoint ``source``, or the last one of the run folder ``source``, to ``out``.

    ``out`` is complete or not there. ``trust``: see training.checkpoint.reading. Raises UsageError if there is no
    checkpoint, ``out`` exists, or the lake does not know the run's export; CuveeError if its tokenizer or the training
    libraries are missing.
    """
    if missing := [name for name in ("torch", "transformers", "composer") if find_spec(name) is None]:
        raise CuveeError(f"training needs {', '.join(missing)}", hint="pip install 'cuvee[train]'")
    checkpoint, run = _checkpoint(source)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists", hint="name a folder that does not")
    card = json.loads((run / "run.json").read_text(encoding="utf-8"))
    mixtures = [_mixture(lake, stage) for stage in stages_of(card["identity"])]
    silence()
    with whole_folder(out) as aside:
        weights = read_weights(checkpoint, trust=trust)
        whole = _model(run, weights, card["identity"]["model"]["kind"])
        model: Any = whole if with_head else whole.base_model
        model.save_pretrained(aside, safe_serialization=True)
        if with_tokenizer:
            _tokenizer(lake, mixtures[0], card["identity"], model).save_pretrained(aside)
        batch = int(checkpoint.stem.removeprefix("ba"))
        exported = ExportedModel(
            folder=out,
            run_id=card["run_id"],
            batch=batch,
            tokens=batch * card["identity"]["batch_tokens"],
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            architecture=type(model).__name__,
        )
        (aside / "README.md").write_text(_card(exported, card["identity"], mixtures, lake), encoding="utf-8")
        if out.exists():
            out.rmdir()
    return exported


def _checkpoint(source: Path) -> tuple[Path, Path]:
    """Return the checkpoint and its run's folder."""
    checkpoint = named(source)
    if checkpoint is None:
        raise UsageError(
            f"no checkpoint in {source}", hint="name a run's folder, runs/RECIPE/ARM-SEED, or one of its .pt"
        )
    run = source if source.is_dir() else source.parent.parent
    for needed in ("run.json", "model/config.json"):
        if not (run / needed).is_file():
            raise UsageError(f"{run} is not the folder of a run: it has no {needed}")
    return checkpoint, run


def _mixture(lake: Lake, stage: Mapping[str, Any]) -> ExportedMixture:
    row = lake.reader().execute(
        "select mixture, fingerprint, export_id, snapshot_id, tokenizer, manifest from exports.exports"
        " where export_id = ?",
        [stage["export"]],
    ).fetchone()  # fmt: skip
    if row is None:
        raise UsageError(f"this lake does not know the export {stage['export']} of {stage['mixture']}")
    return ExportedMixture(*(*row[:-1], json.loads(row[-1])))


def _model(run: Path, weights: Mapping[str, Tensor], kind: str) -> PreTrainedModel:
    import transformers

    configuration = keep_window(
        transformers.AutoConfig.from_pretrained(run / "model", local_files_only=True, **NO_CODE)
    )
    loader: Any = transformers.AutoModelForCausalLM if kind == "decoder" else transformers.AutoModelForMaskedLM
    model: PreTrainedModel = loader.from_config(configuration)
    model.load_state_dict(weights)
    return model


def _tokenizer(
    lake: Lake, mixture: ExportedMixture, identity: Mapping[str, Any], model: PreTrainedModel
) -> PreTrainedTokenizerFast:
    """Return the tokenizer that the run's samples were made with, and the mask token of a masked model."""
    import transformers

    ours = Tokenizer(lake.root / "tokenizers" / mixture.tokenizer)
    if ours.fingerprint != mixture.manifest.get("tokenizer_fingerprint"):
        raise UsageError(
            f"the lake's tokenizer {mixture.tokenizer} is another one than {mixture.name} was exported with",
            hint="--without-tokenizer writes the model alone",
        )
    longest = getattr(model.config, "max_position_embeddings", None)
    make: Callable[..., PreTrainedTokenizerFast] = transformers.PreTrainedTokenizerFast
    tokenizer = make(
        tokenizer_file=str(ours.path),
        **dict.fromkeys(("bos_token", "eos_token", "pad_token"), ours.end_token),
        model_input_names=["input_ids", "attention_mask"],
        **({"model_max_length": longest} if longest else {}),
    )
    if identity["model"]["kind"] == "encoder":
        mask = identity["objective"]["mask_token"]
        known = mask is not None and mask < ours.vocab_size
        tokenizer.add_special_tokens({"mask_token": tokenizer.convert_ids_to_tokens(mask) if known else MASK_TOKEN})
    return tokenizer


def _card(exported: ExportedModel, identity: Mapping[str, Any], mixtures: Sequence[ExportedMixture], lake: Lake) -> str:
    reader = lake.reader()
    losses = reader.execute(
        "select component, arg_max(value, batch) from runs.metrics where run_id = ? and name = 'held_out/loss'"
        " and batch <= ? group by component order by component",
        [exported.run_id, exported.batch],
    ).fetchall()
    recorded = reader.execute("select recipe from runs.runs where run_id = ?", [exported.run_id]).fetchone()
    auto, task = ("AutoModel", "feature-extraction")
    if exported.architecture.endswith("ForCausalLM"):
        auto, task = ("AutoModelForCausalLM", "text-generation")
    elif exported.architecture.endswith("ForMaskedLM"):
        auto, task = ("AutoModelForMaskedLM", "fill-mask")
    model = identity["model"]
    origin = model["folder"] if model["folder"] and not model["fresh"] else "fresh weights"
    facts = {
        "architecture": f"{exported.architecture}, {exported.parameters:,} parameters",
        "run": exported.run_id,
        "recipe": recorded[0] if recorded else "not recorded: the run had not ended",
        "arm, seed": f"{identity['arm']}, {identity['seed']}",
        "started from": identity["parent"] or origin,
        "checkpoint": f"after batch {exported.batch:,}, {exported.tokens:,} tokens of this run",
        "mixture": ", ".join(mixture.name for mixture in mixtures),
        "mixture fingerprint": ", ".join(mixture.fingerprint for mixture in mixtures),
        "export": ", ".join(mixture.export_id for mixture in mixtures),
        "lake snapshot": ", ".join(str(mixture.snapshot_id) for mixture in mixtures),
        "tokenizer": mixtures[0].tokenizer,
    }
    parts = [
        f"---\nlibrary_name: transformers\npipeline_tag: {task}\n---",
        f"# {exported.run_id}",
        _table(("what", "value"), facts.items()),
        f"```python\nfrom transformers import AutoTokenizer, {auto}\n\n"
        f'model = {auto}.from_pretrained("{exported.folder.name}")\n'
        f'tokenizer = AutoTokenizer.from_pretrained("{exported.folder.name}")\n```',
    ]
    for mixture in mixtures:
        if components := mixture.manifest.get("components"):
            shares = [
                (name, f"{one['documents']:,}", f"{one['exported_tokens']:,}", f"{one['share']:.4f}")
                for name, one in components.items()
            ]
            title = "## Mixture" if len(mixtures) == 1 else f"## Mixture {mixture.name}"
            parts += [title, _table(("component", "documents", "tokens", "share"), shares)]
    if losses:
        rows = [(component, f"{loss:.4f}") for component, loss in losses]
        parts += ["## Held-out loss, nats per predicted token", _table(("component", "loss"), rows)]
    parts += ["## Settings", f"```json\n{json.dumps(identity, indent=2, sort_keys=True)}\n```"]
    return "\n\n".join(parts) + "\n"


def _table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
