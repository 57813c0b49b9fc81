"""The command ``cuvee``. It looks first whether Cuvée's packages can be imported."""

from __future__ import annotations

import sys

from cuvee import rooms


def main() -> None:
    """Run the command line, or say what hides it."""
    if problem := rooms.hidden():
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(1)
    from warehouse.cli.main import main as run

    run()
