"""Plan a build: compare each node's fingerprint with that of its last build.

A node's fingerprint covers its SQL (parsed, so a comment or a new layout is not a change), its config, the expensive
functions it calls, and the versions of what it reads. A view is built again only if a definition changed: new rows
reach its readers by themselves.

For a node that is read, its version is its own fingerprint; for other tables it is that of ``lake.catalog``. A parent
that is not in the build counts as the version that is in the lake. A test that passed is not run again while what it
tested is the same; ``cuvee test`` runs it anyway, and so does a build if its table of stored failures is missing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING

from udfs.errors import CuveeError
from warehouse.build import state
from warehouse.build.state import Built, NodeFingerprint
from warehouse.graph.graph import Graph
from warehouse.graph.step import Step, values_digest
from warehouse.project.contract import contract
from warehouse.project.package import NAME
from warehouse.project.results import NEVER_BUILT, TESTS

if TYPE_CHECKING:
    from udfs.expensive import ExpensiveFunction
    from warehouse.project.relation import Relation

#: Settings that change what is built; the rest (tags, meta, descriptions) may change freely.
_BUILDING = (
    "materialized", "unique_key", "incremental_strategy", "on_schema_change", "incremental_predicates", "full_refresh",
    "pre_hook", "post_hook", "column_types", "delimiter", "quote_columns", "contract", "max_error_share",
    "merge_update_columns", "merge_exclude_columns", "strategy", "updated_at", "check_cols", "hard_deletes",
    "invalidate_hard_deletes", "dbt_valid_to_current", "snapshot_meta_column_names",
    "event_time", "batch_size", "begin", "lookback", "sql_header",
)  # fmt: skip
#: What a snapshot's versions name as one of its inputs: the build before, since its table keeps what that found.
_HISTORY = "(the build before)"
#: What a microbatch model's versions name as one of its inputs: the time up to which it is built.
_BATCHES = "(its batches)"
_TESTING = ("severity", "warn_if", "error_if", "limit", "fail_calc", "where")


@dataclass(frozen=True, slots=True)
class Planned:
    """One node of a plan. ``why`` is empty if it is unchanged."""

    step: Step
    parts: NodeFingerprint
    last: Built | None
    why: tuple[str, ...]
    problem: CuveeError | None = None  # what keeps it from being planned, reported when it is to be built

    @property
    def changed(self) -> bool:
        return bool(self.why)

    @property
    def is_outdated(self) -> bool:
        """Return whether the rows of one of the package's incremental models came of another definition.

        A variable or a function changed, of the model or of what it reads: rows are not added to such rows. Models of a
        project are the project's own matter, as in dbt: --full-refresh.
        """
        ours = self.step.kind == "incremental" and self.step.node.package == NAME
        return ours and self.last is not None and self.last.parts.definition != self.parts.definition

    @property
    def diff(self) -> str:
        """Return the change of the SQL since the last build, as a unified diff."""
        if self.last is None or not self.changed or self.parts.sql == self.last.parts.sql:
            return ""
        from difflib import unified_diff

        lines = unified_diff(self.last.sql.splitlines(), self.step.sql.splitlines(), "built", "now", lineterm="", n=2)
        return "\n".join(lines)

    @property
    def relation_key(self) -> str:
        relation = self.step.relation
        return relation.key if relation and self.step.kind not in (*TESTS, "ephemeral") else ""


@dataclass(frozen=True, slots=True)
class Plan:
    """The selected nodes in groups that can be built one after another."""

    generations: tuple[tuple[Planned, ...], ...]
    guards: Mapping[str, set[str]]
    relations: Mapping[str, tuple[str, str]]  # what is in the lake: name → kind, version

    def __iter__(self):  # type: ignore[no-untyped-def]
        return (planned for group in self.generations for planned in group)


@dataclass(frozen=True, slots=True)
class PlanBasis:
    """The state that nodes are compared with: last builds, and versions of relations."""

    built: Mapping[str, Built]  # the last builds
    relations: Mapping[str, tuple[str, str]]  # what is in the lake: name → kind, version
    functions: Mapping[str, ExpensiveFunction]
    view_tables: Mapping[str, tuple[str, ...]]  # the tables below each view that is not a node
    full_refresh: bool = False
    partial: str = ""  # the option by which models are built of a part of what they read
    deferred: Mapping[str, Relation] = field(default_factory=dict)  # nodes that are read elsewhere
    kept: Mapping[str, Relation] = field(default_factory=dict)  # where the failures of tests go
    until: Mapping[str, str] = field(default_factory=dict)  # up to which time microbatch models are built


def make(graph: Graph, selected: Collection[str], basis: PlanBasis) -> Plan:
    """Compare the graph with the last builds and with what is in the lake. Changes nothing."""
    closure = graph.closure()
    needed = set(selected).union(*(closure[key] for key in selected)) if selected else set()
    relations = basis.relations
    versions = _Versions(relations, basis.view_tables)
    planned: dict[str, Planned] = {}
    read: dict[str, str] = {}  # the version that downstream nodes see
    for key in graph.order():
        if key in needed:
            step = graph.steps[key]
            if key in basis.deferred:
                read[key] = versions.of(basis.deferred[key].key)
            planned[key] = _planned(step, planned, read, basis, versions)
            if key in basis.until:
                planned[key] = _in_time(planned[key], basis.until[key])
            place = basis.kept.get(key)
            if place and not planned[key].changed and relations.get(place.key, ("",))[0] != place.type:
                planned[key] = replace(planned[key], why=("its failures are not kept yet",))
            read.setdefault(key, _read_as(planned[key], key in selected))
    chosen = [key for key in selected if graph.steps[key].kind not in NEVER_BUILT]
    return Plan(
        tuple(tuple(planned[key] for key in group) for group in graph.generations(chosen)),
        graph.guards(chosen),
        relations,
    )


def _in_time(planned: Planned, until: str) -> Planned:
    """Plan a microbatch model, which is due as soon as there is another batch to build."""
    parts = replace(planned.parts, inputs={**planned.parts.inputs, _BATCHES: until})
    last = planned.last
    if planned.changed or last is None or last.parts.inputs.get(_BATCHES) == until:
        return replace(planned, parts=parts)
    return replace(planned, parts=parts, why=("there are other batches",))


def _read_as(planned: Planned, selected: bool) -> str:
    """Return the version that downstream nodes see. For a changed node that is not selected, it is the lake's."""
    step, last = planned.step, planned.last
    if selected or last is None or not planned.changed or step.kind in (*NEVER_BUILT, *TESTS):
        return planned.parts.fingerprint
    return values_digest(last.fingerprint, planned.parts.inputs) if step.kind == "view" else last.fingerprint


