"""A folder of the user's own that has the name of one of Cuvée's packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT, write


def python(folder: Path, *arguments: str, path: str = str(ROOT)) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, which is first on its sys.path."""
    environment = os.environ | {"PYTHONPATH": path}
    environment.pop("PYTHONSAFEPATH", None)
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)


@pytest.mark.parametrize("room", ["training", "udfs", "warehouse"])
@pytest.mark.parametrize("file", ["{room}/__init__.py", "{room}.py"])
def test_the_import_names_what_hides_a_package(tmp_path: Path, room: str, file: str) -> None:
    own = file.format(room=room)
    write(tmp_path, {own: ""})
    done = python(tmp_path, "-c", "import cuvee")
    place = (tmp_path / own.removesuffix("/__init__.py")).resolve()
    last = f"ImportError: {place} hides Cuvée's package {room}, which is in {ROOT / room}\n  rename it, or start Python"
    assert last in done.stderr
    assert "Restart a notebook's kernel" in done.stderr
    assert done.returncode == 1


def test_a_module_that_is_loaded_already_hides_too(tmp_path: Path) -> None:
    write(tmp_path, {"own/training.py": ""})
    script = "import sys; sys.path.insert(0, 'own'); import training; sys.path.remove('own'); import cuvee"
    assert f"{tmp_path / 'own' / 'training.py'} hides" in python(tmp_path, "-c", script).stderr


def test_the_command_says_it_without_a_traceback(tmp_path: Path) -> None:
    write(tmp_path, {"warehouse/__init__.py": ""})
    done = python(tmp_path, "-m", "cuvee", "ls", "--json")
    assert done.stderr.startswith(f"error: {tmp_path / 'warehouse'} hides Cuvée's package warehouse")
    assert "Traceback" not in done.stderr
    assert (done.returncode, done.stdout) == (1, "")


def test_the_script_says_it_without_a_traceback(tmp_path: Path) -> None:
    """As pip writes the script; it does not look into the working folder, but PYTHONPATH may name it."""
    entry = 'import sys\nfrom cuvee.command import main\nif __name__ == "__main__":\n    sys.exit(main())\n'
    write(tmp_path, {"bin/cuvee": entry, "mine/training/__init__.py": "", "mine/notes.txt": ""})
    script = str(tmp_path / "bin" / "cuvee")
    done = python(tmp_path / "mine", script, "--help", path=f"{tmp_path / 'mine'}{os.pathsep}{ROOT}")
    assert done.stderr.startswith(f"error: {tmp_path / 'mine' / 'training'} hides")
    assert "Traceback" not in done.stderr
    assert python(tmp_path / "mine", script, "--help").returncode == 0, "the working folder is not on its path"


def test_the_command_runs_where_nothing_hides_it(tmp_path: Path) -> None:
    done = python(tmp_path, "-m", "cuvee", "label", "no_such_file.txt")
    assert done.returncode == 2
    assert done.stderr == "error: no such file: no_such_file.txt\n"


def test_a_folder_without_python_hides_nothing(tmp_path: Path) -> None:
    """Neither on a path nor where an editable install finds Cuvée, after everything on the path."""
    write(tmp_path, {"training/notes.txt": "", "warehouse/stock.csv": ""})
    script = "import cuvee, training.cli, warehouse.lake; print(training.__file__)"
    assert python(tmp_path, "-c", script).stdout == f"{ROOT / 'training' / '__init__.py'}\n"
    editable = f"""
import sys
from importlib.machinery import PathFinder
from importlib.util import spec_from_file_location

class Editable:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in ("cuvee", "training", "udfs", "warehouse"):
            return spec_from_file_location(name, {str(ROOT)!r} + "/" + name + "/__init__.py")

sys.meta_path.insert(sys.meta_path.index(PathFinder) + 1, Editable)
"""
    done = python(tmp_path, "-c", editable + script, path="")
    assert done.stdout == f"{ROOT / 'training' / '__init__.py'}\n", done.stderr
