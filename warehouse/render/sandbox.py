"""The sandbox in which templates run, and its undefined names."""

from __future__ import annotations

from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.idtracking import VAR_LOAD_PARAMETER, Symbols
from jinja2.sandbox import SandboxedEnvironment


class Undefined(jinja2.Undefined):
    """An undefined name: false in a condition, an error as soon as it is used."""

    def __str__(self) -> str:
        self._fail_with_undefined_error()

    __iter__ = __len__ = __str__  # type: ignore[assignment]


class Unset(jinja2.Undefined):
    """A name that the template sets, but on another branch. It is empty, as in dbt: packages print such names."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __getitem__(self, name: Any) -> Any:
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self


class _Generator(CodeGenerator):
    """Distinguishes names that the template sets itself from those that it expects."""

    def visit_Name(self, node: nodes.Name, frame: Frame) -> None:
        given = self.filename not in self.environment.installed and not _sets(frame.symbols, node.name)  # type: ignore[attr-defined]
        ref = None if node.ctx != "load" or given else frame.symbols.ref(node.name)
        load = frame.symbols.find_load(ref) if ref else None
        if ref and not (load and load[0] == VAR_LOAD_PARAMETER):
            self.write(f"(environment.unset(name={node.name!r}) if {ref} is missing else {ref})")
        else:
            super().visit_Name(node, frame)


def _sets(symbols: Symbols | None, name: str) -> bool:
    while symbols is not None:
        if name in symbols.stores:
            return True
        symbols = symbols.parent
    return False


class Package:
    """A namespace of macros, whose names may begin with an underscore."""


class Environment(SandboxedEnvironment):
    """The sandbox in which all templates run.

    While templates are only read (``asking`` is off), what a macro finds out from the database is None, and what is
    printed of None is nothing.
    """

    code_generator_class = _Generator
    unset = Unset
    asking = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.installed: set[str] = set()  # files of packages, whose mistakes are not the user's to mend

    def undefined_of(self, value: Any, name: str) -> jinja2.Undefined:
        kind = Unset if value is None and not self.asking else self.undefined
        return kind(obj=value, name=name)

    def getattr(self, obj: Any, attribute: str) -> Any:
        found = super().getattr(obj, attribute)
        return self.undefined_of(obj, attribute) if obj is None and isinstance(found, jinja2.Undefined) else found

    def getitem(self, obj: Any, argument: Any) -> Any:
        found = super().getitem(obj, argument)
        return self.undefined_of(obj, str(argument)) if obj is None and isinstance(found, jinja2.Undefined) else found

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, Package):
            return not attr.startswith(("__", "_Namespace"))
        return super().is_safe_attribute(obj, attr, value)
