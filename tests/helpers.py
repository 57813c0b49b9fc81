"""Paths, files and small functions that tests of all packages share."""

from __future__ import annotations

import hashlib
import json
import os
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


def doc_id(text: str) -> str:
    """Return the id that the lake gives a document."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]
