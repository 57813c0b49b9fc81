"""The backend ``transformers``: a causal language model in this process, on the CPU or one GPU.

Prompts are collected, sorted by length and answered in batches of similar length, padded on the left. It needs no
server and works wherever torch does; ``vllm`` is many times faster on a GPU.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from itertools import islice
from typing import Any

from udfs.errors import CuveeError
from udfs.labels.backends.engine import Answer, Engine, Prompt, tokenizer_folder
from udfs.labels.backends.settings import TransformersSettings
from udfs.labels.chat import ChatFormat
from udfs.labels.spec import Generation, Spec
from udfs.model_folders import require_safetensors


def start_engine(spec: Spec) -> TransformersEngine:
    """Load the labeler's model. Raises CuveeError if it cannot be had; ImportError without torch."""
    import torch
    from transformers import AutoModelForCausalLM

    model = spec.model
    assert model is not None
    if spec.generation.structured:
        raise CuveeError(
            f"the labeler {spec.name} wants answers in form, which the backend transformers cannot see to",
            hint="use the backend vllm, or leave structured out: what is not in form has status unparsed",
        )
    if model.quantization or model.adapter:
        raise CuveeError("the backend transformers takes neither quantization nor adapter", hint="use the backend vllm")
    chat = ChatFormat(tokenizer_folder(model), spec.chat_template)
    settings = spec.engine
    assert isinstance(settings, TransformersSettings)
    device = settings.device if settings.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if model.folder is not None:
        require_safetensors(model.folder)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            model.source,
            use_safetensors=True,
            trust_remote_code=model.trust_remote_code,
            revision=model.revision or "main",
            dtype=model.dtype,
            local_files_only=model.folder is not None,
        )
        loaded.to(device=device)
        return TransformersEngine(loaded.eval(), chat, spec.generation, settings)
    except (OSError, ValueError, RuntimeError) as error:
        raise CuveeError(f"cannot load the model {model.source}: {error}") from error


class TransformersEngine(Engine):
    """A loaded model. One batch is computed at a time; closing ``generate`` waits for it."""

    def __init__(self, model: Any, chat: ChatFormat, generation: Generation, settings: TransformersSettings) -> None:
        import transformers

        config_type: Any = transformers.GenerationConfig
        self._model = model
        self.chat: ChatFormat = chat
        self._settings = settings
        self._generation = generation
        named = [getattr(config, "eos_token_id", None) for config in (model.generation_config, model.config)]
        self._ends = chat.ends(named)
        sampling = {"temperature": generation.temperature, "top_p": generation.top_p, "top_k": generation.top_k}
        # Replaced, because generate() fills what a config leaves at its defaults from the model's own settings, and
        # those of Qwen2.5 sample with a repetition penalty.
        model.generation_config = config_type(
            do_sample=generation.temperature > 0,
            max_new_tokens=generation.max_tokens,
            repetition_penalty=1.0,
            eos_token_id=sorted(self._ends),
            pad_token_id=chat.padding,
            **(sampling if generation.temperature else {}),
        )

    def generate(self, prompts: Iterator[Prompt]) -> Generator[Answer, None, None]:
        """Answer every prompt once, the shorter of those collected together first."""
        while window := list(islice(prompts, self._settings.in_flight)):
            window.sort(key=lambda prompt: len(prompt.tokens or ()))
            while window:
                batch = self._batch(window)
                del window[: len(batch)]
                yield from self._answer(batch)

    def close(self) -> None:
        """Free the model."""
        del self._model

    def _batch(self, window: Sequence[Prompt]) -> list[Prompt]:
        """Return the first prompts that fit together; at least one."""
        n = 1
        while n < len(window):
            width = len(window[n].tokens or ()) + self._generation.max_tokens
            if (n + 1) * width > self._settings.batch_tokens:
                break
            n += 1
        return list(window[:n])

    def _answer(self, batch: Sequence[Prompt]) -> list[Answer]:
        import torch

        prompts = [prompt.tokens or [] for prompt in batch]
        width = max(map(len, prompts))
        tokens = torch.full((len(batch), width), self.chat.padding)
        mask = torch.zeros_like(tokens)
        for row, ids in enumerate(prompts):
            tokens[row, width - len(ids) :] = torch.tensor(ids)
            mask[row, width - len(ids) :] = 1
        device = self._model.device
        if self._generation.temperature:
            torch.manual_seed(self._generation.seed)
        with torch.inference_mode():
            out = self._model.generate(input_ids=tokens.to(device), attention_mask=mask.to(device))
        return [
            self._read(prompt, written) for prompt, written in zip(batch, out[:, width:].cpu().tolist(), strict=True)
        ]

    def _read(self, prompt: Prompt, written: list[int]) -> Answer:
        end = next((index for index, token in enumerate(written) if token in self._ends), None)
        ids = written if end is None else written[:end]
        paid = len(ids) + (end is not None)
        return Answer(prompt.key, prompt.number, self.chat.decode(ids), end is not None, len(prompt.tokens or ()), paid)
