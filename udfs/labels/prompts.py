"""Prompts as Jinja templates.

A template sees ``text`` (what is read of the document), ``n_chars`` (the whole document's length in characters) and
``categories``, those that are asked for: each has ``heading``, ``description``, ``choices`` (labels with ``code``,
``label``, ``description``, ``example``), ``decimal`` and ``abstains``. A document is a value and never a template.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from udfs.errors import LabelerError, Location

if TYPE_CHECKING:
    from jinja2 import Environment
    from jinja2 import Template as Compiled

    from udfs.labels.taxonomies.taxonomy import Category

_PLAIN_TEXT = re.compile(r"\{\{\s*text\s*\}\}")
_PLAIN_VALUES = re.compile(r"\{\{-?\s*(?:text|n_chars)\s*-?\}\}")
_BLOCKS = re.compile(r"\{[{%].*?[%}]\}", re.DOTALL)
_VALUES = re.compile(r"\b(?:text|n_chars)\b")

#: Put in place of the document where a template's constant part is identified.
_TEXT, _LENGTH = "\ue000text\ue000", "\ue000n_chars\ue000"


class PromptError(LabelerError):
    """A prompt's template cannot be read or rendered."""


class _Length(int):
    """A number that is recognised where it is printed."""

    def __str__(self) -> str:
        return _LENGTH


@dataclass(frozen=True, slots=True)
class Template:
    """A template and its place in a file."""

    source: str
    where: Location

    def render(self, text: str, n_chars: int, categories: Sequence[Category]) -> str:
        """Render the prompt for a document. Raises PromptError with file and line."""
        if self.source == "{{ text }}":
            return text  # Jinja takes 8 µs for it
        template = _compiled(self)
        try:
            return template.render(text=text, n_chars=n_chars, categories=categories)
        except Exception as error:  # a template's expressions raise what they like
            raise PromptError(f"cannot be rendered: {error}", where=self.where) from error

    def identity(self, categories: Sequence[Category]) -> list[str]:
        """Return what decides the prompts, whatever the document: for fingerprints.

        The rendered text around the document; and the source too, if the document does more than to be put in.
        """
        if "{" not in _PLAIN_TEXT.sub("", self.source):
            return [_PLAIN_TEXT.sub(_TEXT, self.source)]
        rendered = self.render(_TEXT, _Length(1000), categories)
        conditional = any(_VALUES.search(block) for block in _BLOCKS.findall(_PLAIN_VALUES.sub("", self.source)))
        return [rendered, self.source] if conditional else [rendered]


def environment(*, lenient: bool = False) -> Environment:
    """Jinja for prompts and chat templates: sandboxed; a line of only a block leaves no line behind.

    ``lenient`` lets an undefined name be empty, as chat templates expect.
    """
    from jinja2 import StrictUndefined, Undefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols"],
        undefined=Undefined if lenient else StrictUndefined,
    )


@cache
def _compiled(template: Template) -> Compiled:
    from jinja2 import TemplateSyntaxError

    try:
        return environment().from_string(template.source)
    except TemplateSyntaxError as error:
        line = (template.where.line or 1) + error.lineno - 1
        raise PromptError(f"no valid template: {error.message}", where=Location(template.where.path, line)) from error
