"""Shared parts of dbt's artifacts: the call of a command that writes them, their head, and writing them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from udfs.atomic_files import write_atomically
from warehouse.project.options import DEFAULTS, EVERYTHING, Options, Selection

#: The version of dbt whose shape the artifacts have.
DBT_VERSION = "1.11.0"
MANIFEST = "manifest.json"
RUN_RESULTS = "run_results.json"


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of a command: its options, and the folder of its artifacts."""

    which: str  # build | run | test | seed | compile | generate
    folder: Path
    args: Mapping[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: str(uuid4()))
    began: float = field(default_factory=time.time)


def invocation(which: str, root: Path, selection: Selection = EVERYTHING, options: Options = DEFAULTS) -> Invocation:
    """Return the call of ``which`` for the project in ``root``, with its options as ``cuvee retry`` reads them."""
    asked = {
        "which": which,
        "project_dir": str(root),
        "select": list(selection.select),
        "exclude": list(selection.exclude),
        "resource_types": list(selection.kinds),
    }
    return Invocation(which, options.target_path or root / "target", asked | options.recorded())


@contextmanager
def unless_unwritable(say: Callable[[str], None]) -> Iterator[None]:
    """Print why a report cannot be written. What it reports went well, so this is not an error."""
    try:
        yield
    except OSError as error:
        say(f"cannot write {error.filename}: {error.strerror}")


def metadata(schema: str, call: Invocation) -> dict[str, Any]:
    """Return the head of an artifact; ``schema`` is such as ``manifest/v12``."""
    prefix = "DBT_ENV_CUSTOM_ENV_"
    return {
        "dbt_schema_version": f"https://schemas.getdbt.com/dbt/{schema}.json",
        "dbt_version": DBT_VERSION,
        "generated_at": instant(time.time()),
        "invocation_id": call.id,
        "invocation_started_at": instant(call.began),
        "env": {name.removeprefix(prefix): value for name, value in os.environ.items() if name.startswith(prefix)},
    }


def instant(seconds: float) -> str:
    """Return a time as dbt writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def write_artifact(path: Path, content: object) -> None:
    """Write a value as JSON, as a whole or not at all: another program may be reading the file."""
    write_atomically(path, json.dumps(content, default=str))
