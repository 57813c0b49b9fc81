"""Paths, files and small functions that tests of all packages share."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "tests" / "fixtures"
PROJECTS = FIXTURES / "projects"
SQL = ROOT / "sql"
RECIPES = ROOT / "training" / "recipes"

#: The command line, without the installed script.
CUVEE = (sys.executable, "-c", "from warehouse.cli.main import main; main()")


def absent(message: str) -> NoReturn:
    """Skip because something is absent that a stranger may lack; fail where it must not be, in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def write(root: Path, files: Mapping[str, str]) -> Path:
    """Write files below a folder; return the folder."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def write_jsonl(path: Path, records: Iterable[object]) -> Path:
    """Write one record a line; return the file."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def macros_only(name: str) -> str:
    """Return a dbt_project.yml that uses the macros and tests of Cuvée's package, and none of its models."""
    off = "cuvee: {+enabled: false}"
    return (
        f"name: {name}\nprofile: {name}\nmodels: {{+materialized: table, {off}}}\n"
        f"seeds: {{{off}}}\ndata_tests: {{{off}}}\n"
    )


def install_package(project: Path) -> None:
    """Put Cuvée's package where dbt looks for it."""
    ignored = shutil.ignore_patterns("target", "logs", "dbt_packages")
    shutil.copytree(SQL, project / "dbt_packages" / "cuvee", ignore=ignored)
    (project / "packages.yml").write_text("packages: [{local: dbt_packages/cuvee}]\n")


def doc_id(text: str) -> str:
    """Return the id that the lake gives a document."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]
