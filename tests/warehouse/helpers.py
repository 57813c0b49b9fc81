"""Builds and commands as the tests of the warehouse make them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.helpers import FIXTURES
from warehouse.build import build as building
from warehouse.build.build_options import BuildOptions
from warehouse.cli.main import cli
from warehouse.graph import parsing
from warehouse.graph.loaded_project import open_project
from warehouse.graph.step import Step
from warehouse.lake.lake import Lake
from warehouse.project.options import Selection
from warehouse.project.project import Node
from warehouse.project.results import NodeResult


def build(lake: Lake, root: Path, *chosen: str, **options: object) -> dict[str, NodeResult]:
    return {
        each.name: each
        for each in building.build(lake, root, Selection(tuple(chosen)), options=BuildOptions(**options))
    }  # type: ignore[arg-type]


def why(lake: Lake, root: Path, **options: object) -> dict[str, str]:
    opened = open_project(lake, root, BuildOptions(**options))  # type: ignore[arg-type]
    return {each.step.name: "; ".join(each.why) for each in building.plan(opened) if each.why}


def call(lake: Lake, shop: Path, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(
        cli, [*arguments, "--project-dir", str(shop), "--lake", str(lake.root)], catch_exceptions=True
    )
    return (1 if done.exception and not isinstance(done.exception, SystemExit) else done.exit_code), (
        done.output + (str(done.exception) if done.exception else "")
    )


def step(sql: str) -> Step:
    node = Node("model.p.m", "model", "m", "p", "models/m.sql", ("p", "m"), text=sql)
    bare = Step(node.id, node, sql=sql, lines=tuple(range(1, sql.count("\n") + 2)))
    return replace(bare, tree=parsing.parse(bare))


def sql_cases(folder: str) -> Iterator[object]:
    """Yield the pairs of a folder of fixtures: what is given, and what is expected."""
    for path in sorted((FIXTURES / folder).glob("*.sql")):
        for block in re.split(r"\n\s*\n", path.read_text().strip()):
            if "\n---\n" not in block:
                continue
            title, _, rest = block.partition("\n")
            given, _, expected = rest.partition("\n---\n")
            yield pytest.param(given, expected.strip(), id=title.removeprefix("-- "))
