"""The walls of the house: who may import whom, and what a cold start may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

#: What each room must not import, anywhere.
FORBIDDEN = {
    "udfs": {"warehouse", "training"},
    "warehouse": {"training", "torch", "vllm", "composer", "transformers"},
    "training": {"sqlglot", "jinja2"},
}

#: The only modules of the warehouse that training knows.
TRAINING_MAY = {
    "warehouse.lake.lake",
    "warehouse.export.manifest",
    "warehouse.export.external_shards",
    "warehouse.cli.main.output",
}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_imports_only_what_it_may_know(room: str) -> None:
    broken = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sorted((ROOT / room).rglob("*.py"))
        for line, module in imports(path)
        if module.split(".")[0] in FORBIDDEN[room]
    ]
    assert not broken, "\n".join(broken)


def test_training_knows_the_lake_and_the_manifest_only() -> None:
    broken = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sorted((ROOT / "training").rglob("*.py"))
        for line, module in imports(path)
        if module.split(".")[0] == "warehouse" and module not in TRAINING_MAY
    ]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    "command", [["--help"], ["anneal", "--help"], ["distil", "--help"], ["export", "--help"], ["build", "--help"]]
)
def test_help_loads_neither_torch_nor_transformers(command: list[str]) -> None:
    script = (
        "import sys; from warehouse.cli.main import cli\n"
        f"try: cli({command!r})\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'transformers', 'composer', 'streaming', 'duckdb'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_command_shows_an_example() -> None:
    from importlib import import_module

    from warehouse.cli.main import COMMANDS

    for name, (target, _) in COMMANDS.items():
        module, _, function = target.partition(":")
        command = getattr(import_module(module), function)
        for each in [command, *getattr(command, "commands", {}).values()]:
            assert "cuvee " in (each.help or ""), f"{name}: no example in the help of {each.name}"
            for parameter in each.params:
                if parameter.param_type_name == "option":
                    assert getattr(parameter, "help", None), f"{name}: {parameter.name} has no help"
