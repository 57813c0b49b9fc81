"""Training, encoding and counting tokens."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import ROOT
from udfs.errors import CuveeError, UsageError
from udfs.tokens import tokenizer
from udfs.tokens.tokenizer import END_OF_TEXT, TokenCount, Tokenizer, TokenizerError

TEXTS = [f"def function_{n}(argument):\n    return argument + {n}  # the number {n}\n" for n in range(200)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return tokenizer.train(iter(TEXTS), tmp_path_factory.mktemp("tokenizers") / "demo", 400)


def test_training_writes_a_tokenizer_that_loads(trained: Tokenizer) -> None:
    loaded = tokenizer.Tokenizer(trained.path.parent)
    assert loaded.fingerprint == trained.fingerprint
    assert len(loaded.fingerprint) == 32
    assert loaded.vocab_size == 400
    assert loaded.end_of_text == 0
    assert [path.name for path in trained.path.parent.iterdir()] == ["tokenizer.json"]
    (ids,) = loaded.encode_batch([TEXTS[0]])
    assert len(ids) < len(TEXTS[0]) / 2


def test_the_order_of_texts_does_not_matter(trained: Tokenizer, tmp_path: Path) -> None:
    assert tokenizer.train(iter(TEXTS[::-1]), tmp_path / "again", 400).fingerprint == trained.fingerprint


def test_another_process_trains_the_same(trained: Tokenizer, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from udfs.tokens import tokenizer\n"
        f"texts = {TEXTS!r}\n"
        "print(tokenizer.train(iter(texts), Path(sys.argv[1]), 400).fingerprint)"
    )
    root = ROOT
    command = [sys.executable, "-c", script, str(tmp_path / "other")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == trained.fingerprint


@given(st.text())
def test_every_text_comes_back(trained: Tokenizer, text: str) -> None:
    (ids,) = trained.encode_batch([text])
    assert trained.decode(ids) == text


@given(st.lists(st.sampled_from([END_OF_TEXT, "<|", "|>", "a", " ", "\n"])).map("".join))
def test_special_tokens_inside_a_text_are_plain_text(trained: Tokenizer, text: str) -> None:
    (ids,) = trained.encode_batch([text])
    assert trained.end_of_text not in ids
    assert trained.decode(ids) == text


def test_hostile_strings_come_back(trained: Tokenizer, hostile: list[str]) -> None:
    for text, ids in zip(hostile, trained.encode_batch(hostile), strict=True):
        assert trained.decode(ids) == text
        assert ids.dtype == np.uint32


@given(st.text(alphabet="ab1., \n\t\u00a0é'", min_size=30, max_size=200))
def test_a_long_text_encodes_as_if_it_were_not_cut(trained: Tokenizer, text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer, "PIECE", 10)
        pieces = list(tokenizer._pieces(text))
        (cut,) = trained.encode_batch([text])
    (whole,) = trained.encode_batch([text])
    assert "".join(pieces) == text
    assert all(len(piece) <= 10 for piece in pieces)
    assert trained.decode(cut) == text
    if all(tokenizer._SEAM.search(text, start, start + 5) for start in range(len(text) - 10)):
        assert list(cut) == list(whole)


def test_a_long_text_is_cut_between_words(trained: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(TEXTS) * 3
    (whole,) = trained.encode_batch([text])
    monkeypatch.setattr(tokenizer, "PIECE", 100)
    (cut,) = trained.encode_batch([text])
    assert list(cut) == list(whole)


def test_no_texts_make_a_tokenizer_of_bytes(tmp_path: Path) -> None:
    trained = tokenizer.train(iter([]), tmp_path / "bytes", 300)
    assert trained.vocab_size == 257
    assert trained.decode(trained.encode_batch(["añ🙂"])[0]) == "añ🙂"


def test_an_error_in_the_texts_reaches_the_caller_and_leaves_nothing(tmp_path: Path) -> None:
    def texts() -> Any:
        yield "a"
        raise RuntimeError("the lake is gone")

    with pytest.raises(RuntimeError, match="the lake is gone"):
        tokenizer.train(texts(), tmp_path / "half", 300)
    assert not (tmp_path / "half").exists()


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="vocabulary of 256 is too small"):
        tokenizer.train(iter(["a"]), tmp_path, 256)
    with pytest.raises(TokenizerError, match="cannot read"):
        tokenizer.Tokenizer(tmp_path / "nowhere")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(TokenizerError, match="is not a tokenizer"):
        tokenizer.Tokenizer(tmp_path)


def test_n_tokens_counts_what_encode_gives(trained: Tokenizer, ask: Any, hostile: list[str]) -> None:
    function = TokenCount(trained.path.parent.parent).bind(("demo",))
    assert (function.labeler, function.store, function.result) == ("demo", "counts.n_tokens", "n_tokens")
    assert function.fingerprint == trained.fingerprint
    rows = ask(function, [*TEXTS, *hostile])
    assert {row["status"] for row in rows} == {"ok"}
    assert [row["n_tokens"] for row in rows] == [len(ids) for ids in trained.encode_batch([*TEXTS, *hostile])]
    assert ask(function, [""])[0]["n_tokens"] == 0


def test_a_tokenizer_that_changes_under_a_build_is_noticed(tmp_path: Path, ask: Any) -> None:
    tokenizer.train(iter(TEXTS), tmp_path / "demo", 300)
    function = TokenCount(tmp_path).bind(("demo",))
    tokenizer.train(iter(TEXTS), tmp_path / "demo", 310)
    with pytest.raises(TokenizerError, match="was replaced while it was in use"):
        ask(function, ["a"])


def test_a_misspelt_tokenizer_gets_a_suggestion(trained: Tokenizer) -> None:
    with pytest.raises(UsageError, match="did you mean demo"):
        TokenCount(trained.path.parent.parent).bind(("dmeo",))


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a tokenizer as others make them: lower-cased words, [CLS] … [SEP], at most 8 tokens."""
    from tokenizers import Tokenizer as Theirs
    from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

    theirs = Theirs(models.WordPiece(unk_token="[UNK]"))
    theirs.normalizer = normalizers.BertNormalizer()
    theirs.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]"]
    theirs.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=300, special_tokens=special))
    theirs.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    theirs.enable_truncation(8)
    theirs.enable_padding()
    project = tmp_path_factory.mktemp("project")
    (project / "models" / "words").mkdir(parents=True)
    theirs.save(str(project / "models" / "words" / "tokenizer.json"))
    return project


