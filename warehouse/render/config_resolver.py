"""The configuration of nodes, the names of their relations, and the templates in YAML files."""

from __future__ import annotations

import datetime
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from udfs.errors import CuveeError, Location, ProjectError, did_you_mean
from warehouse.lake.names import unfit
from warehouse.project.options import DEFAULTS, Options
from warehouse.project.package import NAME, project_folders
from warehouse.project.project import Node, Project, ProjectErrors, target_of
from warehouse.project.properties import merge
from warehouse.project.relation import EPHEMERAL, Relation
from warehouse.render.context import Context
from warehouse.render.input_sample import sample_of
from warehouse.render.jinja_globals import BUILTIN
from warehouse.render.node_view import describe, versioned
from warehouse.render.rendering import Database, NoDatabase, RenderContext, Rendered
from warehouse.render.sandbox import PrintedUndefined, RenderPass, Undefined
from warehouse.render.templates import Library, Macro, Session, TemplateError, builtin_macros, raise_located, render

if TYPE_CHECKING:
    from warehouse.render.label_names import LabelNames

_METADATA = "DBT_ENV_CUSTOM_ENV_"

#: How a project may call its own version of a built-in macro.
_PREFIXES = ("", "duckdb__", "default__")


class ConfigResolver(ABC):
    """Finds the final config of each node of a project for one target, and the relation of its rows.

    ``env_vars`` collects the environment variables that mattered.
    """

    def __init__(
        self,
        project: Project,
        options: Options = DEFAULTS,
        database: Database | None = None,
        *,
        say: Callable[[str], None] = lambda line: None,
        deferred: Mapping[str, Relation] | None = None,
    ) -> None:
        self.project = project
        self.sample = sample_of(options)
        self.deferred = dict(deferred or {})  # nodes that are read elsewhere than they would be built
        self.from_scratch: set[str] = set()  # incremental models that are built from scratch
        self.target = target_of(project, options.target)
        self.given = dict(options.variables)
        self.database = database or NoDatabase()
        self.full_refresh, self.store_failures = options.full_refresh, options.store_failures
        self.strict = options.strict
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
        """The taxonomies that ``label_is`` and ``taxonomy_labels`` look up."""
        from warehouse.render.label_names import LabelNames

        return LabelNames(project_folders(self.project.root))

    @abstractmethod
    def render(self, node: Node) -> Rendered:
        """Render a node as far as it can be known without the database."""

    def rendered(self, node: Node) -> Rendered | None:
        """Return a node as far as it was rendered already."""
        return self._rendered.get(node.id)

    def is_enabled(self, node: Node) -> bool:
        """Return whether a node is enabled by its final config."""
        return self.enabled(replace(node, config=self.final_config(node)))

    def enabled(self, node: Node) -> bool:
        value = node.config.get("enabled", True)
        return str(value).strip().lower() not in ("false", "0") if isinstance(value, str) else bool(value)

    def settings(self, node: Node) -> dict[str, Any]:
        """Return the node's config from the project's YAML, with its templates rendered."""
        if node.id not in self._config:
            where = node.described_at or node.where
            self._config[node.id] = {
                key: value if key in ("pre_hook", "post_hook", "where", "fail_calc") else self.value(value, where)
                for key, value in node.config.items()
            }
        return self._config[node.id]

    def final_config(self, node: Node) -> Mapping[str, Any]:
        """Return the node's config with its own ``config(...)`` call. A constant call is read without rendering."""
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
        """Return the arguments of ``config(...)`` if they are all constants."""
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
        """Return the relation of a node's rows."""
        if node.kind == "source":
            assert node.schema and node.identifier
            where = node.described_at or node.where
            return Relation(str(self.value(node.schema, where)), str(self.value(node.identifier, where)))
        config = self.final_config(node) if config is None else config
        custom, alias = config.get("schema"), config.get("alias")
        schema = self._named("generate_schema_name", node, custom)
        if schema is None:
            schema = self.target.schema if custom is None else f"{self.target.schema}_{str(custom).strip()}"
        if node.kind == "snapshot" and config.get("target_schema"):
            schema = str(config["target_schema"])
        identifier = self._named("generate_alias_name", node, alias) or str(alias or versioned(node)).strip()
        kind = config.get("materialized", "view") if node.kind == "model" else "table"
        if kind == "ephemeral":
            return Relation(schema, f"{EPHEMERAL}{versioned(node)}", type="cte")
        if why := unfit(schema, identifier):
            hint = "name it with alias and schema in its config"
            raise ProjectError(f"{node.name}: {why}", where=node.described_at or node.where, hint=hint)
        return Relation(schema, identifier, type="view" if kind == "view" else "table")

    def found_at(self, node: Node) -> Relation:
        """Return the relation that a node is read from: its own, unless it is deferred."""
        return self.deferred.get(node.id) or self.relation(node)

    def own(self, name: str) -> Macro | None:
        """Return the project's version of a built-in macro, if it has one."""
        own = self.library.macros.get(self.project.name, {})
        return next((own[prefix + name] for prefix in _PREFIXES if prefix + name in own), None)

    def _named(self, macro_name: str, node: Node, custom: Any) -> str | None:
        """Call the project's own generate_schema_name or generate_alias_name, if it has one."""
        macro = self.own(macro_name)
        if macro is None:
            return None
        now = RenderContext(node, dict(self.settings(node)), execute=False, incremental=False)
        session = self.session(now, named=True)
        try:
            return str(session.macro(macro)(custom, describe(self, node, now.config))).strip()
        except CuveeError:
            raise
        except Exception as error:
            raise TemplateError(f"{macro_name} failed: {error}", where=Location(macro.path, macro.line)) from error

    def session(self, now: RenderContext, more: Mapping[str, Any] | None = None, *, named: bool = False) -> Session:
        """Begin a rendering with the names of its context and ``more``. ``named``: of a macro that names a relation."""
        session = Session(self.library, {}, now.node.package, results=now.overrides.macros if now.overrides else {})
        session.names = {**Context(self, now, session).names(named=named), **(more or {})}
        return session

    def _yaml(self, where: Location) -> Node:
        """Return a node for the templates of a YAML file that belong to none."""
        return Node("", "yaml", where.path, self.project.name, where.path, ())

    def value(self, value: Any, where: Location, names: Mapping[str, Any] | None = None) -> Any:
        """Return a value of a YAML file with its templates rendered. A lone ``{{ … }}`` keeps its type."""
        if isinstance(value, str) and ("{{" in value or "{%" in value):
            now = RenderContext(self._yaml(where), {}, execute=False, incremental=False)
            return self.template_value(value, self.session(now, names), where)
        if isinstance(value, Mapping):
            return {key: self.value(item, where, names) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item, where, names) for item in value]
        return value

    def hook(self, text: str, where: Location, names: Mapping[str, Any], node: Node | None = None) -> str:
        """Render a hook into the statement to run now. Its template may query the database. Empty if there is none.

        ``node`` is the one it belongs to, with its final config.
        """
        whose = node or self._yaml(where)
        now = RenderContext(whose, dict(whose.config), execute=True, incremental=False)
        value = self.template_value(text, self.session(now, names), where)
        sql = str(value).strip() if value is not None else ""
        if sql.startswith("{"):  # what before_begin() and after_commit() give
            sql = self.hook(str(json.loads(sql)["sql"]), where, names, node)
        return sql.rstrip(";").rstrip()

    def call(self, macro: Macro, arguments: Mapping[str, Any]) -> Any:
        """Call a macro by itself. It may query the database. Raises TemplateError, located."""
        node = Node("", "operation", macro.path, macro.package, macro.path, ())
        session = self.session(RenderContext(node, {}, execute=True, incremental=False))
        try:
            return session.macro(macro)(**arguments)
        except Exception as error:
            raise_located(error, self.library.sources, macro.path, session.names)

    def template_value(self, value: str, session: Session, where: Location) -> Any:
        """Render a template of a YAML file. Raises TemplateError, located."""
        inner = value.strip()
        env = self.library.env
        before, env.now = env.now, RenderPass()
        try:
            if inner.startswith("{{") and inner.endswith("}}") and inner.count("{{") == 1:
                compiled = env.compile_expression(inner[2:-2], undefined_to_none=False)
                found = compiled(_Flat(session.scope(self.project.name)))
                if isinstance(found, Undefined):
                    found._fail_with_undefined_error()
            else:
                found = render(session, value, where.path, self.project.name).sql
            self.judge(self._yaml(where), env.now.printed)
            return found
        except CuveeError as error:
            raise TemplateError(error.message, where=where, hint=error.hint) from error
        except Exception as error:
            raise TemplateError(f"{value}: {error}", where=where) from error
        finally:
            env.now = before

    def judge(self, node: Node, printed: list[PrintedUndefined]) -> None:
        """Warn of undefined names that the project's own templates printed. Raises ProjectErrors under --strict."""
        judged = {self.project.name, NAME} if self.strict else {self.project.name}
        found = [
            each for each in dict.fromkeys(printed) if self.library.packages.get(each.path, node.package) in judged
        ]
        if self.strict and found:
            raise ProjectErrors([self._undefined(node, each) for each in found])
        for each in found:
            self.say(f"warning: {self._undefined(node, each)}")

    def _undefined(self, node: Node, printed: PrintedUndefined) -> TemplateError:
        names = self.session(RenderContext(node, {}, execute=False, incremental=False)).scope(node.package)
        where = Location(printed.path or node.path, printed.line)
        hint = did_you_mean(printed.name, names) or "nothing is printed; give it a value, or default('')"
        return TemplateError(printed.message, where=where, hint=hint)

    def described_nodes(self) -> Mapping[str, Node]:
        """Return all nodes with the templates in their descriptions rendered. Mistakes go to ``errors``."""
        nodes = dict(self.project.nodes)
        for node in self.project.nodes.values():
            texts = (node.description, *(column.description for column in node.columns))
            if not any("{{" in text or "{%" in text for text in texts):
                continue
            where = node.described_at or node.where
            names = {"doc": _Doc(self.project, node)}

            def rendered(text: str, where: Location = where, names: Mapping[str, Any] = names) -> str:
                try:
                    return str(self.value(text, where, names))
                except CuveeError as error:
                    self.errors.append(error)
                    return text

            columns = tuple(
                replace(each, description=rendered(each.description, Location(where.path, each.line or where.line)))
                for each in node.columns
            )
            nodes[node.id] = replace(node, description=rendered(node.description), columns=columns)
        return nodes

    def this(self, now: RenderContext) -> Relation:
        """Return the relation of the node that is being rendered."""
        return self.relation(now.node, None if now.node.id not in self._open else self._partial(now))

    def _partial(self, now: RenderContext) -> Mapping[str, Any]:
        """Return the config of the node that is being rendered, with its own ``config(...)`` if that is constant."""
        static = self._static_config(now.node) if "config(" in now.node.text.replace(" ", "") else {}
        config = merge(now.config, static or {})
        return {**config, "materialized": "table"} if config.get("materialized") == "ephemeral" else config


