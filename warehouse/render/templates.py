"""Jinja as dbt uses it: a sandbox, macros across files and packages, and the source line of everything rendered.

A macro file is compiled once. Within one rendering, a macro sees the names of the model that (through however many
calls) called it, so a file's macros are bound to a context the first time one of them is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from types import TracebackType
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from udfs.errors import CuveeError, Location, ProjectError, did_you_mean
from warehouse.project.project import MacroFile
from warehouse.render.sandbox import Environment, Package

_UNKNOWN = re.compile(r"'(\w+)' is undefined")
_OPENING = re.compile(r"^{%-? *(macro|test) +(\w+)", re.MULTILINE)
#: So that even macros of one file call each other through the context, where return() is caught.
_PREFIX = "cuvee_macro__"
#: Macros of dbt that are Python here; ``dbt.run_query`` finds them too.
BUILTIN_NAMES = frozenset({"is_incremental", "run_query", "statement"})


class TemplateError(ProjectError):
    """A template cannot be read or rendered."""


class RenderError(TemplateError):
    """A template failed while it was rendered: something undefined was called, or a computation went wrong."""


class MacroReturn(BaseException):
    """``{{ return(value) }}``: leaves a macro with a value instead of text."""

    def __init__(self, value: Any) -> None:
        self.value = value


class _Blocks(Extension):
    """``{% test %}`` and ``{% materialization %}``: macros under another name."""

    tags = {"test", "data_test", "materialization"}  # noqa: RUF012  (Jinja's own protocol)

    def parse(self, parser: Parser) -> nodes.Node:
        tag = next(parser.stream)
        macro = nodes.Macro(lineno=tag.lineno)
        name = parser.parse_assign_target(name_only=True).name
        if tag.value == "materialization":
            macro.name, macro.args, macro.defaults = f"materialization_{name}", [], []
            while parser.stream.current.type != "block_end":
                next(parser.stream)
            macro.body = parser.parse_statements(("name:endmaterialization",), drop_needle=True)
            return macro
        macro.name = f"test_{name}"
        parser.parse_signature(macro)
        macro.body = parser.parse_statements((f"name:end{tag.value}",), drop_needle=True)
        return macro


def environment() -> Environment:
    """Make the sandbox with the functions that dbt's templates may use."""
    env = Environment(
        extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols", _Blocks],
        keep_trailing_newline=False,
    )
    env.filters.update(
        as_bool=lambda value: str(value).strip().lower() == "true" if isinstance(value, str) else bool(value),
        as_number=lambda value: float(value) if "." in str(value) else int(value),
        as_native=lambda value: value,
        as_text=str,
    )
    return env


@dataclass(frozen=True, slots=True)
class Macro:
    """A macro: its place in a file and the file's compiled template."""

    name: str
    package: str
    path: str
    text: str
    file: int
    line: int


class Library:
    """All macros of a project; each file is compiled when one of its macros is first called."""

    def __init__(self, files: tuple[MacroFile, ...], root_package: str, builtin: str) -> None:
        self.env = environment()
        self.root_package = root_package
        self.builtin = builtin
        self.errors: list[CuveeError] = []
        self._trees: list[tuple[str, Callable[[], nodes.Template]]] = []
        self._templates: dict[int, jinja2.Template] = {}
        self.sources: dict[str, str] = {}
        self.packages: dict[str, str] = {}  # of each file
        self.macros: dict[str, dict[str, Macro]] = {}
        for file in files:
            self.packages[file.path] = file.package
            self._add(file) if file.package != builtin else self._cut(file)

    def _cut(self, file: MacroFile) -> None:
        """Add a built-in file, of which most projects use little: every macro is a template of its own, not yet parsed.

        Parsing and compiling all of them would take 80 ms.
        """
        self.sources[file.path] = file.text
        found = list(_OPENING.finditer(file.text))
        for each, after in zip(found, [*found[1:], None], strict=True):
            text = file.text[each.start() : after.start() if after else None]
            line = file.text.count("\n", 0, each.start()) + 1
            name = f"test_{each[2]}" if each[1] == "test" else each[2]
            macro = Macro(name, file.package, file.path, text, len(self._trees), line)
            self.macros.setdefault(file.package, {})[name] = macro
            padded = "\n" * (line - 1) + text
            self._trees.append((file.path, lambda path=file.path, text=padded: self._parse(text, path)))  # type: ignore[misc]

    def _parse(self, text: str, path: str) -> nodes.Template:
        tree = self.env.parse(text, path, path)
        for node in tree.body:
            if isinstance(node, nodes.Macro):
                node.name = _PREFIX + node.name
        return tree

    def _add(self, file: MacroFile) -> None:
        self.sources[file.path] = file.text
        try:
            tree = self.env.parse(file.text, file.path, file.path)
        except jinja2.TemplateSyntaxError as error:
            self.errors.append(syntax_error(error, file.path, file.text))
            return
        lines = file.text.splitlines()
        found = [node for node in tree.body if isinstance(node, nodes.Macro)]
        for node in found:
            end = next((other.lineno for other in found if other.lineno > node.lineno), len(lines) + 1)
            text = "\n".join(lines[node.lineno - 1 : end - 1]).strip()
            macro = Macro(node.name, file.package, file.path, text, len(self._trees), node.lineno)
            self.macros.setdefault(file.package, {})[node.name] = macro
            node.name = _PREFIX + node.name
        self._trees.append((file.path, lambda: tree))

    def template(self, file: int) -> jinja2.Template:
        """Return the compiled file of a macro."""
        if file not in self._templates:
            path, tree = self._trees[file]
            self._templates[file] = self.compile(tree(), path)
        return self._templates[file]

    def compile(self, tree: nodes.Template, path: str) -> jinja2.Template:
        return jinja2.Template.from_code(
            self.env, self.env.compile(tree, path, path), self.env.make_globals(None), lambda: True
        )

    def find(self, name: str, package: str) -> Macro | None:
        """Find the macro ``name`` for ``package``: its own, then the project's, then the built-in one."""
        for where in (package, self.root_package, self.builtin):
            if macro := self.macros.get(where, {}).get(name):
                return macro
        return None


