"""Which tokenizer.json a name in SQL means: one of the lake's, a folder, or a model of the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

from udfs.errors import CuveeError, UsageError, did_you_mean

FILE = "tokenizer.json"

_STORED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HUB = re.compile(r"(?P<id>[A-Za-z0-9][\w.-]*/[\w.-]+)(@(?P<revision>[\w./-]+))?")


def find(name: str, stored: Path, project: Path) -> Path:
    """Find the tokenizer.json that ``name`` means.

    A name without ``/`` is a folder in ``stored`` (``<lake>/tokenizers``). Else it is a folder, or a file, relative to
    ``project``; where there is none, ``organisation/model`` or ``organisation/model@revision`` of the hub, whose file
    is taken from the client's cache or downloaded. Raises UsageError where there is nothing, CuveeError where the hub
    gives nothing.
    """
    if _STORED.fullmatch(name):
        known = [path.parent.name for path in stored.glob(f"*/{FILE}")]
        if name in known:
            return stored / name / FILE
        train = f"train one with: cuvee tokenizer train {name} --from MODEL"
        raise UsageError(f"no tokenizer {name!r} in {stored}", hint=did_you_mean(name, known) or train)
    place = project / Path(name).expanduser()
    for path in (place / FILE, place):
        if path.is_file():
            return path
    if place.is_dir():
        raise UsageError(
            f"no tokenizer {name!r}: no {FILE} in {place}",
            hint="transformers writes one: AutoTokenizer(…).save_pretrained(…)",
        )
    if found := _HUB.fullmatch(name):
        return _download(found["id"], found["revision"])
    raise UsageError(f"no tokenizer {name!r}: there is no {place}", hint=f"name a folder that has {FILE}")


def _download(model: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise CuveeError("a tokenizer of the hub needs the package huggingface_hub") from error
    try:
        return Path(hf_hub_download(model, FILE, revision=revision))
    except Exception as error:  # of many kinds: no network, no such model, no permission
        first = str(error).partition("\n")[0]
        raise CuveeError(
            f"cannot get the tokenizer of {model}: {first}",
            hint=f"a folder of that name has no {FILE} here; download it where there is a network, and name the folder",
        ) from error
