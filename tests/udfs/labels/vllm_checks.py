"""Run in the vLLM environment: what one engine does with good, bad, too many and cancelled prompts, as JSON.

python tests/udfs/labels/vllm_checks.py PROJECT LABELER < TEXTS
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from udfs.errors import CuveeError
from udfs.expensive import INPUT_SCHEMA
from udfs.labels.backends.engine import Prompt
from udfs.labels.labelers.labeler_registry import LabelerRegistry
from udfs.labels.labelers.prompted import PromptedLabeler


def refused(project: Path, name: str) -> str:
    """What is said of a labeler that cannot be."""
    labeler = LabelerRegistry((project,)).get(name)
    assert isinstance(labeler, PromptedLabeler)
    try:
        labeler.engine.close()
    except CuveeError as error:
        return str(error)
    return "nothing"


def main(project: Path, name: str) -> None:
    labeler = LabelerRegistry((project,)).get(name)
    assert isinstance(labeler, PromptedLabeler)
    texts: list[str] = json.load(sys.stdin)
    keys = [f"{number:032}" for number in range(len(texts))]
    rows = pa.record_batch([keys, texts], schema=INPUT_SCHEMA)
    found: dict[str, object] = {"refused": {each: refused(project, each) for each in ("too_long", "too_hot")}}
    answers = {}
    for verdicts in labeler.label(iter([rows])):
        columns = zip(verdicts.keys, verdicts.statuses, verdicts.raw, verdicts.tokens, strict=True)
        answers |= {key: [status, raw, tokens] for key, status, raw, tokens in columns}
    found["answers"] = [answers[key] for key in keys]

    engine = labeler.engine
    (prompt,) = labeler.prompt_maker.batch(keys[:1], texts[:1]).prompts
    taken = 0

    def many() -> Iterator[Prompt]:
        nonlocal taken
        for number in range(10_000):
            taken += 1
            yield prompt._replace(key=str(number))

    stream = engine.generate(many())
    first = next(stream)
    stream.close()  # type: ignore[attr-defined]
    found["cancelled"] = {"text": first.text, "taken": taken}

    limit = 16_384 + 100
    long = prompt._replace(key="long", tokens=(prompt.tokens or []) * (1 + limit // len(prompt.tokens or [1])))
    after = {each.key: each for each in engine.generate(iter([prompt, long, prompt._replace(key="last")]))}
    found["after"] = {key: [each.text, each.complete, each.error] for key, each in after.items()}
    engine.close()
    engine.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
