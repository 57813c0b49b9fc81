"""``run_results.json`` (schema v6): the results of nodes in dbt's words, for dbt's tools and ``cuvee retry``."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from warehouse.artifacts.invocation import RUN_RESULTS, Invocation, instant, metadata, write_artifact
from warehouse.project.relation import LAKE
from warehouse.project.results import TESTS, NodeResult

if TYPE_CHECKING:
    from warehouse.graph.step import Step


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
