"""The names that dbt's templates use, with their values for one node."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from udfs import yamlfile
from udfs.errors import CuveeError, did_you_mean
from warehouse.project.project import Node
from warehouse.project.relation import LAKE, Relation
from warehouse.render.adapter import Adapter, Api
from warehouse.render.input_sample import within
from warehouse.render.jinja_globals import (
    Config,
    Exceptions,
    Flags,
    QueryResult,
    Var,
    diff_of_two_dicts,
    give_back,
    local_md5,
    modules,
    to_yaml,
    try_or_compiler_error,
)
from warehouse.render.node_view import GraphView, describe
from warehouse.render.rendering import RenderContext, Resolver
from warehouse.render.templates import Session, render


class Context:
    """The names of one rendering of one node."""

    def __init__(self, renderer: Resolver, now: RenderContext, session: Session) -> None:
        self._renderer, self._now, self._session = renderer, now, session

    def names(self, *, named: bool = False) -> dict[str, Any]:
        """Return all names with their values. ``named``: for a macro that names a relation, so without ``this``."""
        renderer, now, node = self._renderer, self._now, self._now.node
        names: dict[str, Any] = {
            "ref": lambda *names, **options: self._ref(names, options),
            "source": lambda schema, table: self._source(schema, table),
            "var": Var(renderer, now, self._text),
            "env_var": self._env_var,
            "config": Config(now),
            "target": renderer.target,
            "database": LAKE,
            "execute": now.execute,
            "is_incremental": lambda: now.incremental,
            "log": self._log,
            "print": lambda text="", **_: self._log(text, info=True),
            "exceptions": Exceptions(renderer),
            "return": give_back,
            "adapter": Adapter(renderer, now, self._session),
            "api": Api(),
            "modules": modules(),
            "run_query": lambda sql: self._query(sql),
            "statement": lambda name=None, fetch_result=False, auto_begin=True, **kw: self._statement(name, kw),
            "load_result": now.results.get,
            "store_result": self._store,
            "store_raw_result": lambda name, agate_table=None, **_: self._store(name, "OK", agate_table),
            "flags": Flags(renderer.full_refresh, STORE_FAILURES=renderer.store_failures),
            "graph": GraphView(renderer),
            "project_name": renderer.project.name,
            "invocation_id": renderer.invocation_id,
            "run_started_at": renderer.started,
            "dbt_version": "1.11.0",
            "selected_resources": list(renderer.selected) if now.execute else [],
            "invocation_args_dict": {"vars": dict(renderer.given), "target": renderer.target.name,
                                     "full_refresh": renderer.full_refresh, "which": "build"},
            "dbt_metadata_envs": renderer.metadata,
            "thread_id": "MainThread",
            "env": renderer.target,
            "column": Api.Column,
            "render": self._text,
            "write": lambda payload: "",
            "try_or_compiler_error": try_or_compiler_error,
            "diff_of_two_dicts": diff_of_two_dicts,
            "tojson": lambda value, default=None, sort_keys=False: json.dumps(value, sort_keys=sort_keys, default=str),
            "fromjson": lambda text, default=None: _or(default, json.loads, text),
            "fromyaml": lambda text, default=None: _or(default, yamlfile.parse, text, node.path),
            "toyaml": lambda value, default=None, sort_keys=False: to_yaml(value, sort_keys=sort_keys),
            "set": lambda values, default=None: _or(default, set, values),
            "set_strict": set,
            "zip": lambda *columns, default=None: _or(default, _zip, *columns),
            "zip_strict": lambda *columns: list(zip(*columns, strict=True)),
            "local_md5": local_md5,
            "context": self._session.scope(node.package),
            "label_codes": lambda category, label, taxonomy="eai": renderer.taxonomies.codes(category, label, taxonomy),
            "taxonomy_categories": lambda taxonomy="eai": renderer.taxonomies.categories(taxonomy),
            "taxonomy_rows": lambda taxonomy="eai": renderer.taxonomies.rows(taxonomy),
        }  # fmt: skip
        if not named and node.kind in ("model", "seed", "snapshot"):
            names["this"] = (now.overrides.inputs.get(node.id) if now.overrides else None) or renderer.this(now)
            names["schema"] = names["this"].schema
        else:
            names["schema"] = renderer.target.schema
        names["model"] = self._model(names.get("this"))
        names["builtins"] = dict(names)
        return names

    def _text(self, template: Any) -> str:
        node = self._now.node
        return render(self._session, str(template), node.path, node.package).sql

    def _model(self, this: Relation | None) -> dict[str, Any]:
        """Return the value of ``model`` for the node that is being rendered."""
        node, now = self._now.node, self._now
        final = self._renderer.final_config(node) if now.execute and this else {}
        known = describe(self._renderer, node, {"materialized": "view", **now.config, **final})
        if now.batch is not None:
            batch = now.batch
            known["batch"] = {"id": batch.id, "event_time_start": batch.start, "event_time_end": batch.end}
        if this is not None:
            known |= {"schema": this.schema, "alias": this.identifier, "relation_name": this.render()}
        return known

    def _ref(self, names: tuple[str, ...], options: Mapping[str, Any]) -> Relation:
        package, name = (names[0], names[1]) if len(names) == 2 else (None, names[0] if names else "")
        version = options.get("v", options.get("version"))
        renderer = self._renderer
        found = renderer.project.find(name, package, self._now.node.package, version, renderer.is_enabled)
        if found is None:
            known = [node.name for node in self._renderer.project.of_kind("model", "seed", "snapshot")]
            which = "" if version is None else f", version {version}"
            raise CuveeError(f"no model or seed is named {name!r}{which}", hint=did_you_mean(str(name), known))
        if not renderer.is_enabled(found) and self._now.node.kind == "test":
            self._now.config = {**self._now.config, "enabled": False}  # as in dbt, which leaves such a test out
            renderer.say(f"warning: the test {self._now.node.name} is left out: {name} is disabled")
        elif not renderer.is_enabled(found):
            raise CuveeError(f"{name} is disabled", hint=f"enable it in {found.path}, or do not refer to it")
        self._now.refs.append(found.id)
        return self._part(found)

    def _source(self, schema: str, table: str) -> Relation:
        renderer = self._renderer
        if node := renderer.project.source(f"{schema}.{table}", self._now.node.package, renderer.is_enabled):
            self._now.refs.append(node.id)
            return self._part(node)
        known = [f"{node.source_name}.{node.name}" for node in self._renderer.project.of_kind("source")]
        hint = did_you_mean(f"{schema}.{table}", known) or "declare it under sources: in a .yml file"
        raise CuveeError(f"no source is named {schema}.{table}", hint=hint)

    def _part(self, node: Node) -> Relation:
        """Return the relation that ``node`` is read from: all of it, its sample, or the rows given by a unit test."""
        if self._now.overrides and node.id in self._now.overrides.inputs:
            return self._now.overrides.inputs[node.id]
        renderer, relation = self._renderer, self._renderer.found_at(node)
        sample = renderer.sample
        if self._now.batch is not None:
            sample = within(sample, self._now.batch.start, self._now.batch.end)
        if sample is None or self._now.node.kind not in ("model", "snapshot"):
            return relation

        def ordered() -> bool:
            # Before the build the input may not be there: until it is rendered live, the SQL is as for documents.
            if not self._now.execute or renderer.database.relation_type(relation.schema, relation.identifier) is None:
                return True
            return "doc_id" in map(str.lower, renderer.database.query(f"from {relation} limit 0")[0])

        return sample.of(relation, renderer.final_config(node), ordered)

    def _env_var(self, name: str, default: str | None = None) -> str:
        if self._now.overrides and name in self._now.overrides.env_vars:
            return str(self._now.overrides.env_vars[name])
        value = os.environ.get(name)
        self._renderer.env_vars[name] = value
        if value is None and default is None:
            raise CuveeError(f"the environment has no variable {name}", hint=f"env_var('{name}', 'a default')")
        return value if value is not None else str(default)

    def _log(self, message: Any, info: bool = False) -> str:
        if info:
            self._renderer.say(str(message))
        return ""

    def _query(self, sql: Any) -> Any:
        return QueryResult(*self._renderer.database.query(str(sql))) if self._now.execute else None

    def _statement(self, name: str | None, kwargs: Mapping[str, Any]) -> str:
        caller = kwargs.get("caller")
        if caller is not None and self._now.execute:
            result = self._query(caller())
            if name:
                self._store(name, "OK", result)
        return ""

    def _store(self, name: str, response: Any, agate_table: Any = None) -> str:
        rows = [] if agate_table is None else [tuple(row) for row in agate_table.rows]
        self._now.results[name] = {"table": agate_table, "data": rows, "response": response}
        return ""


def _or(default: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call the function, or return the default if it fails."""
    try:
        return function(*arguments)
    except (TypeError, ValueError, CuveeError):
        return default


def _zip(*columns: Any) -> list[tuple[Any, ...]]:
    return list(zip(*columns, strict=False))
