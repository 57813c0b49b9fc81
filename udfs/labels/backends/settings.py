"""The backends: what is known of each before it is imported, and the settings of its own.

A backend that *writes* answers prompts with text: its module here has ``start_engine(spec)``, which returns an
``Engine`` (``udfs.labels.backends.engine``). The others need no prompt: they have a ``Labeler`` of their own
(``udfs.labels.labelers.labeler_registry``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from udfs.errors import CuveeError
from udfs.identity import identity
from udfs.labels.spec import EngineSettings

_SERVERS = ("vllm", "sglang", "openai")
_ENDPOINTS = ("auto", "chat", "completions")


@dataclass(frozen=True)
class HeadsSettings(EngineSettings):
    """The section ``engine:``. A batch has at most ``batch_tokens``, padding counted; without it, what suits the
    device. ``device`` is torch's name, or auto.
    """

    batch_tokens: int | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.batch_tokens == 0:
            raise ValueError("batch_tokens is at least 1")


@dataclass(frozen=True)
class OpenAISettings(EngineSettings):
    """The section ``engine:``. ``api_key_env`` names the environment variable with the key, which is sent to
    ``base_url`` and nowhere else.

    ``model_name`` is the model's name at the server (its id, or its folder). ``server`` says which fields besides
    OpenAI's it knows. ``tokenizer`` is a folder, relative to the labeler's file; a model's own folder needs none.
    ``endpoint`` is completions (token ids) or chat (messages); auto takes token ids where there is a tokenizer.
    ``timeout`` is in seconds, for one attempt. ``extra_body`` is put into every request.
    """

    base_url: str = "http://localhost:8000/v1"
    api_key_env: str | None = None
    model_name: str | None = None
    server: str = "vllm"
    tokenizer: str | None = None
    endpoint: str = "auto"
    concurrency: int = 64
    timeout: float = 600.0
    retries: int = 8
    extra_body: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be. A key in the address would be shown with it."""
        if not re.match(r"https?://[^/@\s]+(/[^@?#\s]*)?$", self.base_url):
            raise ValueError("base_url is http://HOST:PORT/v1 or the like, without user, password and query")
        if self.server not in _SERVERS:
            raise ValueError(f"server is {' or '.join(_SERVERS)}; vllm fits most others")
        if self.endpoint not in _ENDPOINTS:
            raise ValueError(f"endpoint is {' or '.join(_ENDPOINTS)}")
        if not 1 <= self.concurrency <= 1000:
            raise ValueError("concurrency is from 1 to 1000")
        if not self.timeout > 0:
            raise ValueError("timeout is more than 0 seconds")

    def identity(self, folder: Path) -> list[object]:
        """Return the settings that change answers, for fingerprints. Those at their defaults are left out."""
        changed: list[object] = []
        if self.server != "vllm":
            changed.append(["server", self.server])
        if self.endpoint != "auto":
            changed.append(["endpoint", self.endpoint])
        if self.extra_body:
            changed.append(["extra_body", dict(self.extra_body)])
        if self.tokenizer is not None:
            path = folder / Path(self.tokenizer).expanduser()
            try:
                changed.append(["tokenizer", identity(path)])
            except OSError as error:
                raise CuveeError(f"cannot read the tokenizer in {path}: {error.strerror}") from error
        return changed


@dataclass(frozen=True)
class TransformersSettings(EngineSettings):
    """The section ``engine:``. ``in_flight`` prompts are sorted by length together; a batch has at most
    ``batch_tokens``, prompts with their padding and the longest answers counted. ``device`` is torch's name, or auto.
    """

    in_flight: int = 256
    batch_tokens: int = 32_768
    device: str = "auto"

    def __post_init__(self) -> None:
        if not self.in_flight or not self.batch_tokens:
            raise ValueError("in_flight and batch_tokens are at least 1")


@dataclass(frozen=True)
class VllmSettings(EngineSettings):
    """The section ``engine:``.

    ``tensor_parallel`` GPUs share one copy of the model, and there are ``data_parallel`` copies. ``memory`` is the
    share of each GPU's memory that vLLM may take (on a CPU: of the machine's, for its cache), by default what is
    free. ``in_flight`` prompts are with the engine, by default twice as many as it computes at once. ``eager`` does
    without compiled graphs: it starts sooner and computes slower.
    """

    tensor_parallel: int = 1
    data_parallel: int = 1
    memory: float | None = None
    in_flight: int | None = None
    prefix_caching: bool = True
    eager: bool = False

    def __post_init__(self) -> None:
        if not self.tensor_parallel or not self.data_parallel or self.in_flight == 0:
            raise ValueError("tensor_parallel, data_parallel and in_flight are at least 1")
        if self.memory is not None and not 0 < self.memory <= 1:
            raise ValueError("memory is a share, above 0 and at most 1")


@dataclass(frozen=True, slots=True)
class Backend:
    """What is known of a backend before it is imported.

    ``extra`` is the extra of cuvee with its packages. ``model`` tells whether a labeler must name a model.
    """

    extra: str | None = None
    writes: bool = True
    model: bool = True
    settings: type[EngineSettings] | None = None


BACKENDS = {
    "encoder": Backend("train", writes=False, model=False),
    "fake": Backend(model=False),
    "heads": Backend("train", writes=False, settings=HeadsSettings),
    "openai": Backend("openai", settings=OpenAISettings),
    "transformers": Backend("train", settings=TransformersSettings),
    "vllm": Backend("vllm", settings=VllmSettings),
}
