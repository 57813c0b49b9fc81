"""From a node's template to its SQL: the names that dbt's templates use, and what they mean here.

    renderer = Renderer(project, target, variables, database)
    renderer.render(project.nodes["model.shop.orders"]).sql

A node is rendered twice at most. First without touching the database, which gives its dependencies, its config and
its fingerprint; then, if the template asked for something only the database knows (``run_query``,
``is_incremental()``, ``execute``), again at the moment it is built.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from udfs.errors import CuveeError, Location, did_you_mean
from warehouse.build.materialize import microbatch
from warehouse.build.materialize.contracts import contract
from warehouse.project.documentation import described
from warehouse.project.project import Node, Project, ProjectErrors, with_config
from warehouse.project.properties import merge
from warehouse.project.relation import EPHEMERAL, Relation, readable
from warehouse.project.snapshot_settings import settings as snapshot_settings
from warehouse.project.target import Target
from warehouse.render.context import Context
from warehouse.render.generic_tests import rendered_test
from warehouse.render.input_sample import Part
from warehouse.render.jinja_globals import BUILTIN, Overrides, Pass
from warehouse.render.node_view import describe, versioned
from warehouse.render.templates import (
    Library,
    Macro,
    Session,
    TemplateError,
    Text,
    builtin_macros,
    raise_located,
    render,
)

if TYPE_CHECKING:
    from warehouse.build.materialize.microbatch import Batch
    from warehouse.render.label_names import LabelNames

#: Names that depend on the database or on what else is built; ``asked`` stands for the adapter's methods that do.
_LIVE = {
    "execute", "run_query", "is_incremental", "load_result", "statement", "flags", "graph", "selected_resources",
    "asked",
}  # fmt: skip
_METADATA = "DBT_ENV_CUSTOM_ENV_"
#: How a project may call its own version of a built-in macro.
_PREFIXES = ("", "duckdb__", "default__")
_MATERIALIZATIONS = ("view", "table", "incremental", "ephemeral")


class ConfigError(CuveeError):
    """A setting has a value that cannot be."""


class Database(Protocol):
    """What templates may ask the lake."""

    def relation_type(self, schema: str, identifier: str) -> str | None:
        """``table``, ``view`` or None if there is none."""

    def query(self, sql: str) -> tuple[list[str], list[str], list[tuple[Any, ...]]]:
        """Column names, types and rows."""


class NoDatabase:
    """A lake in which nothing exists."""

    def relation_type(self, schema: str, identifier: str) -> str | None:
        return None

    def query(self, sql: str) -> tuple[list[str], list[str], list[tuple[Any, ...]]]:
        raise CuveeError("a template asked the database, but none is open")


@dataclass(frozen=True, slots=True)
class Rendered:
    """A node with its final config and SQL. ``lines[i]`` is the line in the node's file of line ``i`` of ``sql``."""

    node: Node
    relation: Relation | None
    sql: str
    lines: tuple[int, ...]
    refs: tuple[str, ...]
    macros: Mapping[str, str]
    live: bool  # the template asked for something only the database knows
    touched: frozenset[str] = frozenset()  # the names that the template used

    @property
    def materialized(self) -> str:
        return str(self.node.config.get("materialized", "view"))


