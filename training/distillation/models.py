"""A student's tokenizer and model: those of a folder, or fresh ones of the recipe's sizes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.checkpoint.models import Parameters, build
from training.distillation.recipe import Distillation
from training.recipe.settings import Sizes
from udfs.errors import UsageError, did_you_mean, first_line
from udfs.model_folders import NO_CODE, SAFE, require_safetensors
from udfs.tokens.tokenizer import CONFIG, FILE
from udfs.tokens.tokenizer import Tokenizer as LakeTokenizer
from warehouse.lake.lake import Lake

if TYPE_CHECKING:
    from training.distillation.students import StudentModel
    from udfs.labels.students.heads_form import HeadsForm

#: The turns of ChatML, as Qwen2.5 writes them.
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TURNS = ("<|im_start|>", "<|im_end|>")

#: What of a model's folder is about text.
_ABOUT_TEXT = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "vocab.json", "merges.txt",
)  # fmt: skip


def write_tokenizer(recipe: Distillation, lake: Lake, folder: Path) -> None:
    """Put the student's tokenizer into a folder: that of its model, or the lake's with what the student needs.

    A generative student gets the marks of ChatML and its template; an encoder the end of text around every text.
    Raises UsageError if the lake has no such tokenizer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    student = recipe.student
    if student.folder is not None:
        for name in _ABOUT_TEXT:
            if (Path(student.folder) / name).is_file():
                shutil.copyfile(Path(student.folder) / name, folder / name)
        return
    from tokenizers import AddedToken, Tokenizer, processors

    known = [path.parent.name for path in (lake.root / "tokenizers").glob(f"*/{FILE}")]
    if student.tokenizer not in known:
        hint = did_you_mean(student.tokenizer or "", known)
        hint = hint or f"train one with: cuvee tokenizer train {student.tokenizer} --from {recipe.documents}"
        raise UsageError(f"no tokenizer {student.tokenizer!r} in the lake", hint=hint)
    lakes = LakeTokenizer(lake.root / "tokenizers" / str(student.tokenizer))
    end = lakes.end_token
    tokenizer: Any = Tokenizer.from_file(str(lakes.path))
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": end,
        "eos_token": end,
        "model_max_length": recipe.sequence_length,
    }
    if recipe.generative:
        tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in TURNS])
        settings |= {"eos_token": TURNS[1], "chat_template": CHAT}
    else:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{end} $A {end}", special_tokens=[(end, lakes.end_of_text)]
        )
    tokenizer.save(str(folder / FILE))
    (folder / CONFIG).write_text(json.dumps(settings, indent=1), encoding="utf-8")


def make(recipe: Distillation, tokenizer: Path, form: HeadsForm | None) -> StudentModel:
    """Make the student, with the weights of its folder or fresh ones from torch's global generator.

    ``tokenizer`` is its tokenizer.json, ``form`` that of its heads, None for one that writes. Raises UsageError for a
    model that cannot be read or is too short for the sequences.
    """
    from training.distillation.students import GenerativeStudent, HeadsStudent
    from udfs.labels.students.heads import Heads

    if form is None:
        return GenerativeStudent(_causal(recipe, tokenizer))
    return HeadsStudent(Heads(_encoder(recipe, tokenizer), form))


def parameters(recipe: Distillation, tokenizer: Path, form: HeadsForm | None) -> Parameters:
    """Count the student's parameters. Takes no memory."""
    import torch
    import torch._dynamo  # models load it when they are first made, and it cannot be loaded on the device meta

    with torch.device("meta"):
        if form is None:
            model = _causal(recipe, tokenizer, weights=False)
            embeddings = model.get_input_embeddings().weight.numel()
        else:
            from udfs.labels.students.heads import Heads

            model = Heads(_encoder(recipe, tokenizer, weights=False), form)
            embeddings = model.encoder.get_input_embeddings().weight.numel()
    return Parameters(sum(each.numel() for each in model.parameters()), embeddings)


def _causal(recipe: Distillation, tokenizer: Path, *, weights: bool = True) -> Any:
    import transformers

    student = recipe.student
    if student.folder is not None:
        return _of_folder(recipe, transformers.AutoModelForCausalLM, weights)
    make_config: Callable[..., Any] = transformers.Qwen2Config
    make_model: Callable[..., Any] = transformers.Qwen2ForCausalLM
    ids, pad = _ids(tokenizer)
    return make_model(
        make_config(
            vocab_size=max(ids.values()) + 1,
            hidden_size=student.hidden,
            intermediate_size=student.intermediate,
            num_hidden_layers=student.layers,
            num_attention_heads=student.heads,
            num_key_value_heads=student.key_value_heads or student.heads,
            max_position_embeddings=recipe.sequence_length,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=ids[TURNS[1]],
            pad_token_id=pad,
            attn_implementation="sdpa",
        )
    )


def _encoder(recipe: Distillation, tokenizer: Path, *, weights: bool = True) -> Any:
    import transformers

    student = recipe.student
    if student.folder is not None:
        return _of_folder(recipe, transformers.AutoModel, weights)
    assert student.layers and student.hidden and student.intermediate and student.heads
    sizes = Sizes(student.layers, student.hidden, student.intermediate, student.heads)
    ids, pad = _ids(tokenizer)
    masked: Any = build(sizes, max(ids.values()) + 1, recipe.sequence_length, end_of_text=pad, kind="encoder")
    return masked.model


def _of_folder(recipe: Distillation, loader: Any, weights: bool) -> Any:
    import transformers

    folder = str(recipe.student.folder)
    require_safetensors(Path(folder))
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, **NO_CODE)
        if weights:
            options: dict[str, Any] = {
                "local_files_only": True,
                "attn_implementation": "sdpa",
                "dtype": "float32",
                **SAFE,
            }
            model = loader.from_pretrained(folder, **options)
        else:
            model = loader.from_config(config, **NO_CODE)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the model in {folder}: {first_line(error)}") from error
    longest = getattr(config, "max_position_embeddings", None)
    if longest and longest < recipe.sequence_length:
        message = f"the model in {folder} reads {longest:,} tokens at once, not {recipe.sequence_length:,}"
        raise UsageError(message, hint=f"--set sequence_length={longest}")
    return model


def _ids(tokenizer: Path) -> tuple[dict[str, int], int]:
    """Return the ids of all tokens, and that of the padding that ``write_tokenizer`` has chosen."""
    from tokenizers import Tokenizer

    loaded: Any = Tokenizer.from_file(str(tokenizer))
    ids: dict[str, int] = loaded.get_vocab(with_added_tokens=True)
    return ids, ids[json.loads((tokenizer.parent / CONFIG).read_text(encoding="utf-8"))["pad_token"]]
