"""Labelers that ask a server of the tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from udfs.labels.labelers.labeler_registry import LabelerRegistry
from udfs.labels.labelers.prompted import PromptedLabeler

LABELER = """
taxonomy: web_domains
backend: openai
model: {{id: small}}
prompt: {{system: sort, user: "{{{{ text }}}}"}}
generation: {{max_tokens: 9{generation}}}
engine: {{base_url: "{url}", retries: {retries}, concurrency: {concurrency}, timeout: {timeout}{engine}}}
"""

Make = Callable[..., PromptedLabeler]


@contextmanager
def openai_labelers(folder: Path, seeds: Path) -> Iterator[Make]:
    """Give a function that makes a labeler in ``folder`` which asks the server at a URL; close them at the end."""
    shutil.copytree(seeds, folder / "seeds")
    (folder / "labelers").mkdir()
    made: list[PromptedLabeler] = []

    def labeler(url: str, **changed: Any) -> PromptedLabeler:
        said = {"retries": 2, "concurrency": 4, "timeout": 20, "engine": "", "generation": ""} | changed
        (folder / "labelers" / "own.yml").write_text(LABELER.format(url=url, **said))
        found = LabelerRegistry((folder,)).get("own")
        assert isinstance(found, PromptedLabeler)
        made.append(found)
        return found

    yield labeler
    for each in made:
        if "engine" in each.__dict__:
            each.engine.close()
