"""Run in the vLLM environment: build a project, and note every prompt sent and every answer received, as they come.

python tests/udfs/labels/vllm_build.py LAKE PROJECT NOTES
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from udfs.labels.backends import engine
from udfs.labels.backends.engine import Answer, Engine, Prompt
from udfs.labels.spec import Spec
from warehouse.answers.budget import AnswerLimits
from warehouse.build import build
from warehouse.build.build_options import BuildOptions
from warehouse.lake.lake import Lake


class Noting(Engine):
    """An engine, with notes."""

    def __init__(self, engine: Engine, notes: Path) -> None:
        self._engine = engine
        self._notes = notes
        self.chat = engine.chat

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
    start = engine.open_engine

    def noting(spec: Spec) -> Engine:
        return Noting(start(spec), notes)

    engine.open_engine = noting
    results = build.build(Lake.open(lake), project, options=BuildOptions(limits=AnswerLimits(commit_every=5)))
    assert not [result for result in results if result.failed], results


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
