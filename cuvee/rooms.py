"""Find out whether Cuvée's packages can be imported, or whether something else of their names comes first.

A notebook and ``python -m`` have the working folder first on sys.path: a folder ``training/`` in it with Python would
be taken for Cuvée's. This module imports nothing of Cuvée.
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec
from pathlib import Path

#: The packages next to this one, which come with it.
ROOMS = ("warehouse", "udfs", "training")
_HOME = Path(__file__).resolve().parents[1]


def hidden() -> str | None:
    """Say what hides one of Cuvée's packages, and what to do; None if nothing does.

    A folder without an ``__init__.py`` hides a package only from where Cuvée is installed as editable: then Cuvée's
    own folder is added at the end of sys.path, which decides for the package.
    """
    for room in ROOMS:
        ours = _HOME / room
        if not (ours / "__init__.py").is_file():
            continue  # installed in a way that this module does not know
        place = _place(room)
        if place is None and str(_HOME) not in sys.path:
            sys.path.append(str(_HOME))
            importlib.invalidate_caches()
            place = _place(room)
        if place != ours:
            what = place or f"a folder {room}"
            return (
                f"{what} hides Cuvée's package {room}, which is in {ours}\n"
                f"  rename it, or start Python in another folder: sys.path has its folder first."
                f" Restart a notebook's kernel afterwards."
            )
    return None


def is_command() -> bool:
    """Return whether this process is the command ``cuvee`` (or ``python -m cuvee``), which prints its own errors."""
    started = sys.argv[0] if sys.argv else ""
    return Path(started).stem == "cuvee" or (started == "-m" and sys.orig_argv[-len(sys.argv) :][:1] == ["cuvee"])


def _place(name: str) -> Path | None:
    """Return the folder of a package, or the file of a module; None if there is none, or no Python in the folder."""
    try:
        spec = find_spec(name)
    except ValueError:  # made by hand, in sys.modules
        return None
    if spec is None or spec.origin is None:
        return None
    origin = Path(spec.origin).resolve()
    return origin.parent if origin.stem == "__init__" else origin
