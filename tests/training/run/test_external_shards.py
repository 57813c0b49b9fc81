"""Shards that others wrote, laid out as Ettin's are: trained on as they stand."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.training.tiny_sweep import RECIPE, Part, language, write_export
from udfs.errors import CuveeError, UsageError
from udfs.tokens import tokenizer
from warehouse.cli.main import cli
from warehouse.export.external_shards import fitted
from warehouse.lake.lake import Lake

SHARES = {"books": 3, "arxiv": 1}


def write_ettin(
    root: Path, lengths: tuple[int, ...] = (32, 20, 40), dtype: str = "uint32"
) -> dict[str, list[list[int]]]:
    """``train/<source>/<source>_NNNN`` with ``id`` and ``input_ids`` of different lengths; gives tokens by source."""
    from streaming import MDSWriter

    written: dict[str, list[list[int]]] = {}
    for source, folders in SHARES.items():
        for number in range(folders):
            rows = language(number, 60, length=max(lengths))
            target = root / "train" / source / f"{source}_{number:04}"
            with MDSWriter(columns={"id": "str", "input_ids": f"ndarray:{dtype}"}, out=str(target)) as writer:
                for row, tokens in enumerate(rows):
                    cut = tokens[: lengths[row % len(lengths)]].astype(dtype)
                    writer.write({"id": f"{source}-{number}-{row}", "input_ids": cut})
                    written.setdefault(source, []).append(cut.tolist())
    return written


def recipe(folder: Path, **mixtures: str) -> Path:
    path = folder / "tiny.yaml"
    text = RECIPE.replace("seeds: [1, 2]", "seeds: [1]")
    for name, place in mixtures.items():
        text = text.replace(f": {name}", f": {place}")
    path.write_text(text)
    return path


def test_a_recipe_trains_on_them_without_conversion(lake: Lake, tmp_path: Path) -> None:
    from training.recipe.exports import find
    from training.recipe.recipe import read_recipe
    from training.run.data import close, training_data

    theirs = tmp_path / "ettin"
    written = write_ettin(theirs)
    ours = {"common": Part(language(11, 24)), "rare": Part(language(12, 24))}
    write_export(lake, tmp_path / "held_out", "held_out", ours, vocabulary=64)
    path = recipe(tmp_path, baseline=str(theirs), upsampled=str(theirs))
    export = find(lake, read_recipe(path))[str(theirs)]
    assert export.components == ("arxiv", "books")
    assert (export.samples("books"), export.samples("arxiv")) == (180, 60)
    assert (export.sequence_length, export.vocabulary) == (32, 64)  # the held-out export's

    spec = training_data(export, batch_size=16, seed=1)
    read = Counter(tuple(tokens) for batch in spec.dataloader for tokens in batch["input_ids"].tolist())
    close(spec)
    assert read == Counter(tuple(one[:32] + [0] * (32 - len(one))) for part in written.values() for one in part)

    short = (
        path.read_text()
        .replace("8192", "1024")
        .replace("warmup: 1024, ", "")
        .replace("held_out}", "held_out, samples: 4}")
    )
    path.write_text(short.replace(f", upsampled: {theirs}", ""))
    arguments = ["anneal", str(path), "--lake", str(lake.root), "--out", str(tmp_path / "runs")]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, (done.output, done.exception)
    rows = lake.reader().execute("select distinct mixture, len(export_id) from runs.runs").fetchall()
    assert rows == [(str(theirs), 32)]


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_their_own_tokenizer_and_longest_sample_say_what_nobody_else_does(
    lake: Lake, tmp_path: Path, dtype: str
) -> None:
    from training.recipe.exports import find
    from training.recipe.recipe import read_recipe

    theirs = tmp_path / "ettin"
    write_ettin(theirs, dtype=dtype)
    path = recipe(tmp_path, baseline=str(theirs), upsampled=str(theirs), held_out=str(theirs))
    with pytest.raises(UsageError, match="nothing says what the tokens") as caught:
        find(lake, read_recipe(path))
    assert "tokenizer.json" in str(caught.value)
    made = tokenizer.train(iter(["a"]), theirs, 300)
    path.write_text(path.read_text().replace("batch_tokens: 512", "batch_tokens: 640"))
    (export,) = find(lake, read_recipe(path)).values()
    assert (export.sequence_length, export.vocabulary) == (40, made.vocab_size)
    assert export.manifest.tokenizer_fingerprint == made.fingerprint


def test_a_url_is_left_to_streaming_and_its_indexes_are_read(lake: Lake, tmp_path: Path) -> None:
    import fsspec

    from training.recipe.exports import find
    from training.recipe.recipe import read_recipe

    write_ettin(tmp_path / "ettin")
    tokenizer.train(iter(["a"]), tmp_path / "ettin", 300)
    fsspec.filesystem("memory").put(str(tmp_path / "ettin"), "/ettin", recursive=True)
    shutil.rmtree(tmp_path / "ettin")
    url = "memory://ettin"
    path = recipe(tmp_path, baseline=url, upsampled=url, held_out=url)
    path.write_text(path.read_text().replace("batch_tokens: 512", "batch_tokens: 640"))
    (export,) = find(lake, read_recipe(path)).values()
    assert [export.place(stream) for stream in export.streams("arxiv")] == [{"remote": f"{url}/train/arxiv/arxiv_0000"}]
    assert (export.samples(), export.sequence_length) == (240, 40)


def test_text_shards_and_missing_places_are_told(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from streaming import MDSWriter

    from training.recipe.exports import find
    from training.recipe.recipe import read_recipe

    with MDSWriter(columns={"text": "str"}, out=str(tmp_path / "text")) as writer:
        writer.write({"text": "a"})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for place, message in (
        (str(tmp_path / "text"), "holds text; training reads tokens"),
        (str(tmp_path / "nowhere"), "no folder"),
        ("hf://datasets/nobody/nothing", "cannot read hf://datasets/nobody/nothing"),
    ):
        path = recipe(tmp_path, baseline=place, upsampled=place, held_out=place)
        with pytest.raises(CuveeError, match=message):
            find(lake, read_recipe(path))


def test_a_sample_is_cut_or_filled_up_to_one_length() -> None:
    assert fitted(np.array([1, 2, 3], np.uint16), 2, 0).tolist() == [1, 2]
    assert fitted(np.array([1, 2], np.uint16), 4, 7).tolist() == [1, 2, 7, 7]
    assert fitted(np.array([1, 2], np.uint16), 4, 7).dtype == np.uint16
