"""The names that dbt's templates use, and what they mean here."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from udfs.errors import CuveeError, did_you_mean
from warehouse import yamlfile
from warehouse.names import (
    Adapter,
    Api,
    Config,
    Exceptions,
    Flags,
    GraphView,
    Pass,
    Result,
    Var,
    give_back,
    local_md5,
    modules,
    to_yaml,
)
from warehouse.project import with_config
from warehouse.relation import LAKE, Relation
from warehouse.templates import Session

if TYPE_CHECKING:
    from warehouse.render import Renderer


class Context:
    """The names of one rendering of one node."""

    def __init__(self, renderer: Renderer, now: Pass, session: Session) -> None:
        self._renderer, self._now, self._session = renderer, now, session

    def names(self, *, named: bool = False) -> dict[str, Any]:
        """Every name by what it means. ``named`` is for a macro that names a relation: it has no ``this`` yet."""
        renderer, now, node = self._renderer, self._now, self._now.node
        names: dict[str, Any] = {
            "ref": lambda *names, **options: self._ref(names, options),
            "source": lambda schema, table: self._source(schema, table),
            "var": Var(renderer, node),
            "env_var": self._env_var,
            "config": Config(now),
            "target": renderer.target,
            "database": LAKE,
            "execute": now.execute,
            "is_incremental": lambda: now.incremental,
            "should_full_refresh": lambda: renderer.full_refresh,
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
            "load_relation": lambda relation: Adapter(renderer, now, self._session).load_relation(relation),
            "flags": Flags(renderer.full_refresh),
            "graph": GraphView(renderer),
            "model": {"name": node.name, "unique_id": node.id, "alias": now.config.get("alias") or node.name,
                      "config": now.config, "fqn": list(node.fqn), "path": node.path, "package_name": node.package,
                      "description": node.description, "tags": list(now.config.get("tags") or [])},
            "project_name": renderer.project.name,
            "invocation_id": renderer.started.strftime("%Y%m%dT%H%M%S%f"),
            "run_started_at": renderer.started,
            "dbt_version": "1.11.0",
            "selected_resources": [],
            "tojson": lambda value, default=None, sort_keys=False: json.dumps(value, sort_keys=sort_keys, default=str),
            "fromjson": lambda text, default=None: json.loads(text),
            "fromyaml": lambda text, default=None: yamlfile.parse(text, node.path),
            "toyaml": lambda value, default=None, sort_keys=False: to_yaml(value, sort_keys=sort_keys),
            "set": lambda values, default=None: set(values),
            "set_strict": set,
            "zip": lambda *columns, default=None: list(zip(*columns, strict=False)),
            "zip_strict": lambda *columns: list(zip(*columns, strict=True)),
            "local_md5": local_md5,
            "label_codes": lambda category, label, taxonomy="eai": renderer.taxonomies.codes(category, label, taxonomy),
            "taxonomy_rows": lambda taxonomy="eai": renderer.taxonomies.rows(taxonomy),
            "context": {},
        }  # fmt: skip
        if not named and node.kind in ("model", "seed"):
            names["this"] = renderer.this(now)
            names["schema"] = names["this"].schema
        else:
            names["schema"] = renderer.target.schema
        names["builtins"] = {key: names[key] for key in ("ref", "source", "config", "var")}
        return names

    def _ref(self, names: tuple[str, ...], options: Mapping[str, Any]) -> Relation:
        package, name = (names[0], names[1]) if len(names) == 2 else (None, names[0] if names else "")
        found = self._renderer.find(name, package, self._now.node.package)
        if found is None:
            known = [node.name for node in self._renderer.project.of_kind("model", "seed")]
            raise CuveeError(f"no model or seed is named {name!r}", hint=did_you_mean(str(name), known))
        if not self._renderer.enabled(with_config(found, self._renderer.final_config(found))):
            raise CuveeError(f"{name} is disabled", hint=f"enable it in {found.path}, or do not refer to it")
        self._now.refs.append(found.id)
        return self._renderer.relation(found)

    def _source(self, schema: str, table: str) -> Relation:
        for place in [self._now.node.package, *self._renderer.project.packages]:
            if node := self._renderer.project.nodes.get(f"source.{place}.{schema}.{table}"):
                self._now.refs.append(node.id)
                return self._renderer.relation(node)
        known = [f"{node.source_name}.{node.name}" for node in self._renderer.project.of_kind("source")]
        hint = did_you_mean(f"{schema}.{table}", known) or "declare it under sources: in a .yml file"
        raise CuveeError(f"no source is named {schema}.{table}", hint=hint)

    def _env_var(self, name: str, default: str | None = None) -> str:
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
        if not self._now.execute:
            return None
        return Result(*self._renderer.database.query(str(sql)))

    def _statement(self, name: str | None, kwargs: Mapping[str, Any]) -> str:
        caller = kwargs.get("caller")
        if caller is not None and self._now.execute:
            result = Result(*self._renderer.database.query(str(caller())))
            if name:
                self._now.results[name] = {
                    "table": result,
                    "data": [list(row.values()) for row in result.rows],
                    "response": "OK",
                }
        return ""
