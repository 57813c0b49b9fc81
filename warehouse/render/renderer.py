"""Render a node's template into SQL.

    renderer = Renderer(project, options, database)
    renderer.render(project.nodes["model.shop.orders"]).sql

A node is rendered twice at most. First without touching the database, which gives its dependencies, its config and
its fingerprint; then, if the template asked for something only the database knows (``run_query``,
``is_incremental()``, ``execute``), again at the moment it is built.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from hashlib import sha256

from udfs.errors import CuveeError, Location, ProjectError, did_you_mean
from warehouse.project.batches import Batch, is_microbatch
from warehouse.project.batches import check as check_batches
from warehouse.project.contract import contract
from warehouse.project.package import NAME
from warehouse.project.project import Node, ProjectErrors
from warehouse.project.relation import readable
from warehouse.project.snapshot_settings import settings as snapshot_settings
from warehouse.render.config_resolver import ConfigResolver
from warehouse.render.generic_tests import rendered_test
from warehouse.render.jinja_globals import BUILTIN
from warehouse.render.rendering import Overrides, RenderContext, Rendered
from warehouse.render.sandbox import RenderPass
from warehouse.render.templates import RenderError, Text, render

#: Names that depend on the database or on what else is built; ``asked`` means the adapter's methods that do.
_LIVE = {
    "execute", "run_query", "is_incremental", "load_result", "statement", "flags", "graph", "selected_resources",
    "asked",
}  # fmt: skip
_MATERIALIZATIONS = ("view", "table", "incremental", "ephemeral")


class Renderer(ConfigResolver):
    """Renders the nodes of one project for one target."""

    def render_all(self) -> dict[str, Rendered]:
        """Render all enabled nodes but sources. Those that fail are in ``errors``."""
        self.project = replace(self.project, nodes=self.described_nodes())
        for node in self.project.of_kind("model", "seed", "snapshot", "test"):
            try:
                self.render(node)
            except ProjectErrors as errors:
                self.errors.extend(errors.errors)
            except CuveeError as error:
                self.errors.append(error)
        self.errors.extend(self._clashes())
        return {key: value for key, value in self._rendered.items() if self.enabled(value.node)}

    def _clashes(self) -> Iterator[ProjectError]:
        """Yield an error for each enabled node of the project that has the name of one of Cuvée's package."""
        for node in self.project.of_kind("model", "seed", "snapshot", "source"):
            key = f"{node.source_name}.{node.name}" if node.source_name else node.name
            for other in self._shipped.get(key, ()) if node.package != NAME else ():
                kind = "source" if node.kind == "source" else "model"
                if (other.kind == "source") == (kind == "source") and self.is_enabled(node) and self.is_enabled(other):
                    setting = f"{kind}s: {': '.join(other.fqn)}: +enabled: false"
                    message = f"{key} is also a {kind} of Cuvée's package"
                    hint = f"give it another name, or disable that one in dbt_project.yml: {setting}"
                    yield ProjectError(message, where=node.where, hint=hint)

    @cached_property
    def _shipped(self) -> dict[str, list[Node]]:
        found: dict[str, list[Node]] = {}
        for node in self.project.of_kind("model", "seed", "snapshot", "source"):
            if node.package == NAME and self.project.name != NAME:
                found.setdefault(f"{node.source_name}.{node.name}" if node.source_name else node.name, []).append(node)
        return found

    def render(self, node: Node) -> Rendered:
        """Render a node as far as is possible without the database."""
        if node.id in self._rendered:
            return self._rendered[node.id]
        if node.id in self._open:
            raise CuveeError(f"{node.name} refers to itself", where=node.where)
        self._open.add(node.id)
        try:
            self._rendered[node.id] = self._render(RenderContext(node, {}, execute=False, incremental=False))
        finally:
            self._open.discard(node.id)
        return self._rendered[node.id]

    def render_live(self, rendered: Rendered, batch: Batch | None = None) -> Rendered:
        """Render a node for DuckDB now, or one batch of a microbatch model. Its template may query the database."""
        if not rendered.live:
            return rendered
        incremental = self.runs_incrementally(rendered)
        return self._render(RenderContext(rendered.node, {}, execute=True, incremental=incremental, batch=batch))

    def runs_incrementally(self, rendered: Rendered) -> bool:
        """Return the value of ``is_incremental()``: the table exists, and a full refresh is not wanted."""
        refresh = rendered.node.config.get("full_refresh")
        if rendered.materialized != "incremental" or rendered.relation is None or rendered.node.id in self.from_scratch:
            return False
        if bool(self.full_refresh if refresh is None else refresh):
            return False
        return self.database.relation_type(rendered.relation.schema, rendered.relation.identifier) == "table"

    def render_given(self, node: Node, overrides: Overrides, *, execute: bool) -> Rendered:
        """Render a node for a unit test."""
        return self._render(RenderContext(node, {}, execute, incremental=False, overrides=overrides))

    def _render(self, now: RenderContext) -> Rendered:
        env = self.library.env
        before, env.now = env.now, RenderPass(final=now.execute)
        try:
            rendered = self._rendered_node(now)
            if env.now.tolerated and not rendered.live:  # it is not rendered again: let it raise
                env.now = RenderPass()
                rendered = self._rendered_node(RenderContext(now.node, {}, now.execute, now.incremental, now.overrides))
            if now.execute or not rendered.live:
                self.judge(now.node, env.now.printed)
            return rendered
        finally:
            env.now = before

    def _rendered_node(self, now: RenderContext) -> Rendered:
        node = now.node
        config = self.settings(node)
        if node.kind == "seed":
            return Rendered(replace(node, config=config), self.relation(node, config))
        now.config = dict(config)
        if not self.enabled(replace(node, config=config)):
            return Rendered(replace(node, config=config))
        session = self.session(now)
        try:
            if node.test:
                text = rendered_test(self, now, session)
            else:
                text = render(session, node.text, node.path, node.package)
        except CuveeError as error:
            final = replace(node, config=now.config)
            if not self.enabled(final):
                return Rendered(final)  # it disables itself
            if not isinstance(error, RenderError) or now.execute or now.overrides:
                raise
            relation = None if node.kind == "test" else self.relation(node, now.config)
            return Rendered(final, relation, refs=tuple(dict.fromkeys(now.refs)), problem=error)
        text = replace(text, sql=readable(text.sql))
        final = replace(node, config=now.config)
        self._check(final)
        return Rendered(
            node=final,
            relation=None if node.kind == "test" else self.relation(node, now.config),
            sql=text.sql.strip().rstrip(";").rstrip() if node.kind == "test" else _trimmed(text)[0],
            lines=text.lines if node.kind == "test" else _trimmed(text)[1],
            refs=tuple(dict.fromkeys(now.refs)),
            macros={
                name: sha256(macro.text.encode()).hexdigest()[:16]
                for name, macro in session.used.items()
                if macro.package != BUILTIN
            },
            # A sample of rows asks the database which columns there are.
            live=bool(session.touched & _LIVE)
            or bool(self.sample and self.sample.rows and now.refs)
            or is_microbatch(final),
            touched=frozenset(session.touched),
        )

    def _check(self, node: Node) -> None:
        if node.kind == "snapshot":
            snapshot_settings(node)
        kind = node.config.get("materialized", "view")
        if node.kind == "model" and kind not in _MATERIALIZATIONS:
            hint = did_you_mean(str(kind), _MATERIALIZATIONS)
            raise ProjectError(f"{node.name} has materialized={kind!r}", where=Location(node.path), hint=hint)
        contract(node)
        if is_microbatch(node):
            check_batches(node)


def _trimmed(text: Text) -> tuple[str, tuple[int, ...]]:
    """Strip blank lines around the SQL and a final semicolon. The line map stays in step."""
    sql = text.sql.rstrip().rstrip(";").rstrip()
    body = sql.lstrip()
    skipped = sql[: len(sql) - len(body)].count("\n")
    return body, text.lines[skipped : skipped + body.count("\n") + 1]
