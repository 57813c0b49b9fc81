"""What SQL may call, and how calls that cannot be are refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT
from udfs.errors import UsageError
from udfs.registry import Resources, expensive_functions


@pytest.fixture
def resources(seeds: Path, tmp_path: Path) -> Resources:
    return Resources(projects=(seeds.parent,), tokenizers=tmp_path)


def test_the_functions_are_found_by_their_names() -> None:
    functions = expensive_functions(Resources((Path("nowhere"),), Path("nowhere")))
    assert sorted(functions) == [
        "contamination",
        "fasttext_score",
        "item_ngrams",
        "label_document",
        "language",
        "minhash_signature",
        "n_tokens",
        "quality_signals",
    ]
    assert all(function.name == name for name, function in functions.items())


def test_the_registry_loads_no_model() -> None:
    script = (
        "import sys; from pathlib import Path; from udfs.registry import *\n"
        "expensive_functions(Resources((Path('sql'),), Path('x')))['label_document'].bind(('fake',))\n"
        "print(sorted({'torch', 'transformers', 'tokenizers', 'numpy'} & set(sys.modules)))"
    )
    root = ROOT
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=root)
    assert {"torch", "transformers", "tokenizers"}.isdisjoint(eval(done.stdout))


def test_a_labeler_is_zero_shot_unless_named(resources: Resources) -> None:
    label_document = expensive_functions(resources)["label_document"]
    assert label_document.bind(()).labeler == "zero_shot"
    bound = label_document.bind(("fake",))
    assert (bound.labeler, bound.store, bound.result) == ("fake", "labels.eai", None)
    assert bound.columns.names[0] == "free_decimal_correspondence"
    assert len(bound.columns) == 10


@pytest.mark.parametrize(
    ("function", "options", "says"),
    [
        ("label_document", ("zeroshot",), "did you mean zero_shot?"),
        ("label_document", (1,), "label_document takes a text and a labeler's name"),
        ("label_document", ("fake", "fake"), "label_document takes a text and a labeler's name"),
        ("n_tokens", (), "n_tokens takes a text and a tokenizer's name"),
        ("n_tokens", ("demo",), "cuvee tokenizer train demo"),
        ("n_tokens", ("../demo",), "no tokenizer '../demo'"),
        ("quality_signals", ("en",), "quality_signals takes a text only"),
    ],
)
def test_wrong_options_are_refused(resources: Resources, function: str, options: tuple[str, ...], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        expensive_functions(resources)[function].bind(options)
    assert says in str(caught.value)
