"""Run in the vLLM environment: build a project, and note every prompt sent and every answer received, as they come.

python tests/udfs/vllm_build.py LAKE PROJECT NOTES
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from udfs.labels.backends import backends
from udfs.labels.backends.protocol import Answer, Engine, Prompt
from udfs.labels.chat import ChatFormat
from udfs.labels.labelers.labeler import Spec
from warehouse.build import build
from warehouse.lake.lake import Lake
from warehouse.project.outcome import Options


class Noting:
    """An engine, with notes."""

    def __init__(self, engine: Engine, notes: Path) -> None:
        self._engine = engine
        self._notes = notes

    @property
    def chat(self) -> ChatFormat | None:
        return self._engine.chat

    def generate(self, prompts: Iterator[Prompt]) -> Iterator[Answer]:
        with self._notes.open("a", buffering=1) as notes:

            def sent() -> Iterator[Prompt]:
                for prompt in prompts:
                    notes.write(f"sent {prompt.key}\n")
                    yield prompt

            for answer in self._engine.generate(sent()):
                notes.write(f"answered {answer.key}\n")
                yield answer

    def close(self) -> None:
        self._engine.close()


def main(lake: Path, project: Path, notes: Path) -> None:
    start = backends.open_engine

    def noting(spec: Spec) -> Engine:
        return Noting(start(spec), notes)

    backends.open_engine = noting
    results = build.build(Lake.open(lake), project, options=Options(commit_every=5))
    assert not [result for result in results if result.failed], results


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