def builtin_macros(package: str) -> tuple[MacroFile, ...]:
    """Return the built-in files of macros, as files of ``package``."""
    folder = resources.files("warehouse.render") / "macros"
    return tuple(
        MacroFile(package, f"dbt/{file.name}", file.read_text(encoding="utf-8"))
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".sql")
    )


@dataclass(slots=True)
class Session:
    """One rendering: the names it offers and the macros bound to them.

    Macros see the names that ``package`` sees, whatever package they are of: that of the model that calls them, as in
    dbt.
    """

    library: Library
    names: Mapping[str, Any]
    package: str
    used: dict[str, Macro] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)
    results: Mapping[str, Any] = field(default_factory=dict)  # what macros, by name, are said to give
    _contexts: dict[int, Any] = field(default_factory=dict)

    def said(self, name: str) -> Callable[..., Any]:
        """Make a macro that returns a given result."""
        return lambda *args, **kwargs: self.results[name]

    def scope(self, package: str) -> _Scope:
        return _Scope(self, package)

    def macro(self, macro: Macro) -> Callable[..., Any]:
        """Return the macro as a callable."""

        def call(*args: Any, **kwargs: Any) -> Any:
            self.used[f"{macro.package}.{macro.name}"] = macro
            context = self._contexts.get(macro.file)
            if context is None:
                template = self.library.template(macro.file)
                context = template.new_context(self.scope(self.package), shared=True)
                for _ in template.root_render_func(context):
                    pass
                self._contexts[macro.file] = context
            try:
                return context.vars[_PREFIX + macro.name](*args, **kwargs)
            except MacroReturn as result:
                return result.value

        call.__name__ = macro.name
        return call

    def namespace(self, package: str) -> Namespace:
        return Namespace(self, package)


class _Scope(dict[str, Any]):
    """Names as a template of one package sees them. Jinja asks with ``in`` and ``[]`` only."""

    def __init__(self, session: Session, package: str) -> None:
        super().__init__()
        self._session, self._package = session, package

    def __contains__(self, name: object) -> bool:
        session = self._session
        return (
            name in session.results
            or name in session.names
            or session.library.find(str(name), self._package) is not None
            or name in session.library.macros
            or name in session.library.env.globals
        )

    def __iter__(self) -> Iterator[str]:
        library = self._session.library
        places = (self._package, library.root_package, library.builtin)
        return iter(
            {*self._session.names, *library.macros, *(n for each in places for n in library.macros.get(each, ()))}
        )

    def __getitem__(self, name: str) -> Any:
        session = self._session
        if name in session.results:
            return session.said(name)
        macro = session.library.find(name, self._package)
        if macro and macro.package != session.library.builtin:
            return session.macro(macro)
        if name in session.names:
            session.touched.add(name)
            return session.names[name]
        if macro:
            return session.macro(macro)
        if name in session.library.macros:
            return session.namespace(name)
        return session.library.env.globals[name]

    def get(self, name: str, default: Any = None) -> Any:
        try:
            return self[name]
        except KeyError:
            return default


class Namespace(Package):
    """``dbt_utils.star``: the macros of one package."""

    def __init__(self, session: Session, package: str) -> None:
        self.__session, self.__package = session, package

    def __getattr__(self, name: str) -> Any:
        session = self.__session
        if f"{self.__package}.{name}" in session.results:
            return session.said(f"{self.__package}.{name}")
        if macro := session.library.macros.get(self.__package, {}).get(name):
            return session.macro(macro)
        if self.__package == session.library.builtin and name in BUILTIN_NAMES:
            session.touched.add(name)
            return session.names[name]
        raise AttributeError(name)