def test_a_folder_with_anybodys_tokenizer_counts_whole_texts_without_special_tokens(words: Path, ask: Any) -> None:
    from tokenizers import Tokenizer as Theirs

    function = TokenCount(words / "none", words).bind(("models/words",))
    bare = Theirs.from_file(str(words / "models" / "words" / "tokenizer.json"))
    bare.no_truncation()
    bare.no_padding()
    texts = [*TEXTS, "\n".join(TEXTS), ""]
    expected = [len(encoding.ids) - 2 for encoding in bare.encode_batch(texts)]
    assert [row["n_tokens"] for row in ask(function, texts)] == expected
    assert max(expected) > 1000
    (marked,) = ask(function, ["[CLS]"])
    assert marked["n_tokens"] == 3  # "[", "cls" in unknown pieces, "]": a text never holds a special token


def test_one_file_is_one_fingerprint_whatever_it_is_called(words: Path, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "tokenizer.json").write_bytes((words / "models" / "words" / "tokenizer.json").read_bytes())
    first = TokenCount(tmp_path, words).bind(("models/words",))
    assert TokenCount(tmp_path, words).bind(("again",)).fingerprint == first.fingerprint
    assert TokenCount(tmp_path, words).bind((str(tmp_path / "again"),)).fingerprint == first.fingerprint


@given(st.lists(st.text(alphabet="ab1., \n\u00e9", max_size=60), min_size=1, max_size=5))
def test_counts_do_not_depend_on_how_texts_are_cut_or_gathered(trained: Tokenizer, texts: list[str]) -> None:
    counter = tokenizer.Counter(trained.path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer, "PIECE", 10)
        assert counter.count(texts) == [len(ids) for ids in trained.encode_batch(texts)]


def test_a_model_of_the_hub_is_asked_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CuveeError, match="cannot get the tokenizer of nobody/none") as caught:
        TokenCount(tmp_path, tmp_path).bind(("nobody/none@main",))
    assert "name the folder" in str(caught.value)
    (tmp_path / "nobody" / "none").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"no tokenizer\.json in"):
        TokenCount(tmp_path, tmp_path).bind(("nobody/none",))
