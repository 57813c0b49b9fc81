"""cuvee tokenizer: training from the lake's documents."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from udfs.errors import UsageError
from udfs.tokens import tokenizer
from warehouse.cli.mixtures.tokenizer import tokenizer as command
from warehouse.lake.lake import Lake
from warehouse.mixtures.tokenizers import TokenizerCorpus, TokenizerExistsError, TokenizerRow, add, tokenizers, train

TEXTS = [f"document {n} about subject {n % 7}, with some words that come again and again\n" for n in range(300)]


@pytest.fixture
def filled(lake: Lake) -> Lake:
    """A lake with documents, a view of some of them and a view without doc_id."""
    ids = [hashlib.sha256(text.encode()).hexdigest()[:32] for text in TEXTS]
    with lake.staging() as staging:
        path = staging.file("raw.documents")
        columns = {"doc_id": ids, "text": TEXTS, "n_chars": [len(text) for text in TEXTS], "first_file_id": ["f"] * 300}
        pq.write_table(pa.table(columns), path, compression="zstd")
        with lake.commit("documents") as commit:
            commit.add("raw.documents", [path])
            commit.sql("create view pool as select doc_id, 1 as copies from raw.documents where n_chars > 71")
            commit.sql("create view counts_only as select n_chars from raw.documents")
    return lake


def run(lake: Lake, *arguments: str) -> Any:
    return CliRunner().invoke(command, [*arguments, "--lake", str(lake.root)], catch_exceptions=False)


def fit(
    lake: Lake, name: str, source: str, vocab_size: int, *, max_characters: int = 10**6, force: bool = False
) -> tuple[TokenizerRow, bool]:
    return train(lake, name, TokenizerCorpus(source, max_characters), vocab_size, force=force)


def test_train_from_a_model_and_list(filled: Lake) -> None:
    done = run(filled, "train", "demo", "--from", "pool", "--vocab-size", "350", "--json")
    made = json.loads(done.stdout)
    loaded = tokenizer.Tokenizer(filled.root / "tokenizers" / "demo")
    assert made["fingerprint"] == loaded.fingerprint
    assert made["vocab_size"] == loaded.vocab_size == 350
    assert made["new"] is True
    (row,) = json.loads(run(filled, "list", "--json").stdout)
    assert row["name"] == "demo"
    assert row["trained_on"] == "pool"
    assert row["fingerprint"] == loaded.fingerprint
    assert row["documents"] == sum(len(text) > 71 for text in TEXTS)


def test_the_same_again_changes_nothing(filled: Lake) -> None:
    fit(filled, "demo", "pool", 300)
    before = filled.snapshot()
    done = run(filled, "train", "demo", "--from", "select doc_id from pool order by 1 desc", "--vocab-size", "300")
    assert done.stdout.startswith("demo: 300 entries, unchanged")
    assert filled.snapshot() == before


def test_a_different_tokenizer_needs_force(filled: Lake) -> None:
    first, _ = fit(filled, "demo", "pool", 300)
    with pytest.raises(TokenizerExistsError, match="--force"):
        fit(filled, "demo", "pool", 310)
    assert tokenizer.Tokenizer(filled.root / "tokenizers" / "demo").fingerprint == first.fingerprint
    second, new = fit(filled, "demo", "pool", 310, force=True)
    assert new
    assert [row.fingerprint for row in tokenizers(filled)] == [second.fingerprint]
    assert tokenizer.Tokenizer(filled.root / "tokenizers" / "demo").fingerprint == second.fingerprint


def test_a_lost_row_comes_back(filled: Lake) -> None:
    """As after a kill between the file and the commit."""
    made, _ = fit(filled, "demo", "pool", 300)
    with filled.commit("lose the row") as commit:
        commit.sql("delete from cuvee.tokenizers")
    again, new = fit(filled, "demo", "pool", 300)
    assert new
    assert [row.fingerprint for row in tokenizers(filled)] == [made.fingerprint] == [again.fingerprint]


def test_reading_stops_at_the_limit(filled: Lake) -> None:
    few, _ = fit(filled, "few", "raw.documents", 300, max_characters=1000)
    assert 12 <= few.documents <= 14
    one, _ = fit(filled, "one", "raw.documents", 300, max_characters=1)
    assert one.documents == 1


@pytest.mark.parametrize(
    ("name", "source", "says"),
    [
        ("demo", "poool", "did you mean pool"),
        ("demo", "counts_only", "with a column doc_id"),
        ("demo", "select doc_id fro pool", "with a column doc_id"),
        ("demo", "select 'x' as doc_id", "no documents in"),
        ("../demo", "pool", "not a valid tokenizer name"),
        ("", "pool", "not a valid tokenizer name"),
    ],
)
def test_mistakes_are_explained(filled: Lake, name: str, source: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        fit(filled, name, source, 300)
    assert says in str(caught.value)
    assert not list((filled.root / "tokenizers").glob("*/*"))


def test_sql_may_end_in_a_comment(filled: Lake, tmp_path: Path) -> None:
    made, _ = fit(filled, "demo", "select doc_id from pool; ", 300)
    other, _ = fit(filled, "other", "select doc_id from pool -- all of it", 300)
    assert made.fingerprint == other.fingerprint


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a WordPiece tokenizer that changes letters, cuts, pads, and puts marks around a text."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    made: Any = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    made.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=200, special_tokens=special))
    around = [("[CLS]", made.token_to_id("[CLS]")), ("[SEP]", made.token_to_id("[SEP]"))]
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=around)
    made.enable_truncation(8)
    made.enable_padding()
    folder = tmp_path_factory.mktemp("theirs")
    made.save(str(folder / "tokenizer.json"))
    return folder


def test_a_tokenizer_of_others_is_added_and_encodes_whole_texts(filled: Lake, theirs: Path) -> None:
    from tokenizers import Tokenizer

    done = run(filled, "add", "words", str(theirs))
    assert done.stdout.startswith("words: ")
    assert f"from {theirs}" in done.stdout
    ours = tokenizer.Tokenizer(filled.root / "tokenizers" / "words")
    assert ours.end_token == "[SEP]"
    assert ours.end_of_text == 3
    bare: Any = Tokenizer.from_file(str(theirs / "tokenizer.json"))
    bare.no_truncation()
    bare.no_padding()
    texts = [*TEXTS[:5], "", "\n".join(TEXTS)]
    expected = [encoding.ids for encoding in bare.encode_batch(texts, add_special_tokens=False)]
    assert [ids.tolist() for ids in ours.encode_batch(texts)] == expected
    assert run(filled, "add", "words", str(theirs / "tokenizer.json")).stdout.startswith("words: ")
    assert len(tokenizers(filled)) == 1


def test_what_ends_a_text_is_the_folders_or_told(filled: Lake, theirs: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes((theirs / "tokenizer.json").read_bytes())
    config = tmp_path / "tokenizer_config.json"
    for written in ({"eos_token": "[CLS]"}, {"eos_token": {"content": "[CLS]", "lstrip": False}}):
        config.write_text(json.dumps(written))
        add(filled, "theirs", str(tmp_path))
        assert tokenizer.Tokenizer(filled.root / "tokenizers" / "theirs").end_token == "[CLS]"
    with pytest.raises(TokenizerExistsError, match="a different tokenizer 'theirs'"):
        add(filled, "theirs", str(tmp_path), end_of_text="[PAD]")
    add(filled, "theirs", str(tmp_path), end_of_text="[PAD]", force=True)
    assert tokenizer.Tokenizer(filled.root / "tokenizers" / "theirs").end_of_text == 0
    before = filled.snapshot()
    with pytest.raises(tokenizer.TokenizerError, match=r"has no token \[EOS\]"):
        add(filled, "again", str(tmp_path), end_of_text="[EOS]")
    config.write_text("{")
    with pytest.raises(tokenizer.TokenizerError, match=r"tokenizer_config\.json"):
        add(filled, "again", str(tmp_path))
    with pytest.raises(UsageError, match="no tokenizer"):
        add(filled, "again", "nowhere")
    assert filled.snapshot() == before
    assert not (filled.root / "tokenizers" / "again").exists()
