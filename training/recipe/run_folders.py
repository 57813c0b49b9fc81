"""A run's folder: one process trains in it, and the card in it says whose it is."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from udfs.errors import CuveeError, UsageError

CARD = "run.json"


class RecipeChangedError(UsageError):
    """A run's folder was begun with other settings."""


def require_libraries() -> None:
    """Raises CuveeError if something that training needs is not installed."""
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


def read_card(folder: Path) -> dict[str, Any]:
    """What a folder says of its run: run_id, started_at, tokens_before, identity. Empty if it says nothing."""
    card = folder / CARD
    return json.loads(card.read_text(encoding="utf-8")) if card.is_file() else {}


def write_card(folder: Path, run_id: str, identity: Mapping[str, Any], tokens_before: int = 0) -> datetime:
    """Mark a folder as a run's, and say when the run was first started."""
    if before := read_card(folder):
        return datetime.fromisoformat(before["started_at"])
    folder.mkdir(parents=True, exist_ok=True)
    started = datetime.now(UTC)
    content = {
        "run_id": run_id,
        "started_at": started.isoformat(),
        "tokens_before": tokens_before,
        "identity": identity,
    }
    aside = (folder / CARD).with_suffix(".part")
    aside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    aside.rename(folder / CARD)
    return started


def others(folder: Path, run_id: str) -> dict[str, Any]:
    """The identity of the run that began this folder, if that was another one; else nothing."""
    before = read_card(folder)
    return before["identity"] if before and before["run_id"] != run_id else {}