@dataclass(frozen=True, slots=True)
class Text:
    """A rendered template. ``lines[i]`` is the source line of line ``i`` of ``sql`` (both from 0 and 1 as in files)."""

    sql: str
    lines: tuple[int, ...]


def render(session: Session, source: str, path: str, package: str, first_line: int = 1) -> Text:
    """Render one template. Raises TemplateError, located in the file with the mistake."""
    library = session.library
    if "{{" not in source and "{%" not in source and "{#" not in source:
        return Text(source, tuple(range(first_line, first_line + source.count("\n") + 1)))
    try:
        template = library.compile(library.env.parse(source, path, path), path)
    except jinja2.TemplateSyntaxError as error:
        raise syntax_error(error, path, source) from error
    context = template.new_context(session.scope(package), shared=True)
    chunks: list[tuple[str, int]] = []
    rendering: Any = template.root_render_func(context)  # a generator: its frame says which line it is at
    try:
        chunks.extend((chunk, template.get_corresponding_lineno(rendering.gi_frame.f_lineno)) for chunk in rendering)
    except MacroReturn as result:
        raise TemplateError("return() is outside of a macro", where=Location(path)) from result
    except Exception as error:
        raise_located(error, library.sources | {path: source}, path, context.parent)
    return Text("".join(chunk for chunk, _ in chunks), tuple(_source_lines(chunks, source)))


def _source_lines(chunks: list[tuple[str, int]], source: str) -> Iterator[int]:
    """Map rendered lines to source lines. Literal text advances with the source; an expression stays on its line."""
    starts = [0, *(match.end() for match in re.finditer("\n", source))]
    lines: list[int] = []
    blank = True  # the rendered line so far has no text of its own
    for chunk, line in chunks:
        literal = source.find(chunk, starts[min(line, len(starts)) - 1]) if chunk.strip() else -1
        at = source.count("\n", 0, literal) + 1 if literal >= 0 else line
        literal_lines = literal >= 0 or not chunk.strip()
        for index, part in enumerate(chunk.split("\n")):
            here = min(at + index, len(starts)) if literal_lines else at
            if index or not lines:
                lines.append(here)
                blank = True
            if blank and part.strip():
                lines[-1], blank = here, False
    yield from lines or [1]


def syntax_error(error: jinja2.TemplateSyntaxError, path: str, source: str) -> TemplateError:
    """Return a Jinja syntax error as a TemplateError."""
    return TemplateError(str(error.message), where=Location(path, error.lineno), hint=excerpt(source, error.lineno))


def raise_located(error: Exception, sources: Mapping[str, str], path: str, names: Iterable[str] = ()) -> NoReturn:
    """Raise ``error`` again, located at the innermost template line on its way. ``names`` are the known ones."""
    stack = list(_template_lines(error.__traceback__, sources))
    if isinstance(error, CuveeError) and error.where is not None and not stack:
        raise error
    inner, line = stack[-1] if stack else (path, None)
    shown = excerpt(sources.get(inner, ""), line) if line else None
    called = f"called from {stack[0][0]}:{stack[0][1]}" if stack and stack[0][0] != inner else None
    if isinstance(error, CuveeError):
        message, hint = error.message, error.hint
    else:
        message, hint = str(error) or type(error).__name__, None
        if isinstance(error, jinja2.UndefinedError):
            message = message.replace("'None' has", "None has")
            if unknown := _UNKNOWN.fullmatch(message):
                hint = did_you_mean(unknown[1], names)
        elif not isinstance(error, jinja2.TemplateError):
            message = f"{type(error).__name__}: {message}"
    hints = "\n  ".join(text for text in (shown, hint, called) if text)
    kind = TemplateError if isinstance(error, CuveeError) else RenderError
    raise kind(message, where=Location(inner, line), hint=hints or None) from error


def _template_lines(trace: TracebackType | None, sources: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    while trace:
        template = trace.tb_frame.f_globals.get("__jinja_template__")
        if template is not None and template.filename in sources:
            yield template.filename, template.get_corresponding_lineno(trace.tb_lineno)
        trace = trace.tb_next


def excerpt(source: str, line: int | None, column: int | None = None) -> str | None:
    """Return the line of a source with its number, and a mark below ``column``."""
    lines = source.splitlines()
    if line is None or not 0 < line <= len(lines):
        return None
    shown = f"{line} | {lines[line - 1].rstrip()}"
    if column is not None:
        shown += f"\n  {' ' * len(str(line))} | {' ' * (column - 1)}^"
    return shown
