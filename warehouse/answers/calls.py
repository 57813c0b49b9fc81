"""Calls of expensive functions in a query, with their arguments bound, and what answering them needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from udfs.errors import AnswersError, CuveeError, Location
from warehouse.answers.budget import AnswerLimits
from warehouse.graph.step import Step

if TYPE_CHECKING:
    from sqlglot import exp

    from udfs.expensive import BoundFunction, ExpensiveFunction
    from warehouse.graph import lineage
    from warehouse.lake.lake import Lake


class CallError(AnswersError):
    """An expensive function is called in a wrong way, or in a wrong place."""


class NotBuiltError(AnswersError):
    """A query reads what is not built yet, so its calls cannot be examined."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call in a query: ``node`` is its place in the tree, ``function`` has the constant arguments bound."""

    node: exp.Anonymous
    name: str
    options: tuple[str | int | float | bool, ...]
    function: BoundFunction
    where: Location
    title: str
    step: Step

    def refused(self, why: str, instead: str) -> CallError:
        """Return the error that says why the call cannot be where it is, and what to write instead."""
        shown = self.step.excerpt(self.where)
        return CallError(
            f"{self.node.this} {why}", where=self.where, hint=f"{shown}\n  {instead}" if shown else instead
        )


@dataclass(frozen=True, slots=True)
class AnswerContext:
    """The lake, its functions, the limits of answering, and the project's steps."""

    lake: Lake
    functions: Mapping[str, ExpensiveFunction]
    limits: AnswerLimits
    schema: str  # of relations that SQL names without one
    steps: Mapping[str, Step]

    def models(self) -> lineage.Models:
        """Return a function that finds the syntax tree of the model behind a lake table.

        Incremental tables hold rows of older queries: they are not followed.
        """
        trees = {
            step.relation.key: step.tree
            for step in self.steps.values()
            if step.relation is not None and step.tree is not None and step.kind in ("view", "table")
        }
        return trees.get


def calls(step: Step, functions: Mapping[str, ExpensiveFunction]) -> list[Call]:
    """Return the calls of expensive functions in a step's SQL. Raises CallError, or the error of binding constants."""
    return list(find(step.tree, step, functions)) if step.tree is not None else []


def find(tree: exp.Expr, step: Step, functions: Mapping[str, ExpensiveFunction]) -> Iterator[Call]:
    from sqlglot import exp

    bound: dict[tuple[Any, ...], BoundFunction] = {}
    for node in tree.find_all(exp.Anonymous):
        function = functions.get(str(node.this).lower())
        if function is None:
            continue
        line, column = node.meta.get("line"), node.meta.get("col")
        where = step.locate(line, column - len(str(node.this)) + 1 if column else None)
        if not node.expressions:
            raise CallError(f"{function.name} needs a text", where=where, hint=f"{function.name}(text)")
        options = tuple(_constant(each, function.name, where) for each in node.expressions[1:])
        key = (function.name, options)
        if key not in bound:
            try:
                bound[key] = function.bind(options)
            except CuveeError as error:
                raise type(error)(error.message, where=error.where or where, hint=error.hint) from error
        yield Call(
            node=node,
            name=function.name,
            options=options,
            function=bound[key],
            where=where,
            title=f"{function.name}({bound[key].labeler})",
            step=step,
        )


def _constant(node: exp.Expr, name: str, where: Location) -> str | int | float | bool:
    from sqlglot import exp

    if isinstance(node, exp.Boolean):
        return bool(node.this)
    if isinstance(node, exp.Neg) and isinstance(node.this, exp.Literal) and not node.this.is_string:
        value = _constant(node.this, name, where)
        return -value  # type: ignore[operator]
    if isinstance(node, exp.RawString):
        return str(node.this)
    if isinstance(node, exp.Literal):
        if node.is_string:
            return str(node.this)
        return float(node.this) if any(mark in node.this for mark in ".eE") else int(node.this)
    raise CallError(
        f"the options of {name} are constants, not {node.sql('duckdb')}",
        where=where,
        hint="write the value itself, or a {{ var('…') }}",
    )
