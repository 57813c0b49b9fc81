"""The sandbox in which templates run, and its undefined names."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, ClassVar

import jinja2
from jinja2.sandbox import SandboxedEnvironment


@dataclass(frozen=True, slots=True)
class PrintedUndefined:
    """A place of a template that printed an undefined name or member."""

    message: str
    name: str
    path: str
    line: int | None


@dataclass(slots=True)
class RenderPass:
    """One rendering, and what was undefined in it.

    While templates are only read (``final`` is off), what a macro finds out from the database is None, and members and
    calls of what is undefined give it again, as in dbt: it may be there when the node is built.
    """

    final: bool = True
    tolerated: bool = False  # a member or a call of something undefined was let pass
    printed: list[PrintedUndefined] = field(default_factory=list)


class Undefined(jinja2.Undefined):
    """An undefined name or member, as in dbt: it prints nothing, is false, and is empty in a loop.

    Its members, calls of it and arithmetic with it are errors.
    """

    environment: ClassVar[Environment]
    __slots__ = ()

    def _again(self) -> Undefined:
        now = self.environment.now
        if now.final or self._undefined_exception is not jinja2.UndefinedError:
            self._fail_with_undefined_error()
        now.tolerated = True
        return self

    def __str__(self) -> str:
        if self._undefined_exception is not jinja2.UndefinedError:  # what the sandbox forbids
            self._fail_with_undefined_error()
        path, line = _template_line()
        name = str(self._undefined_name)
        self.environment.now.printed.append(PrintedUndefined(self._undefined_message, name, path, line))
        return ""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._again()

    def __getitem__(self, name: Any) -> Any:
        return self._again()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._again()


def _template_line() -> tuple[str, int | None]:
    """Return the file and line of the innermost template that runs now; an empty name if there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        template = frame.f_globals.get("__jinja_template__")
        if template is not None:
            return str(template.filename or ""), template.get_corresponding_lineno(frame.f_lineno)
        frame = frame.f_back
    return "", None


class Package:
    """A namespace of macros, whose names may begin with an underscore."""


class Environment(SandboxedEnvironment):
    """The sandbox in which all templates run. ``now`` is what it is rendering."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        own = type("Undefined", (Undefined,), {"environment": self, "__slots__": ()})
        super().__init__(*args, undefined=own, **kwargs)
        self.now = RenderPass()

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, Package):
            return not attr.startswith(("__", "_Namespace"))
        return super().is_safe_attribute(obj, attr, value)
