"""The graph of a project: its nodes with their parsed SQL, in an order in which they can be built.

Edges come from ``ref`` and ``source``, and from the SQL itself: a model that names another model's table depends on
it, whether it said ``ref`` or not.
"""

from __future__ import annotations

import graphlib
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from udfs.errors import CuveeError, ProjectError
from warehouse.graph.parsing import SqlError, parse, table_names, with_ctes
from warehouse.graph.step import Step, query_digest, text_digest
from warehouse.graph.unit_test_step import unit_test_step
from warehouse.project.project import Node, ProjectErrors, collected
from warehouse.project.results import TESTS
from warehouse.render.renderer import Renderer
from warehouse.render.rendering import Rendered


@dataclass(slots=True)
class Graph:
    """All nodes by id, and their order."""

    steps: dict[str, Step]
    children: dict[str, list[str]] = field(default_factory=dict)
    rendered: dict[str, Rendered] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rendered = {key: step.rendered for key, step in self.steps.items() if step.rendered is not None}
        self.children = {key: [] for key in self.steps}
        for step in self.steps.values():
            for parent in step.parents:
                self.children[parent].append(step.id)

    def ancestors(self, key: str) -> set[str]:
        """Return everything that ``key`` depends on."""
        return reach(self.steps[key].parents, lambda each: self.steps[each].parents)

    def descendants(self, key: str) -> set[str]:
        """Return everything that depends on ``key``."""
        return reach(self.children[key], lambda each: self.children[each])

    def order(self) -> list[str]:
        """Return all ids, each after what it depends on; among equals by id. Raises ProjectError with the loop."""
        sorter = graphlib.TopologicalSorter({key: step.parents for key, step in self.steps.items()})
        try:
            sorter.prepare()
        except graphlib.CycleError as error:
            loop: list[str] = error.args[1][1:]
            last = loop.index(min(loop)) + 1
            loop = [*loop[last:], *loop[:last]]
            names = [self.steps[key].name for key in loop]
            message = f"models depend on each other in a circle: {' → '.join([names[-1], *names])}"
            hint = "one of them must read something else"
            raise ProjectError(message, where=self.steps[loop[0]].node.where, hint=hint) from error
        done: list[str] = []
        ready = sorted(sorter.get_ready(), reverse=True)
        while ready:
            key = ready.pop()
            done.append(key)
            sorter.done(key)
            ready.extend(sorted(sorter.get_ready(), reverse=True))
        return done

    def closure(self) -> dict[str, set[str]]:
        """Return everything that each node depends on."""
        above: dict[str, set[str]] = {}
        for key in self.order():
            parents = self.steps[key].parents
            above[key] = set(parents).union(*(above[parent] for parent in parents))
        return above

    def generations(self, selected: Collection[str]) -> list[list[str]]:
        """Return the selected ids in groups. Each depends only on groups before it, tests in between (see guards)."""
        above, guards = self.closure(), self.guards(selected)
        wanted = set(selected)

        @cache
        def depth(key: str) -> int:
            # Ancestors of ancestors are there already, so the recursion is only as deep as tests are nested.
            before = self._above(key, above) & wanted | guards.get(key, set())
            return 1 + max(map(depth, before), default=-1)

        groups: defaultdict[int, list[str]] = defaultdict(list)
        for key in self.order():
            if key in wanted:
                groups[depth(key)].append(key)
        return [groups[each] for each in sorted(groups)]

    def before(self, key: str) -> tuple[str, ...]:
        """Return the nodes that must be built before a node: its parents; before a unit test, those of its model."""
        step = self.steps[key]
        return self.steps[step.parents[0]].parents if step.kind == "unit_test" else step.parents

    def _above(self, key: str, above: Mapping[str, set[str]]) -> set[str]:
        """Return everything that comes before a node. A unit test comes before the model that it depends on."""
        step = self.steps[key]
        return above[step.parents[0]] if step.kind == "unit_test" else above[key]

    def guards(self, selected: Collection[str]) -> dict[str, set[str]]:
        """Return, for each selected node but tests, the selected tests whose failure keeps it from being built.

        A test guards what depends on everything that the test depends on; so no circle can arise. A unit test guards
        its model, and what guards the model guards the unit test. An ephemeral model is not built: there the unit
        test guards what reads it.
        """
        above = self.closure()
        tests = [key for key in selected if self.steps[key].kind == "test" and above[key]]
        units: dict[str, set[str]] = {}  # by model
        for key in selected:
            if self.steps[key].kind == "unit_test":
                units.setdefault(self.steps[key].parents[0], set()).add(key)
        inside = [model for model in units if self.steps[model].kind == "ephemeral"]
        found: dict[str, set[str]] = {}
        for key in selected:
            if self.steps[key].kind != "test":
                found[key] = {test for test in tests if above[test] <= self._above(key, above)}
            if self.steps[key].kind not in TESTS:
                found[key] |= units.get(key, set()).union(*(units[model] for model in inside if model in above[key]))
        return found