class Renderer:
    """Renders the nodes of one project for one target. ``env_vars`` collects the environment that mattered."""

    def __init__(
        self,
        project: Project,
        target: Target | None = None,
        variables: Mapping[str, Any] | None = None,
        database: Database | None = None,
        *,
        full_refresh: bool = False,
        store_failures: bool = False,
        say: Callable[[str], None] = lambda line: None,
        part: Part | None = None,
        deferred: Mapping[str, Relation] | None = None,
    ) -> None:
        self.project = project
        self.part = part
        self.deferred = dict(deferred or {})  # nodes that are read elsewhere than they would be built
        self.anew: set[str] = set()  # incremental models that are built from nothing
        self.target = target or Target()
        self.given = dict(variables or {})
        self.database = database or NoDatabase()
        self.full_refresh = full_refresh
        self.store_failures = store_failures
        self.say = say
        self.env_vars: dict[str, str | None] = {}
        self.metadata = {
            name.removeprefix(_METADATA): value for name, value in os.environ.items() if name.startswith(_METADATA)
        }
        self.selected: tuple[str, ...] = ()  # the ids that this build is to build
        self.invocation_id = str(uuid4())
        self.started = datetime.datetime.now(datetime.UTC)
        self.library = Library((*builtin_macros(BUILTIN), *project.macros), project.name, BUILTIN)
        self.errors: list[CuveeError] = list(self.library.errors)
        self._rendered: dict[str, Rendered] = {}
        self._config: dict[str, dict[str, Any]] = {}
        self._final: dict[str, Mapping[str, Any]] = {}
        self._open: set[str] = set()

    @cached_property
    def taxonomies(self) -> LabelNames:
        """What ``label_is`` and ``taxonomy_labels`` ask."""
        from warehouse.render.label_names import LabelNames

        return LabelNames(self.project.root)

    # --- nodes ----------------------------------------------------------------------------------------------

    def render_all(self) -> dict[str, Rendered]:
        """Every enabled node but sources that can be rendered; what cannot is in ``errors``."""
        self.project = replace(self.project, nodes=described(self))
        for node in self.project.of_kind("model", "seed", "snapshot", "test"):
            try:
                self.render(node)
            except ProjectErrors as errors:
                self.errors.extend(errors.errors)
            except CuveeError as error:
                self.errors.append(error)
        return {key: value for key, value in self._rendered.items() if self.enabled(value.node)}

    def enabled(self, node: Node) -> bool:
        value = node.config.get("enabled", True)
        return str(value).strip().lower() not in ("false", "0") if isinstance(value, str) else bool(value)

    def render(self, node: Node) -> Rendered:
        """The node as far as it can be known without the database."""
        if node.id in self._rendered:
            return self._rendered[node.id]
        if node.id in self._open:
            raise CuveeError(f"{node.name} refers to itself", where=node.where)
        self._open.add(node.id)
        try:
            self._rendered[node.id] = self._render(node, execute=False, incremental=False)
        finally:
            self._open.discard(node.id)
        return self._rendered[node.id]

    def rendered(self, node: Node) -> Rendered | None:
        """The node as far as it was rendered already."""
        return self._rendered.get(node.id)

    def render_live(self, rendered: Rendered) -> Rendered:
        """The node as it is sent to DuckDB now, with whatever its template asks of the database."""
        if not rendered.live:
            return rendered
        incremental = self.runs_incrementally(rendered)
        return self._render(rendered.node, execute=True, incremental=incremental)

    def runs_incrementally(self, rendered: Rendered) -> bool:
        """What ``is_incremental()`` says: the table is there, and nobody asked for a full refresh."""
        refresh = rendered.node.config.get("full_refresh")
        if rendered.materialized != "incremental" or rendered.relation is None or rendered.node.id in self.anew:
            return False
        if bool(self.full_refresh if refresh is None else refresh):
            return False
        return self.database.relation_type(rendered.relation.schema, rendered.relation.identifier) == "table"

    def render_batch(self, rendered: Rendered, batch: Batch) -> Rendered:
        """The node as it is sent to DuckDB now for one batch of time."""
        return self._render(rendered.node, execute=True, incremental=self.runs_incrementally(rendered), batch=batch)

    def render_given(self, node: Node, overrides: Overrides, *, execute: bool) -> Rendered:
        """The node as a unit test has it."""
        return self._render(node, execute=execute, incremental=False, overrides=overrides)

    def _render(
        self,
        node: Node,
        *,
        execute: bool,
        incremental: bool,
        overrides: Overrides | None = None,
        batch: Batch | None = None,
    ) -> Rendered:
        before, self.library.env.asking = self.library.env.asking, execute
        try:
            return self._rendered_node(Pass(node, {}, execute, incremental, overrides, batch))
        finally:
            self.library.env.asking = before

    def _rendered_node(self, now: Pass) -> Rendered:
        node, overrides = now.node, now.overrides
        config = self.settings(node)
        if node.kind == "seed":
            relation = self.relation(node, config)
            return Rendered(with_config(node, config), relation, "", (), (), {}, live=False)
        now.config = dict(config)
        if not self.enabled(with_config(node, config)):
            return Rendered(with_config(node, config), None, "", (), (), {}, live=False)
        session = Session(self.library, {}, results=overrides.macros if overrides else {})
        session.names = Context(self, now, session).names()
        try:
            text = (
                rendered_test(self, now, session) if node.test else render(session, node.text, node.path, node.package)
            )
        except CuveeError:
            if self.enabled(with_config(node, now.config)):
                raise
            return Rendered(with_config(node, now.config), None, "", (), (), {}, live=False)  # it disables itself
        text = replace(text, sql=readable(text.sql))
        final = with_config(node, now.config)
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
            or bool(self.part and self.part.rows and now.refs)
            or microbatch.is_microbatch(final),
            touched=frozenset(session.touched),
        )

    def _check(self, node: Node) -> None:
        if node.kind == "snapshot":
            snapshot_settings(node)
        kind = node.config.get("materialized", "view")
        if node.kind == "model" and kind not in _MATERIALIZATIONS:
            raise ConfigError(
                f"{node.name} has materialized={kind!r}",
                where=Location(node.path),
                hint=did_you_mean(str(kind), _MATERIALIZATIONS),
            )
        contract(node)
        if microbatch.is_microbatch(node):
            microbatch.check(node)

    # --- config and names of relations ----------------------------------------------------------------------

    def settings(self, node: Node) -> dict[str, Any]:
        """The node's config as its project's YAML says, with templates in it rendered."""
        if node.id not in self._config:
            where = node.described_at or node.where
            self._config[node.id] = {
                key: value if key in ("pre_hook", "post_hook", "where", "fail_calc") else self.value(value, where)
                for key, value in node.config.items()
            }
        return self._config[node.id]

    def final_config(self, node: Node) -> Mapping[str, Any]:
        """The node's config with its own ``config(...)`` call, without rendering it where the call is constant."""
        if node.id in self._final:
            return self._final[node.id]
        config = self.settings(node)
        if node.kind in ("model", "snapshot") and "config(" in node.text.replace(" ", ""):
            static = self._static_config(node)
            if static is None:
                return config if node.id in self._open else self.render(node).node.config
            config = merge(config, static)
        self._final[node.id] = config
        return config

    def _static_config(self, node: Node) -> dict[str, Any] | None:
        """The arguments of ``config(...)`` if they are all constants."""
        import jinja2
        from jinja2 import nodes

        try:
            tree = self.library.env.parse(node.text, node.path, node.path)
            found: dict[str, Any] = {}
            for call in tree.find_all(nodes.Call):
                if isinstance(call.node, nodes.Name) and call.node.name == "config":
                    if call.args or call.dyn_kwargs:
                        return None
                    found = merge(found, {pair.key: pair.value.as_const() for pair in call.kwargs})
            if any(True for _ in tree.find_all(nodes.If)) and tree.find(nodes.If).find(nodes.Call):  # type: ignore[union-attr]
                placing = {"schema", "target_schema", "alias", "materialized", "enabled"}
                return found if not placing & found.keys() else None
        except (nodes.Impossible, jinja2.TemplateSyntaxError):
            return None
        return found

    def relation(self, node: Node, config: Mapping[str, Any] | None = None) -> Relation:
        """Where a node's rows are."""
        if node.kind == "source":
            assert node.schema and node.identifier
            where = node.described_at or node.where
            return Relation(str(self.value(node.schema, where)), str(self.value(node.identifier, where)))
        config = self.final_config(node) if config is None else config
        custom = config.get("schema")
        alias = config.get("alias")
        schema = self._named("generate_schema_name", node, custom)
        if schema is None:
            schema = self.target.schema if custom is None else f"{self.target.schema}_{str(custom).strip()}"
        if node.kind == "snapshot" and config.get("target_schema"):
            schema = str(config["target_schema"])
        identifier = self._named("generate_alias_name", node, alias) or str(alias or versioned(node)).strip()
        kind = config.get("materialized", "view") if node.kind == "model" else "table"
        if kind == "ephemeral":
            return Relation(schema, f"{EPHEMERAL}{versioned(node)}", type="cte")
        return Relation(schema, identifier, type="view" if kind == "view" else "table")

    def found_at(self, node: Node) -> Relation:
        """Where a node's rows are read: where they are built, unless they are deferred."""
        return self.deferred.get(node.id) or self.relation(node)

    def own(self, name: str) -> Macro | None:
        """The project's version of a built-in macro, if it has one."""
        own = self.library.macros.get(self.project.name, {})
        return next((own[prefix + name] for prefix in _PREFIXES if prefix + name in own), None)

    def _named(self, macro_name: str, node: Node, custom: Any) -> str | None:
        """What the project's own generate_schema_name or generate_alias_name says, if it has one."""
        macro = self.own(macro_name)
        if macro is None:
            return None
        now = Pass(node, dict(self.settings(node)), execute=False, incremental=False)
        session = Session(self.library, {})
        session.names = Context(self, now, session).names(named=True)
        try:
            return str(session.macro(macro)(custom, describe(self, node, now.config))).strip()
        except CuveeError:
            raise
        except Exception as error:
            raise TemplateError(f"{macro_name} failed: {error}", where=Location(macro.path, macro.line)) from error

    def value(self, value: Any, where: Location, names: Mapping[str, Any] | None = None) -> Any:
        """A value of a YAML file, with its templates rendered; a lone ``{{ … }}`` keeps its type."""
        if isinstance(value, str) and ("{{" in value or "{%" in value):
            session = Session(self.library, {})
            now = Pass(Node("", "yaml", where.path, self.project.name, where.path, ()), {}, False, False)
            session.names = {**Context(self, now, session).names(), **(names or {})}
            return self.template_value(value, session, where)
        if isinstance(value, Mapping):
            return {key: self.value(item, where, names) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item, where, names) for item in value]
        return value

    def hook(self, text: str, where: Location, names: Mapping[str, Any], node: Node | None = None) -> str:
        """A hook as the statement that is run now: its template may ask the database. Empty if there is none.

        ``node`` is the one it belongs to, with its final config.
        """
        session = Session(self.library, {})
        whose = node or Node("", "yaml", where.path, self.project.name, where.path, ())
        now = Pass(whose, dict(whose.config), execute=True, incremental=False)
        session.names = {**Context(self, now, session).names(), **names}
        value = self.template_value(text, session, where)
        sql = str(value).strip() if value is not None else ""
        if sql.startswith("{"):  # what before_begin() and after_commit() give
            sql = self.hook(str(json.loads(sql)["sql"]), where, names, node)
        return sql.rstrip(";").rstrip()

    def call(self, macro: Macro, arguments: Mapping[str, Any]) -> Any:
        """What a macro gives that is called by itself, and may ask the database. Raises TemplateError, located."""
        session = Session(self.library, {})
        node = Node("", "operation", macro.path, macro.package, macro.path, ())
        session.names = Context(self, Pass(node, {}, execute=True, incremental=False), session).names()
        try:
            return session.macro(macro)(**arguments)
        except Exception as error:
            raise_located(error, self.library.sources, macro.path, session.names)

    def template_value(self, value: str, session: Session, where: Location) -> Any:
        """What a template of a YAML file comes to. Raises TemplateError, located."""
        inner = value.strip()
        try:
            if inner.startswith("{{") and inner.endswith("}}") and inner.count("{{") == 1:
                compiled = self.library.env.compile_expression(inner[2:-2], undefined_to_none=False)
                return compiled(_Flat(session.scope(self.project.name)))
            return render(session, value, where.path, self.project.name).sql
        except CuveeError as error:
            raise TemplateError(error.message, where=where, hint=error.hint) from error
        except Exception as error:
            raise TemplateError(f"{value}: {error}", where=where) from error

    def this(self, now: Pass) -> Relation:
        """Where the rows of a node are that is being rendered."""
        return self.relation(now.node, None if now.node.id not in self._open else self._partial(now))

    def _partial(self, now: Pass) -> Mapping[str, Any]:
        """The config of a node that is being rendered: what its own ``config(...)`` says is known if it is constant."""
        static = self._static_config(now.node) if "config(" in now.node.text.replace(" ", "") else {}
        config = merge(now.config, static or {})
        return {**config, "materialized": "table"} if config.get("materialized") == "ephemeral" else config

    def find(self, name: str, package: str | None, local: str, version: Any = None) -> Node | None:
        """The model, seed or snapshot that a ref names, looked for at home first."""
        places = [package] if package else [local, *self.project.packages]
        found = (self.project.referred(place, name, version) for place in places)
        return next((node for node in found if node is not None), None)


class _Flat(dict[str, Any]):
    """A scope as ``compile_expression`` wants it: a mapping that Jinja copies key by key."""

    def __init__(self, scope: Any) -> None:
        super().__init__({**dict.fromkeys(scope._session.library.macros), **scope._session.names})
        for package in (scope._package, BUILTIN):
            for name in scope._session.library.macros.get(package, {}):
                self[name] = scope[name]
        for package in scope._session.library.macros:
            self[package] = scope._session.namespace(package)


def _trimmed(text: Text) -> tuple[str, tuple[int, ...]]:
    """The SQL without blank lines around it and without a final semicolon; the line map stays in step."""
    sql = text.sql.rstrip().rstrip(";").rstrip()
    body = sql.lstrip()
    skipped = sql[: len(sql) - len(body)].count("\n")
    return body, text.lines[skipped : skipped + body.count("\n") + 1]
