"""The walls between packages: who may import whom, how large a module may be, and what a cold start may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

from tests.helpers import ROOT

#: The parts of each package from the ground up: a part imports itself and those before it. The modules at the root of
#: udfs are its ground, except those named here.
TABLE = {
    "warehouse": (
        *("mds", "lake", "project", "render", "graph", "answers", "artifacts", "build", "mixtures", "export"),
        *("ingest", "forget", "cli"),
    ),
    "udfs": ("base", "text", "tokens", "labels", "registry"),
    "training": ("recipe", "checkpoint", "run", "sweep", "distillation", "cli"),
}

#: What each package must not import, anywhere. The public face, cuvee, is for users only.
FORBIDDEN = {
    "udfs": {"warehouse", "training", "cuvee"},
    "warehouse": {"training", "torch", "vllm", "composer", "ray", "transformers", "cuvee"},
    "training": {"sqlglot", "jinja2", "cuvee"},
}

#: The only modules of the warehouse that training knows.
TRAINING_MAY = {
    "warehouse.lake.lake",
    "warehouse.export.manifest",
    "warehouse.export.external_shards",
    "warehouse.project.package",  # where the folders of taxonomies are
    "warehouse.cli.output",
    "warehouse.mds.shared_memory",
}

#: Modules of more than LINES lines, each with the reason why it is not divided.
LONG: dict[str, str] = {}
LINES = 400
MODULES_IN_A_FOLDER = 16


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, Path]:
    """Return every module of the packages by its name."""
    return {name_of(path): path for top in (*TABLE, "cuvee") for path in sorted((ROOT / top).rglob("*.py"))}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of everything that a file imports: at the top, for types, inside functions.

    ``from a import b`` imports ``a.b`` where that is a module, else ``a``. A module's name that
    ``import_module`` is given counts as well.
    """
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            base = ".".join([*package, *([node.module] if node.module else [])])
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield node.lineno, name if name in modules() else base
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            match node.args:
                case [ast.Constant(value=str(name)), *_]:
                    yield node.lineno, name


def files(*tops: str) -> Iterator[Path]:
    return (path for name, path in modules().items() if name.split(".")[0] in tops)


def height(module: str) -> int:
    """Return the place of a module in its table: -1 for a package itself, above all others for what is in no part."""
    top, _, rest = module.partition(".")
    part = rest.split(".")[0]
    if not part:
        return -1
    if top == "udfs" and part not in TABLE[top] and "." not in rest:
        part = "base"
    return TABLE[top].index(part) if part in TABLE[top] else len(TABLE[top])


@pytest.mark.parametrize("package", TABLE)
def test_a_package_imports_only_what_it_may_know(package: str) -> None:
    broken = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in files(package)
        for line, module in imports(path)
        if module.split(".")[0] in FORBIDDEN[package]
    ]
    assert not broken, "\n".join(broken)


def test_training_knows_the_lake_and_the_manifest_only() -> None:
    broken = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in files("training")
        for line, module in imports(path)
        if module.split(".")[0] == "warehouse" and module not in TRAINING_MAY
    ]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("package", TABLE)
def test_no_import_goes_up_the_table(package: str) -> None:
    broken = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in files(package)
        for line, module in imports(path)
        if module.split(".")[0] == package and height(module) > height(name_of(path))
    ]
    assert not broken, "\n".join(broken)


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = {
        name: {module for _, module in imports(path) if module in modules() and module != name}
        for name, path in modules().items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" is imported by ".join(error.args[1]))


def test_modules_are_short() -> None:
    found = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in modules().values()}
    long = {path: lines for path, lines in found.items() if lines > LINES}
    assert long.keys() == LONG.keys(), long


def test_folders_are_small() -> None:
    folders: defaultdict[Path, list[str]] = defaultdict(list)
    for path in modules().values():
        if path.name != "__init__.py":
            folders[path.parent.relative_to(ROOT)].append(path.name)
    assert not {str(folder): names for folder, names in folders.items() if len(names) > MODULES_IN_A_FOLDER}


def test_a_package_begins_with_a_docstring_and_nothing_else() -> None:
    broken = [
        str(path.relative_to(ROOT))
        for path in files(*TABLE)
        if path.name == "__init__.py" and (len(parsed(path).body) != 1 or not ast.get_docstring(parsed(path)))
    ]
    assert not broken, broken
    bare = {str(path.parent.relative_to(ROOT)) for path in files(*TABLE) if not (path.parent / "__init__.py").exists()}
    assert not bare, f"without __init__.py: {bare}"


def test_no_two_public_classes_share_a_name() -> None:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in files(*TABLE):
        for node in parsed(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    shared = [f"{name}: {', '.join(places)}" for name, places in found.items() if len(places) > 1]
    assert not shared, "\n".join(shared)


def test_tests_share_helpers_not_tests() -> None:
    broken = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for line, module in imports(path)
        if module.startswith("tests.") and module.rsplit(".", 1)[-1].startswith(("test_", "conftest"))
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
    from warehouse.cli.main import COMMANDS

    for name, (target, _) in COMMANDS.items():
        module, _, function = target.partition(":")
        command = getattr(import_module(module), function)
        for each in [command, *getattr(command, "commands", {}).values()]:
            assert "cuvee " in (each.help or ""), f"{name}: no example in the help of {each.name}"
            for parameter in each.params:
                if parameter.param_type_name == "option":
                    assert getattr(parameter, "help", None), f"{name}: {parameter.name} has no help"