def reach(start: Iterable[str], onward: Callable[[str], Iterable[str]], steps: int = -1) -> set[str]:
    """Return ``start`` and everything within some steps of it; by default within any number."""
    found = set(start)
    frontier = found.copy()
    while frontier and steps:
        frontier = {key for each in frontier for key in onward(each)} - found
        found |= frontier
        steps -= 1
    return found


def build(renderer: Renderer, functions: Collection[str] = ()) -> Graph:
    """Make the graph of all enabled nodes. Raises ProjectErrors with all mistakes in all files.

    ``functions`` are the names of expensive functions: a test that calls one needs its SQL parsed.
    """
    rendered = renderer.render_all()
    nodes = {key: value for key, value in rendered.items() if value.relation is None or value.node.kind != "test"}
    errors = [*{str(error): error for error in renderer.errors}.values(), *_clashes(nodes)]
    relations = {
        value.relation.key: key for key, value in nodes.items() if value.relation and not value.relation.is_cte
    }
    sources = {node.id: node for node in renderer.project.of_kind("source")}
    for node in sources.values():
        relations.setdefault(renderer.relation(node).key, node.id)
    calls = re.compile(rf"\b({'|'.join(map(re.escape, functions))})\s*\(", re.IGNORECASE) if functions else None

    steps: dict[str, Step] = {}
    exposures: dict[str, Step] = {}
    for value in nodes.values():
        with collected(errors):
            steps[value.node.id] = _step(value, nodes, relations, renderer, calls)
    for node in renderer.project.of_kind("unit_test", "exposure"):
        with collected(errors):
            node = replace(node, config=renderer.settings(node))
            if not renderer.enabled(node):
                continue
            if node.kind == "exposure":
                exposures[node.id] = _exposure(node, {*steps, *sources}, renderer)
            elif node.attached in steps:
                steps[node.id] = unit_test_step(renderer, node)
    if errors:  # all mistakes at once; alone, a template or a query that is wrong fails its own node
        raise ProjectErrors([*errors, *(step.problem for step in steps.values() if step.problem)])
    for node in sources.values():
        steps[node.id] = Step(node.id, node, relation=renderer.relation(node))
    # A test of something disabled is disabled with it.
    steps = {
        key: step
        for key, step in steps.items()
        if step.node.attached is None or (step.node.attached in steps and all(p in steps for p in step.parents))
    }
    graph = Graph(steps | exposures)
    graph.order()
    return graph


def _clashes(nodes: Mapping[str, Rendered]) -> Iterator[CuveeError]:
    """Find nodes that would be built as one relation."""
    taken: dict[str, Node] = {}
    for value in nodes.values():
        if value.relation is None or value.relation.is_cte:
            continue
        other = taken.setdefault(value.relation.key, value.node)
        if other is not value.node:
            yield CuveeError(
                f"{value.node.kind} {value.node.name} would be built as {value.relation.key},"
                f" and so would {other.kind} {other.name} ({other.path})",
                where=value.node.where,
                hint="give one of them another alias or schema",
            )