def _planned(
    step: Step, above: Mapping[str, Planned], read: Mapping[str, str], basis: PlanBasis, versions: _Versions
) -> Planned:
    problem = step.problem
    called: dict[str, str] = {}
    if step.tree is not None:
        from warehouse.answers.calls import calls

        try:
            called = {call.title: call.function.fingerprint for call in calls(step, basis.functions)}
        except CuveeError as error:
            problem = error
    config = step.node.config
    settings = {name: config[name] for name in (_TESTING if step.kind == "test" else _BUILDING) if name in config}
    if problem is None and (promised := contract(step.node)):
        settings["contract"] = promised.terms
    relation = step.relation.key if step.relation else ""
    inputs: dict[str, str] = {}
    definitions: list[str] = []
    for key in step.parents:
        parent = above[key]
        # No row of the lake matters to a unit test, only the types of what its model reads.
        inputs[key] = parent.parts.definition if step.kind == "unit_test" else read[key]
        definitions.append(parent.parts.definition)
    for name in step.external:
        inputs[name] = versions.of(name)
    if step.kind == "source":
        inputs = {"rows": versions.of(relation)}
    configured = values_digest(settings, step.kind, relation)
    parts = NodeFingerprint(
        text=sha256(step.node.text.encode()).hexdigest()[:32],
        sql=step.digest,
        config=configured,
        definition=values_digest(
            step.digest.split("\n")[0] if step.kind == "seed" else step.digest,
            configured,
            sorted(definitions),
            *([called] if called else []),
        ),
        macros=step.rendered.macros if step.rendered else {},
        functions=called,
        inputs=inputs,
        partial=basis.partial if step.node.kind in ("model", "snapshot") else "",
    )
    last = basis.built.get(state.key(step.id, relation))
    if step.kind == "snapshot" and last is not None and _HISTORY in last.parts.inputs:
        inputs[_HISTORY] = last.parts.inputs[_HISTORY]
    why = _why(step, parts, last, above, basis)
    if step.kind == "snapshot" and last is not None and why:
        parts = replace(parts, inputs={**inputs, _HISTORY: last.fingerprint})
    return Planned(step, parts, last, tuple(why), problem)


