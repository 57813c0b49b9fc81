"""The environment of the peers that benchmarks compare with."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.helpers import ROOT

#: Where they are, if not in the environment that `make` fills.
PEERS = Path(os.environ.get("CUVEE_PEERS", ROOT / ".venv-peers"))


def peer(package: str) -> Path | None:
    """Return a Python that has a peer, or None, after saying which peer is missing and how it comes."""
    python = PEERS / "bin" / "python"
    find = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    if python.exists() and not subprocess.run([python, "-c", find], check=False).returncode:
        return python
    print(f"{package} is missing, and so is its ratio; this installs it: make .venv-peers/.done", flush=True)
    return None
