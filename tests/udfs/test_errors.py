"""The tree of errors is drawn in udfs/errors.py as it is."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tests.helpers import ROOT
from udfs import errors

#: Prints the tree of the classes after importing every module that needs nothing which is not installed.
LISTING = """
import importlib, json, pkgutil
from udfs.errors import CuveeError

ours = ("udfs", "warehouse", "training")
for top in ours:
    for module in pkgutil.walk_packages([top], f"{top}."):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            assert error.name.split(".")[0] not in ours, f"{module.name}: {error}"

def below(kind):
    return {each.__name__: below(each) for each in kind.__subclasses__() if not each.__name__.startswith("_")}

print(json.dumps({"CuveeError": below(CuveeError)}))
"""


def drawn() -> dict[str, Any]:
    """Read the tree from the docstring: a name, two spaces, what it means; two more spaces in front for each level."""
    tree: dict[str, Any] = {}
    path = [tree]
    for line in (errors.__doc__ or "").splitlines():
        if not line.startswith("    "):
            continue
        name, _, meaning = line.strip().partition("  ")
        assert meaning, f"{name} has no meaning"
        level, odd = divmod(len(line) - len(line.lstrip()) - 4, 2)
        assert not odd and level < len(path), f"{name} is at no level of the tree"
        path[level + 1 :] = [path[level].setdefault(name, {})]
    return tree


def test_the_tree_of_errors_is_that_of_the_classes() -> None:
    done = subprocess.run([sys.executable, "-c", LISTING], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert drawn() == json.loads(done.stdout.splitlines()[-1])
