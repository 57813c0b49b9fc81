"""What a folder of model files is, as a digest. Large files are read once and their digests are kept by the user.

The digests are in ``cuvee/digests.json`` under ``$XDG_CACHE_HOME`` (``~/.cache``), by path, size and time of change;
the file may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

from udfs.atomic_files import write_atomically
from udfs.expensive import fingerprint

#: Files that can change what a model says: weights, tokenizer, configuration, templates, code.
_SUFFIXES = {".bin", ".gguf", ".jinja", ".json", ".model", ".npz", ".pt", ".py", ".safetensors", ".tiktoken", ".txt"}
_DOCUMENTS = ("license", "readme", "notice")

#: A smaller file is read each time, in less than 0.1 s.
_LARGE = 64 << 20


def identity(folder: Path) -> str:
    """Return 32 hex digits over the names and contents of a model's files. Raises OSError."""
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or path.suffix not in _SUFFIXES or path.name.lower().startswith(_DOCUMENTS) or not path.is_file():
            continue
        found.append([name, file_digest(path.resolve())])
    return fingerprint(found)


def file_digest(path: Path) -> str:
    """Compute the SHA-256 of a file. Raises OSError."""
    stat = path.stat()
    if stat.st_size < _LARGE:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    known = _read()
    stamp = [stat.st_size, stat.st_mtime_ns]
    entry = known.get(str(path))
    if isinstance(entry, list) and entry[:2] == stamp:
        return str(entry[2])
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with suppress(OSError):  # without a place to keep it, it is computed again
        write_atomically(_cache(), json.dumps({**known, str(path): [*stamp, digest]}))
    return digest


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cuvee" / "digests.json"


def _read() -> dict[str, object]:
    try:
        content = json.loads(_cache().read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
