"""A run's folder: one process trains in it, and run.json in it says which run it is."""

from __future__ import annotations

import contextlib
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from udfs.atomic_files import write_atomically
from udfs.errors import CuveeError

METADATA = "run.json"


def require_libraries() -> None:
    """Raise CuveeError if something that training needs is not installed."""
    missing = [name for name in ("torch", "transformers", "composer", "streaming") if find_spec(name) is None]
    if missing:
        raise CuveeError(f"training needs {', '.join(missing)}", hint="pip install 'cuvee[train]'")


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder, which is made. Raises CuveeError if one is in there."""
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder / ".lock").acquire(timeout=0)
    except Timeout:
        raise CuveeError(f"another process is training in {folder}", hint="wait for it, or use --out") from None
    with lock:
        yield


@contextlib.contextmanager
def whole_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield where to write a folder that becomes ``target`` at the end, or is removed after an error.

    ``replace``: a folder that is there is removed first. Raises OSError if there is one and it is not to be replaced.
    """
    aside = target.parent / f".{target.name}-{uuid.uuid4().hex[:8]}"
    try:
        yield aside
        if replace:
            shutil.rmtree(target, ignore_errors=True)
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def read_run_metadata(folder: Path) -> dict[str, Any]:
    """Read what a folder says of its run: run_id, started_at, tokens_before, identity. Empty without run.json."""
    file = folder / METADATA
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def write_run_metadata(folder: Path, run_id: str, identity: Mapping[str, Any], tokens_before: int = 0) -> datetime:
    """Mark a folder as a run's, and say when the run was first started."""
    if before := read_run_metadata(folder):
        return datetime.fromisoformat(before["started_at"])
    started = datetime.now(UTC)
    content = {
        "run_id": run_id,
        "started_at": started.isoformat(),
        "tokens_before": tokens_before,
        "identity": identity,
    }
    write_atomically(folder / METADATA, json.dumps(content, indent=2) + "\n")
    return started


def others(folder: Path, run_id: str) -> dict[str, Any]:
    """Return the identity of the run that began this folder, if that was another one; else nothing."""
    before = read_run_metadata(folder)
    return before["identity"] if before and before["run_id"] != run_id else {}