def _why(
    step: Step, parts: NodeFingerprint, last: Built | None, above: Mapping[str, Planned], basis: PlanBasis
) -> list[str]:
    if step.kind in NEVER_BUILT:
        return []
    if last is None:
        return ["never tested" if step.kind in TESTS else "never built"]
    if step.kind not in TESTS:
        relation = step.relation
        assert relation is not None
        found = basis.relations.get(relation.key)
        wanted = "view" if step.kind == "view" else "table"
        if found is None:
            return [f"{relation.key} is not in the lake any more"]
        if found[0] != wanted:
            return [f"{relation.key} is a {found[0]}, not a {wanted}"]
    before = last.parts
    why: list[str] = []
    if step.kind == "unit_test":
        if parts.sql != before.sql:
            return ["the test or its model changed"]
        if parts.inputs != before.inputs:
            return ["the definition of something upstream changed"]
    if basis.full_refresh and step.kind in ("incremental", "seed", "table"):
        why.append("full refresh")
    if parts.partial != before.partial:
        return [f"in part: {parts.partial}" if parts.partial else f"built in part the last time: {before.partial}"]
    if parts.sql != before.sql:
        why.extend(_sql_reasons(step, parts, before))
    if parts.config != before.config:
        why.append("config changed")
    if step.kind == "view" and not (step.rendered and step.rendered.live):
        if not why and parts.definition != before.definition:
            why.append("the definition of something upstream changed")
        return why
    why.extend(_function_reasons(parts, before))
    changed = [name for name, version in parts.inputs.items() if before.inputs.get(name) != version]
    changed += [name for name in before.inputs if name not in parts.inputs and name != _BATCHES]
    if changed and not (parts.sql != before.sql and set(parts.inputs) != set(before.inputs)):
        why.append("upstream data changed: " + ", ".join(sorted(_plain(name, above) for name in changed)))
    if step.kind in TESTS and last.status not in ("pass", "warn") and not why:
        why.append(f"last time: {last.status}")
    if not why and parts.fingerprint != last.fingerprint and _BATCHES not in before.inputs:
        why.append("changed")
    return why


def _sql_reasons(step: Step, parts: NodeFingerprint, before: NodeFingerprint) -> list[str]:
    if step.kind == "seed":
        return ["seed rows changed"]
    if parts.text != before.text:
        return ["SQL changed"]
    macros = [name for name, version in parts.macros.items() if before.macros.get(name, version) != version]
    if macros:
        return [f"macro changed: {', '.join(sorted(macros))}"]
    return ["SQL changed by a variable, a macro or the database"]


def _function_reasons(parts: NodeFingerprint, before: NodeFingerprint) -> list[str]:
    changed = [
        call
        for call, version in parts.functions.items()
        if call in before.functions and before.functions[call] != version
    ]
    return [f"function changed: {', '.join(sorted(changed))}"] if changed else []


def _plain(name: str, above: Mapping[str, Planned]) -> str:
    if name not in above:
        return name
    step = above[name].step
    return step.relation.key if step.kind == "source" and step.relation else step.name


class _Versions:
    """The versions of lake tables that are not nodes."""

    def __init__(self, relations: Mapping[str, tuple[str, str]], view_tables: Mapping[str, tuple[str, ...]]) -> None:
        self._relations, self._view_tables = relations, view_tables

    def of(self, name: str) -> str:
        """Return the version of a table; of a view, its own and that of every table below it."""
        kind, version = self._relations.get(name, ("", "absent"))
        if kind == "view":
            return values_digest(version, [self.of(table) for table in self._view_tables.get(name, ())])
        return version