def _exposure(node: Node, known: Collection[str], renderer: Renderer) -> Step:
    """Return the step of an exposure. Raises CuveeError for a dependency that does not exist or is disabled."""
    assert node.exposure is not None
    parents: dict[str, None] = {}
    for text in node.exposure.depends_on:
        what = f"exposure {node.name}"
        found = renderer.project.named(text, node.package, what, node.where, renderer.is_enabled)
        if found.id not in known:
            message = f"exposure {node.name} depends on {found.name}, which is disabled"
            raise CuveeError(message, where=node.where, hint=f"enable it in {found.path}, or do not refer to it")
        parents[found.id] = None
    return Step(node.id, node, parents=tuple(parents))


def _step(
    value: Rendered,
    nodes: Mapping[str, Rendered],
    relations: Mapping[str, str],
    renderer: Renderer,
    calls: re.Pattern[str] | None,
) -> Step:
    node = value.node
    bare = Step(node.id, node, value, value.relation)
    if node.kind == "seed":
        return replace(bare, digest=node.text)
    sql, lines = compose(value, nodes)
    parents = [ref for ref in value.refs if ref not in nodes or not _is_ephemeral(nodes[ref])]
    parents += [ref for ref in value.refs if ref in nodes and _is_ephemeral(nodes[ref])]
    step = replace(bare, sql=sql, lines=lines, digest=text_digest(sql), parents=tuple(parents))
    inside = (value, *ephemerals(value, nodes).values())
    if problem := next((each.problem for each in inside if each.problem), None):
        return replace(step, digest=text_digest(node.text), problem=problem)
    # The SQL of a generic test comes from a macro: what it reads is known from its arguments.
    if node.test and not (calls and calls.search(sql)):
        sources = [renderer.project.nodes[ref] for ref in value.refs if ref.startswith("source.")]
        built = [relations[renderer.relation(source).key] for source in sources]  # a source may be a table built here
        return replace(step, parents=tuple(dict.fromkeys([*parents, *built])))
    try:
        tree = parse(step)
    except SqlError as error:
        # Where only the database knows what it is made of, it is parsed when it is built.
        return step if needs_database(value, nodes) else replace(step, problem=error)
    if tree is None:
        renderer.say(
            f"warning: {node.path}: only DuckDB can parse this query: what it names without ref() is not known"
        )
        return step
    named = {name: relations.get(name) for name in table_names(tree, renderer.target.schema)}
    owners = [owner for owner in named.values() if owner and owner != node.id]
    external = tuple(name for name, owner in named.items() if not owner)
    parents = list(dict.fromkeys([*parents, *owners]))
    return replace(step, digest=query_digest(tree), parents=tuple(parents), external=external, tree=tree)


def _is_ephemeral(value: Rendered) -> bool:
    return value.relation is not None and value.relation.is_cte


def ephemerals(value: Rendered, nodes: Mapping[str, Rendered]) -> dict[str, Rendered]:
    """Return the ephemeral models in a node's SQL, each after those it uses itself."""
    needed: dict[str, Rendered] = {}

    def collect(each: Rendered, path: tuple[str, ...]) -> None:
        for ref in each.refs:
            if ref in nodes and _is_ephemeral(nodes[ref]) and ref not in path:
                collect(nodes[ref], (*path, ref))
                needed.setdefault(ref, nodes[ref])

    collect(value, (value.node.id,))
    return needed


def needs_database(value: Rendered, nodes: Mapping[str, Rendered]) -> bool:
    """Return whether the node's SQL needs the database: its own template queries it, or that of a model inside it."""
    return value.live or any(each.live for each in ephemerals(value, nodes).values())


def compose(value: Rendered, nodes: Mapping[str, Rendered]) -> tuple[str, tuple[int, ...]]:
    """Return the SQL of a node with its ephemeral models put into its WITH, and the line map of that SQL."""
    queries = {str(each.relation): each.sql for each in ephemerals(value, nodes).values()}
    return with_ctes(value.sql, value.lines, queries)