class _Doc:
    """``doc('name')`` and ``doc('package', 'name')``: looks in the node's own package, then in the project."""

    def __init__(self, project: Project, node: Node) -> None:
        self._project, self._node = project, node

    def __call__(self, *names: str) -> str:
        docs = self._project.docs
        if len(names) not in (1, 2):
            raise ProjectError("doc() takes a name, or a package and a name")
        places = [names[0]] if len(names) == 2 else [self._node.package, *self._project.packages]
        for place in places:
            if found := docs.get((place, names[-1])):
                return found.text
        known = [".".join(each) if len(names) == 2 else each[1] for each in docs]
        hint = did_you_mean(".".join(names), known) or f"write {{% docs {names[-1]} %}}…{{% enddocs %}} in a .md file"
        raise ProjectError(f"no docs block is named {'.'.join(names)!r}", hint=hint)


class _Flat(dict[str, Any]):
    """A scope for ``compile_expression``: a mapping that Jinja copies key by key."""

    def __init__(self, scope: Any) -> None:
        super().__init__({**dict.fromkeys(scope._session.library.macros), **scope._session.names})
        for package in (scope._package, BUILTIN):
            for name in scope._session.library.macros.get(package, {}):
                self[name] = scope[name]
        for package in scope._session.library.macros:
            self[package] = scope._session.namespace(package)
