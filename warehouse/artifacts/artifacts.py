"""dbt's artifacts: what tools that read dbt projects expect to find in ``target/``.

``manifest`` makes ``manifest.json``; here are the heads of all artifacts, and ``run_results.json`` (schema v6): what
became of each node.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from warehouse.project.outcome import DEFAULTS, TESTS, Options, Result
from warehouse.project.relation import LAKE

if TYPE_CHECKING:
    from warehouse.graph.graph import Step

#: The version of dbt whose shape the artifacts have.
DBT_VERSION = "1.11.0"
MANIFEST = "manifest.json"
RUN_RESULTS = "run_results.json"


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of a command: what it was asked, and where its artifacts go."""

    which: str  # build | run | test | seed | compile | generate
    folder: Path
    args: Mapping[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: str(uuid4()))
    began: float = field(default_factory=time.time)


def invocation(
    which: str,
    root: Path,
    chosen: Sequence[str] = (),
    excluded: Sequence[str] = (),
    options: Options = DEFAULTS,
    kinds: Sequence[str] = (),
) -> Invocation:
    """The call of ``which`` for the project in ``root``, with its options as ``cuvee retry`` reads them."""
    asked = {
        "which": which,
        "project_dir": str(root),
        "select": list(chosen),
        "exclude": list(excluded),
        "resource_types": list(kinds),
    }
    return Invocation(which, options.target_path or root / "target", asked | options.recorded())


@contextmanager
def unless_unwritable(say: Callable[[str], None]) -> Iterator[None]:
    """What went well is no failure because the report of it cannot be written."""
    try:
        yield
    except OSError as error:
        say(f"cannot write {error.filename}: {error.strerror}")


def metadata(schema: str, call: Invocation) -> dict[str, Any]:
    """The head of an artifact; ``schema`` is such as ``manifest/v12``."""
    prefix = "DBT_ENV_CUSTOM_ENV_"
    return {
        "dbt_schema_version": f"https://schemas.getdbt.com/dbt/{schema}.json",
        "dbt_version": DBT_VERSION,
        "generated_at": _instant(time.time()),
        "invocation_id": call.id,
        "invocation_started_at": _instant(call.began),
        "env": {name.removeprefix(prefix): value for name, value in os.environ.items() if name.startswith(prefix)},
    }


def write_run_results(
    call: Invocation,
    results: Iterable[Result],
    steps: Mapping[str, Step] | None = None,
    unreached: Iterable[str] = (),
) -> None:
    """Write ``run_results.json``; ``steps`` are at hand if the project was read. Raises OSError.

    ``unreached`` are the nodes that a build stopped before: they are written as skipped.
    """
    steps = steps or {}
    skipped = [
        Result(key, steps[key].name, steps[key].kind, "skipped", message="the command stopped before it")
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


def run_status(result: Result) -> str:
    """dbt's word for what became of a node."""
    if result.status == "unchanged":
        return result.message if result.kind in TESTS and result.message in ("pass", "warn") else "success"
    return {"built": "success", "limited": "skipped"}.get(result.status, result.status)


def _result(result: Result, step: Step | None) -> dict[str, Any]:
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
        "timing": [
            {"name": "execute", "started_at": _instant(ended - result.seconds), "completed_at": _instant(ended)}
        ],
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


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def write_artifact(path: Path, content: object) -> None:
    """Write a whole file or nothing: another program may be reading it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, default=str), encoding="utf-8")
    temporary.replace(path)
