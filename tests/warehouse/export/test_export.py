"""An export holds the mixture: every document as often as it says, in samples that Streaming reads."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from tests.helpers import doc_id
from tests.warehouse.export.helpers import add_documents, add_mixture, blend, run, texts
from udfs.errors import CuveeError, UsageError
from udfs.tokens.tokenizer import Tokenizer
from warehouse.export import encode, plan
from warehouse.export.manifest import Manifest
from warehouse.export.packing import TextSamples, TokenSequences
from warehouse.export.store import ShardOptions
from warehouse.export.verify import verify
from warehouse.lake.lake import Lake
from warehouse.mds.reader import read_folder
from warehouse.mds.shared_memory import exclusive_start
from warehouse.mixtures.mixture import MixtureError

Pool = dict[str, list[str]]


def stream_documents(folder: Path, manifest: Manifest, bpe: Tokenizer) -> dict[str, Counter[str]]:
    """The texts in the samples of each component, decoded from the shards, repeats counted; tails are missing."""
    found: dict[str, Counter[str]] = {}
    for stream in manifest.streams:
        counted = found.setdefault(stream.component, Counter())
        for batch in read_folder(folder / stream.path):
            if manifest.format == "text":
                pieces = batch["text"].to_pylist()
            else:
                ids = batch["input_ids"].flatten().to_numpy()
                ends = np.flatnonzero(ids == bpe.end_of_text)
                pieces = [bpe.decode(part[:-1]) for part in np.split(ids, ends + 1)[:-1]]
            for piece in pieces:
                counted[piece] += stream.repeat
    return found


@pytest.fixture(params=["one bucket", "many buckets", "many buckets and spilled"])
def buckets(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param != "one bucket":
        monkeypatch.setattr(plan, "BUCKET", 2000)
        monkeypatch.setattr(encode, "CHUNK", 3000)
    if "spilled" in request.param:
        monkeypatch.setattr(encode, "MEMORY", 5000)
    return str(request.param)


def test_text_has_each_document_as_often_as_the_mixture_says(
    blended: Lake, pool: Pool, bpe: Tokenizer, tmp_path: Path, buckets: str
) -> None:
    done = run(blended, tmp_path / "out", TextSamples())
    rows = blend(pool, bpe)
    found = stream_documents(done.folder, done.manifest, bpe)
    for component in pool:
        assert found[component] == Counter({text: row[0] for (text, name), row in rows.items() if name == component})
    assert done.manifest.samples == sum(copies for copies, _ in rows.values())
    assert done.manifest.tokens == sum(copies * tokens for copies, tokens in rows.values())
    assert (done.units > 10) == (buckets != "one bucket")
    samples = pq.read_table(done.folder / "samples.parquet").to_pylist()
    shards = [
        (row["id"], stream.component)
        for stream in done.manifest.streams
        for batch in read_folder(done.folder / stream.path)
        for row in batch.to_pylist()
    ]
    assert [(row["doc_id"], row["component"]) for row in samples] == shards
    assert [row["sample_id"] for row in samples] == list(range(len(shards)))
    assert verify(done.folder).faults == ()


def test_tokens_decode_to_the_documents_of_the_mixture(
    blended: Lake, pool: Pool, bpe: Tokenizer, tmp_path: Path, buckets: str
) -> None:
    length = 32
    done = run(blended, tmp_path / "out", TokenSequences(bpe, length))
    manifest = done.manifest
    rows = blend(pool, bpe)
    # What is in no sequence is the tails of buckets, counted.
    for name, component in manifest.components.items():
        with_ends = sum((tokens + 1) * copies for (_, of), (copies, tokens) in rows.items() if of == name)
        assert component.exported_tokens + component.dropped_tokens == with_ends
        assert component.copies == sum(copies for (_, of), (copies, _) in rows.items() if of == name)
    expected = {name: Counter({t: row[0] for (t, of), row in rows.items() if of == name}) for name in pool}
    found = stream_documents(done.folder, manifest, bpe)
    for name, counted in found.items():
        # Buckets begin with a document, so no document lacks its beginning, and every text is one of the mixture's.
        assert counted <= expected[name]
    if buckets == "one bucket":
        missing = expected["code"] - found["code"]
        assert sum(missing.values()) <= 3, "only documents at the ends of the two streams are cut"
    found_verify = verify(done.folder)
    assert found_verify.faults == ()
    assert found_verify.official
    assert (found_verify.samples, found_verify.tokens) == (
        sum(stream.samples for stream in manifest.streams),
        sum(stream.tokens for stream in manifest.streams),
    )


def test_samples_say_which_tokens_are_whose(blended: Lake, pool: Pool, bpe: Tokenizer, tmp_path: Path) -> None:
    done = run(blended, tmp_path / "out", TokenSequences(bpe, 16))
    by_id = {doc_id(text): text for part in pool.values() for text in part}
    held = pq.read_table(done.folder / "samples.parquet").to_pylist()
    position = 0
    for stream in done.manifest.streams:
        for batch in read_folder(done.folder / stream.path):
            for ids in batch["input_ids"].to_pylist():
                mine = []
                while position < len(held) and held[position]["sample_id"] == held[position - len(mine)]["sample_id"]:
                    mine.append(held[position])
                    position += 1
                assert sum(row["n_tokens"] for row in mine) == 16
                offset = 0
                for row in mine:
                    piece = ids[offset : offset + row["n_tokens"]]
                    offset += row["n_tokens"]
                    whole = [*bpe.encode_batch([by_id[row["doc_id"]]])[0].tolist(), bpe.end_of_text]
                    assert str(piece)[1:-1] in str(whole)[1:-1]
    assert position == len(held)


def test_levels_for_copies_that_differ_by_more_than_one(lake: Lake, bpe: Tokenizer, tmp_path: Path) -> None:
    documents = texts(30)
    add_documents(lake, documents)
    add_mixture(lake, "blend", {(text, "all"): ([1, 2, 5][number % 3], 10) for number, text in enumerate(documents)})
    done = run(lake, tmp_path / "out", TextSamples())
    assert [(stream.path, stream.repeat, stream.samples) for stream in done.manifest.streams] == [
        ("all/all", 1, 30),
        ("all/more", 1, 20),
        ("all/more-2", 3, 10),
    ]
    found = stream_documents(done.folder, done.manifest, bpe)["all"]
    assert found == Counter({text: [1, 2, 5][number % 3] for number, text in enumerate(documents)})


def test_streaming_dataset_yields_each_sample_as_often_as_the_mixture_says(
    blended: Lake, pool: Pool, bpe: Tokenizer, tmp_path: Path
) -> None:
    from streaming import Stream, StreamingDataset
    from torch.utils.data import DataLoader

    done = run(blended, tmp_path / "out", TextSamples())
    block = yaml.safe_load((done.folder / "streams.yaml").read_text())["streams"]
    assert [stream["repeat"] for stream in block.values()] == [stream.repeat for stream in done.manifest.streams]
    streams = [Stream(**stream) for stream in block.values()]
    with exclusive_start():
        dataset = StreamingDataset(streams=streams, batch_size=4, shuffle=True, num_canonical_nodes=1)
    assert len(dataset) == done.manifest.samples
    seen: Counter[tuple[str, str]] = Counter()
    for batch in DataLoader(dataset, batch_size=4, num_workers=0):
        seen.update(zip(batch["text"], batch["component"], strict=True))
    assert seen == Counter({key: copies for key, (copies, _) in blend(pool, bpe).items()})
    listed = pq.read_table(done.folder / "samples.parquet")["doc_id"].to_pylist()
    assert [dataset[number]["id"] for number in range(len(listed))] == listed, "sample ids are Streaming's own"


def test_two_ranks_with_two_workers_see_the_mixture_and_the_padding_that_was_predicted(
    blended: Lake, pool: Pool, bpe: Tokenizer, tmp_path: Path
) -> None:
    rows = blend(pool, bpe, more=41)
    add_mixture(blended, "blend", rows)
    done = run(blended, tmp_path / "out", TextSamples())
    expected = Counter({f"{of} {doc_id(text)}": copies for (text, of), (copies, _) in rows.items()})
    assert expected.total() % 2 == 1, "an odd number, so that there is something to predict"
    padding = done.manifest.padding(ranks_per_node=2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [
        subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("one_rank.py")), str(done.folder)],
            env={**os.environ, **places, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    seen: Counter[str] = Counter()
    for rank in ranks:
        out, errors = rank.communicate(timeout=300)
        assert rank.returncode == 0, errors
        seen.update(json.loads(out.splitlines()[-1]))
    assert expected <= seen
    assert seen.total() - expected.total() == padding == 1
    tokens = {f"{of} {doc_id(text)}": count for (text, of), (_, count) in rows.items()}
    whole = sum(tokens[key] * count for key, count in seen.items())
    for name, component in done.manifest.components.items():
        share = sum(tokens[key] * count for key, count in seen.items() if key.startswith(f"{name} ")) / whole
        assert abs(share - component.share) <= max(0.001, 2 * max(tokens.values()) / whole)


def test_again_does_nothing_and_elsewhere_links(blended: Lake, bpe: Tokenizer, tmp_path: Path) -> None:
    first = run(blended, tmp_path / "out", TokenSequences(bpe, 32))
    snapshot = blended.snapshot()
    again = run(blended, tmp_path / "out", TokenSequences(bpe, 32))
    assert (first.changed, again.changed, again.manifest) == (True, False, first.manifest)
    assert blended.snapshot() == snapshot
    elsewhere = run(blended, tmp_path / "deep" / "er", TokenSequences(bpe, 32))
    assert (elsewhere.changed, elsewhere.written) == (True, 0)
    assert elsewhere.manifest.export_id == first.manifest.export_id
    here, there = (sorted(folder.rglob("*.mds")) for folder in (tmp_path / "out", tmp_path / "deep" / "er"))
    assert [path.stat().st_ino for path in here] == [path.stat().st_ino for path in there]
    rows = blended.cursor().execute("select path from exports.exports order by exported_at").fetchall()
    assert [Path(path).name for (path,) in rows] == ["out", "er"]
    samples = blended.cursor().execute("select count(*) from exports.samples").fetchone()
    assert samples == (pq.read_metadata(tmp_path / "out" / "samples.parquet").num_rows,)


def test_lands_in_the_lake_with_its_snapshot_pinned(blended: Lake, bpe: Tokenizer, tmp_path: Path) -> None:
    read = blended.snapshot()
    done = run(blended, tmp_path / "out", TokenSequences(bpe, 32), tokenizer="demo")
    cursor = blended.cursor()
    (row,) = cursor.execute(
        "select export_id, mixture, snapshot_id, format, tokenizer, sequence_length, samples, tokens, path, manifest"
        " from exports.exports"
    ).fetchall()
    manifest = done.manifest
    assert row[:9] == (
        *(manifest.export_id, "blend", read, "tokens", "demo", 32),
        *(manifest.samples, manifest.tokens, str(tmp_path / "out")),
    )
    assert Manifest.parse(json.loads(row[9])) == Manifest.read(tmp_path / "out") == manifest
    assert cursor.execute("select snapshot_id from cuvee.pins").fetchall() == [(read,)]
    listed = cursor.execute(
        "select sample_id, component, doc_id, n_tokens from exports.samples order by all"
    ).fetchall()
    table = pq.read_table(
        tmp_path / "out" / "samples.parquet", columns=["sample_id", "component", "doc_id", "n_tokens"]
    )
    assert listed == sorted(tuple(row.values()) for row in table.to_pylist())


def test_manifest_has_the_query_of_a_view_and_of_a_built_table(blended: Lake, tmp_path: Path) -> None:
    with blended.commit("as the builder does") as commit:
        commit.sql("create view seen as select * from main.blend where component = 'code'")
        commit.sql(
            "insert into cuvee.nodes"
            " select 'model.a.blend', 'main.blend', 'table', 'built', 'f', '{}', sql, 1, 1, now() - interval (age) day"
            " from (values ('select 1 as old', 1), ('select 2 as new', 0)) as builds(sql, age)"
        )
    assert run(blended, tmp_path / "table", TextSamples()).manifest.sql == "select 2 as new"
    assert "component = 'code'" in (run(blended, tmp_path / "view", TextSamples(), mixture="seen").manifest.sql or "")


def test_a_changed_share_writes_the_cut_bucket_only(
    blended: Lake, pool: Pool, bpe: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "BUCKET", 1000)
    first = run(blended, tmp_path / "out", TextSamples())
    assert first.units > 30
    add_mixture(blended, "blend", blend(pool, bpe, more=60, prose=90))
    second = run(blended, tmp_path / "out", TextSamples())
    assert second.changed
    assert second.written <= 2, "one cut bucket of code/more, one of prose/all"
    assert verify(tmp_path / "out").faults == ()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lake", "out"]
    # Back to the first: nothing is encoded, and the lake's newest row of the mixture is this export again.
    add_mixture(blended, "blend", blend(pool, bpe))
    third = run(blended, tmp_path / "out", TextSamples())
    assert (third.manifest.export_id, third.written) == (first.manifest.export_id, 0)
    newest = "select export_id from exports.exports where mixture = 'blend' order by exported_at desc limit 1"
    assert blended.cursor().execute(newest).fetchone() == (first.manifest.export_id,)


def test_the_same_documents_ingested_in_another_order_give_the_same_bytes(
    pool: Pool, bpe: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "BUCKET", 3000)
    trees = []
    for name, reverse, group in [("a", False, 7), ("b", True, 1000)]:
        lake = Lake.create(tmp_path / name / "lake")
        add_documents(lake, sorted((text for part in pool.values() for text in part), reverse=reverse), group)
        add_mixture(lake, "blend", dict(sorted(blend(pool, bpe).items(), reverse=reverse)))
        run(lake, tmp_path / name / "out", TokenSequences(bpe, 32))
        out = tmp_path / name / "out"
        trees.append({str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.mds")})
    assert trees[0] == trees[1]


def test_deleted_documents_and_other_snapshots(blended: Lake, pool: Pool, bpe: Tokenizer, tmp_path: Path) -> None:
    with blended.commit("forget one") as commit:
        commit.sql("delete from raw.documents where doc_id = ?", [doc_id(pool["code"][0])])
    with pytest.raises(MixtureError, match=r"document \w+ is not in raw.documents \(1 such rows\)"):
        run(blended, tmp_path / "out", TextSamples())
    with blended.commit("mixture") as commit:
        commit.sql("delete from main.blend where doc_id = ?", [doc_id(pool["code"][0])])
    done = run(blended, tmp_path / "out", TextSamples())
    assert pool["code"][0] not in stream_documents(done.folder, done.manifest, bpe)["code"]


@pytest.mark.parametrize("compression", ["zstd:3", "gz", None])
def test_compressed_shards_verify(blended: Lake, bpe: Tokenizer, tmp_path: Path, compression: str | None) -> None:
    for packing in (TextSamples(), TokenSequences(bpe, 32)):
        folder = tmp_path / type(packing).__name__
        run(blended, folder, packing, options=ShardOptions(compression=compression, size_limit=4096))
        found = verify(folder)
        assert found.faults == ()
        assert found.official


def test_components_too_small_for_a_sequence_are_counted_not_written(
    lake: Lake, bpe: Tokenizer, tmp_path: Path
) -> None:
    documents = texts(20)
    add_documents(lake, documents)
    rows = {(text, "large"): (1, 9) for text in documents[1:]} | {(documents[0], "small"): (2, 9)}
    add_mixture(lake, "blend", rows)
    done = run(lake, tmp_path / "out", TokenSequences(bpe, 512))
    assert [stream.component for stream in done.manifest.streams] == ["large"]
    small = done.manifest.components["small"]
    assert small.exported_tokens == 0
    assert small.dropped_tokens == 2 * (len(bpe.encode_batch(documents[:1])[0]) + 1)
    assert not (tmp_path / "out" / "small").exists()
    assert verify(tmp_path / "out").faults == ()
    with pytest.raises(CuveeError, match="no component of blend fills one sequence"):
        run(lake, tmp_path / "none", TokenSequences(bpe, 1 << 20))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lake", "out"]


def test_folders_of_components_are_safe_and_unique(lake: Lake, tmp_path: Path) -> None:
    documents = texts(5)
    add_documents(lake, documents)
    names = ["../up", "A b", "a-b", "東京", "x/y"]
    add_mixture(lake, "blend", dict.fromkeys(zip(documents, names, strict=True), (1, 1)))
    done = run(lake, tmp_path / "out", TextSamples())
    paths = [stream.path for stream in done.manifest.streams]
    assert len({path.lower() for path in paths}) == 5
    assert all((tmp_path / "out" / path / "index.json").is_file() for path in paths)
    assert {stream.component for stream in done.manifest.streams} == set(names)


# Refusals


def test_foreign_folders_are_refused(blended: Lake, bpe: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    run(blended, tmp_path / "out", TextSamples())
    add_mixture(blended, "other", {(texts(1, seed=1)[0], "code"): (1, 1)})
    with pytest.raises(UsageError, match="holds an export of blend"):
        run(blended, tmp_path / "out", TextSamples(), mixture="other")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(UsageError, match="not empty and no export"):
        run(blended, tmp_path / "mine", TextSamples())


def test_what_is_no_mixture_is_refused(blended: Lake, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no mixture 'blemd'(.|\n)*did you mean blend"):
        run(blended, tmp_path / "out", TextSamples(), mixture="blemd")
    with pytest.raises(MixtureError, match="lacks component, copies, n_tokens"):
        run(blended, tmp_path / "out", TextSamples(), mixture="raw.documents")
    text = texts(1, seed=1)[0]
    for copies, tokens, message in [(0, 1, "copies that are not 1 or more"), (1, -1, "has no n_tokens")]:
        add_mixture(blended, "bad", {(text, "code"): (copies, tokens)})
        with pytest.raises(MixtureError, match=message):
            run(blended, tmp_path / "out", TextSamples(), mixture="bad")
    with blended.commit("twice") as commit:
        commit.sql("create view twice as select * from main.blend union all select * from main.blend")
        commit.sql("create view nothing as select * from main.blend where false")
    with pytest.raises(MixtureError, match=r"is 2 times in component"):
        run(blended, tmp_path / "out", TextSamples(), mixture="twice")
    with pytest.raises(MixtureError, match="has no documents"):
        run(blended, tmp_path / "out", TextSamples(), mixture="nothing")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_told_before_anything_is_written(
    blended: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(CuveeError, match="MiB free; this export may need"):
        run(blended, tmp_path / "out", TextSamples())
    assert not (tmp_path / "out").exists()
