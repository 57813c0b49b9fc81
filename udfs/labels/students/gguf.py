"""A GGUF file as an ordinary model folder: configuration, tokenizer with chat template, and weights as safetensors.

GGUF is the one-file format of llama.cpp, in which small quantised models are handed around. Engines here want the
folder that transformers writes. transformers reads the file; quantised weights become plain numbers again, which loses
nothing more than the quantisation did.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from udfs.errors import CuveeError
from udfs.model_folders import NO_CODE

#: The first four bytes of a GGUF file.
_MAGIC = b"GGUF"

DTYPES = ("bfloat16", "float16", "float32")


def convert(file: Path, folder: Path, dtype: str = "bfloat16") -> None:
    """Write the model in ``file`` to the new folder ``folder``, complete or not at all.

    Raises CuveeError for a file that is not a model, an architecture that transformers does not read from GGUF, a
    folder that is there already, and missing packages.
    """
    _check(file)
    if folder.exists():
        raise CuveeError(f"{folder} exists already", hint="name a folder that does not, or remove this one")
    try:
        import accelerate  # noqa: F401  transformers needs it, and gguf, and says so late
        import gguf  # noqa: F401
        import torch
        import transformers
    except ImportError as error:
        hint = "pip install 'cuvee[gguf]' where transformers is: with cuvee[train] or cuvee[vllm]"
        raise CuveeError(f"reading GGUF needs the package {error.name}", hint=hint) from error
    parent = folder.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=parent))
    try:
        # transformers 5 leaves weights in GGUF's blocks unless it is told; before, there was nothing to tell.
        plain = getattr(transformers, "GgufConfig", None)
        settings = {"quantization_config": plain(dequantize=True)} if plain else {}
        source: dict[str, Any] = {
            "pretrained_model_name_or_path": str(file.absolute().parent),
            "gguf_file": file.name,
            **NO_CODE,
        }
        tokenizers: Any = transformers.AutoTokenizer
        tokenizer = tokenizers.from_pretrained(**source)
        model = transformers.AutoModelForCausalLM.from_pretrained(**source, dtype=getattr(torch, dtype), **settings)
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        temporary.chmod(0o755)
        temporary.rename(folder)
    except (ValueError, KeyError, RuntimeError, NotImplementedError) as error:
        raise CuveeError(f"cannot convert {file}: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check(file: Path) -> None:
    try:
        with file.open("rb") as opened:
            magic = opened.read(len(_MAGIC))
    except OSError as error:
        raise CuveeError(f"cannot read {file}: {error.strerror}") from error
    if magic != _MAGIC:
        raise CuveeError(f"{file} is not a GGUF file")
