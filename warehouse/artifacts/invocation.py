"""The call of a command that writes dbt's artifacts, their head, and its results.

``run_results.json`` (schema v6) has the results of nodes in dbt's words, for dbt's tools and ``cuvee retry``.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from udfs.atomic_files import write_atomically
from warehouse.project.options import DEFAULTS, EVERYTHING, Options, Selection
from warehouse.project.relation import LAKE
from warehouse.project.results import TESTS, NodeResult

if TYPE_CHECKING:
    from warehouse.graph.step import Step

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


def write_run_results(
    call: Invocation,
    results: Iterable[NodeResult],
    steps: Mapping[str, Step] | None = None,
    unreached: Iterable[str] = (),
) -> None:
    """Write ``run_results.json``; ``steps`` are at hand if the project was read. Raises OSError.

    ``unreached`` are the nodes that a build stopped before: they are written as skipped.
    """
    steps = steps or {}
    skipped = [
        NodeResult(key, steps[key].name, steps[key].kind, "skipped", message="the command stopped before it")
        for key in unreached
    ]
    write_artifact(
        call.folder / RUN_RESULTS,
        {
            "metadata": metadata("run-results/v6", call),
            "results": [_result(result, steps.get(result.node)) for result in (*results, *skipped)],
            "elapsed_time": time.time() - call.began,
            "args": call.args,
        },
    )


def run_status(result: NodeResult) -> str:
    """Return dbt's word for the result of a node."""
    if result.status == "unchanged":
        return result.message if result.kind in TESTS and result.message in ("pass", "warn") else "success"
    return {"built": "success", "limited": "skipped"}.get(result.status, result.status)


def _result(result: NodeResult, step: Step | None) -> dict[str, Any]:
    test = result.kind in TESTS
    failures = (result.rows or 0) if run_status(result) in ("fail", "warn") else 0  # none of a test that passes
    message = "unchanged" if result.status == "unchanged" else result.message
    response: dict[str, Any] = {"_message": message or "OK"}
    if not test and result.rows is not None:
        response["rows_affected"] = result.rows if result.status == "built" else 0
    ended = result.ended or time.time()
    name = None
    if result.relation and not test:
        name = step.relation.render() if step and step.relation else _quoted(result.relation)
    sql = step.sql if step is not None and step.kind != "seed" else None
    return {
        "status": run_status(result),
        "timing": [{"name": "execute", "started_at": instant(ended - result.seconds), "completed_at": instant(ended)}],
        "thread_id": "MainThread",
        "execution_time": result.seconds,
        "adapter_response": {} if result.status in ("error", "skipped") else response,
        "message": message or (None if test else "OK"),
        "failures": failures if test and result.status not in ("error", "skipped") else None,
        "unique_id": result.node,
        "compiled": sql is not None or None,
        "compiled_code": sql,
        "relation_name": name,
        "batch_results": None,
    }


def _quoted(relation: str) -> str:
    schema, _, name = relation.partition(".")
    return f'"{LAKE}"."{schema}"."{name}"'
