"""Render the macros of Cuvée's package by plain Jinja, without dbt and without the builder."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import jinja2

from tests.helpers import SQL


class _Package:
    """The name ``cuvee`` in templates: the macros of the files that are rendered."""

    module: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)


def render(files: Iterable[str], call: str, environment: jinja2.Environment | None = None, **values: Any) -> str:
    """Return a macro call as SQL. ``files`` are the files of macros that it needs; the call need not say ``cuvee.``."""
    environment = environment or jinja2.Environment(undefined=jinja2.StrictUndefined)
    package = _Package()
    macros = "".join(map(_text, files))
    package.module = environment.from_string(macros).make_module({**values, "cuvee": package})
    return environment.from_string(macros + call).render(**values, cuvee=package).strip()


@cache
def _text(name: str) -> str:
    return (SQL / "macros" / name).read_text()
