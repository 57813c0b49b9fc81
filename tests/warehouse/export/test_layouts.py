"""What else an export may look like: other packings, labels, copies written out, one index over all."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.helpers import doc_id
from tests.warehouse.export.helpers import add_documents, add_mixture, blend, texts
from udfs.errors import UsageError
from udfs.tokens.tokenizer import Tokenizer
from warehouse.export import plan
from warehouse.export.packing import Packing, TextSamples, TokenSequences
from warehouse.export.verify import verify
from warehouse.export.write import ExportRequest, ExportResult, export
from warehouse.lake.lake import Lake
from warehouse.mds.reader import read_folder
from warehouse.mds.shared_memory import exclusive_start
from warehouse.mixtures.mixture import MixtureError

Pool = dict[str, list[str]]


def run(lake: Lake, out: Path, packing: Packing, **options: object) -> ExportResult:
    return export(lake, ExportRequest("blend", out, packing, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["best-fit", "documents"])
def test_packings_verify_and_hold_every_document(
    blended: Lake, pool: Pool, bpe: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(plan, "BUCKET", 3000)
    packing = TokenSequences(bpe, 40, method, "tokens", bos=5, lengths=method == "best-fit")  # type: ignore[arg-type]
    done = run(blended, tmp_path / "out", packing)
    manifest = done.manifest
    found = verify(done.folder)
    assert found.faults == ()
    assert found.official
    assert (manifest.packing, manifest.column, manifest.bos) == (method, "tokens", 5)
    assert manifest.boundaries == ("end_of_text" if method == "best-fit" else "samples")
    rows = blend(pool, bpe)
    held = pq.read_table(done.folder / "samples.parquet")
    assert set(held["doc_id"].to_pylist()) == {doc_id(text) for text, _ in rows}
    assert manifest.components["code"].dropped_tokens == 0
    if method == "best-fit":
        assert manifest.tokens == sum(copies * (tokens + 2) for copies, tokens in rows.values())


def test_labels_of_the_mixture_go_with_the_text(blended: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "BUCKET", 5000)
    with blended.commit("labels") as commit:
        commit.sql(
            "create view labelled as select *, component || '!' as topic, n_tokens * 2 as twice,"
            " n_tokens / 4 as quarter, {'primary': component, 'secondary': null} as field,"
            " nullif(n_tokens % 2, 1) as sparse from main.blend"
        )
    labels = ("twice", "topic", "field", "quarter")
    done = export(blended, ExportRequest("labelled", tmp_path / "out", TextSamples(), labels=labels))
    assert verify(done.folder).faults == ()
    tokens = dict(blended.cursor().execute("select doc_id, n_tokens from main.blend").fetchall())
    for stream in done.manifest.streams:
        for batch in read_folder(done.folder / stream.path):
            for row in batch.to_pylist():
                count = tokens[row["id"]]
                assert (row["twice"], row["quarter"], row["topic"]) == (2 * count, count / 4, f"{stream.component}!")
                assert json.loads(row["field"]) == {"primary": stream.component, "secondary": None}
    with pytest.raises(MixtureError, match=r"has no sparse, and MDS has no NULL(.|\n)*coalesce"):
        export(blended, ExportRequest("labelled", tmp_path / "null", TextSamples(), labels=("sparse",)))
    with pytest.raises(UsageError, match=r"no label column 'topics'(.|\n)*did you mean topic"):
        export(blended, ExportRequest("labelled", tmp_path / "none", TextSamples(), labels=("topics",)))
    # Another value is another shard, though the documents are the same.
    with blended.commit("labels") as commit:
        commit.sql("create or replace view labelled as select *, 'new' as topic from main.blend")
    again = export(blended, ExportRequest("labelled", tmp_path / "out", TextSamples(), labels=("topic",)))
    assert again.written == again.units


def test_one_index_over_all_streams(blended: Lake, pool: Pool, bpe: Tokenizer, tmp_path: Path) -> None:
    """With copies written out, the merged root is the mixture: for loaders that take one folder and no streams."""
    from streaming import StreamingDataset

    rows = blend(pool, bpe)
    once = run(blended, tmp_path / "once", TextSamples())
    written = run(blended, tmp_path / "written", TextSamples(), copies=True)
    assert {stream.repeat for stream in written.manifest.streams} == {1}
    assert written.written == 0, "copies are links to the same shards"
    assert written.manifest.samples == once.manifest.samples
    assert once.manifest.export_id != written.manifest.export_id
    assert verify(written.folder).faults == ()
    for folder, copies in ((once.folder, False), (written.folder, True)):
        with exclusive_start():
            dataset = StreamingDataset(local=str(folder), batch_size=1)
        samples = [dataset[number] for number in range(len(dataset))]
        seen = Counter((sample["text"], sample["component"]) for sample in samples)
        if copies:
            assert seen == Counter({key: found for key, (found, _) in rows.items()})
        else:
            assert seen.keys() == rows.keys()
            assert len(dataset) == sum(stream.samples for stream in once.manifest.streams)
    with exclusive_start():
        code = StreamingDataset(local=str(written.folder / "code"), batch_size=1)
    assert len(code) == sum(copies for (_, component), (copies, _) in rows.items() if component == "code")
    (written.folder / "code" / "index.json").write_text('{"version": 2, "shards": []}')
    assert verify(written.folder).faults == ("code/index.json does not list the shards below it",)


@pytest.fixture
def nine(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> tuple[Lake, dict[str, list[str]]]:
    """Nine components of 60 documents, of which the mixture takes 40; several buckets in each."""
    monkeypatch.setattr(plan, "BUCKET", 2000)
    parts = {f"part-{number}": texts(60, seed=number) for number in range(9)}
    everything = [text for part in parts.values() for text in part]
    random.Random(1).shuffle(everything)
    add_documents(lake, everything)
    return lake, parts


def mixture_of(lake: Lake, parts: dict[str, list[str]], taken: dict[str, int]) -> None:
    """The first documents of each component in the order of mixtures."""
    rows = {}
    for component, part in parts.items():
        order = sorted(part, key=lambda text: hashlib.md5(f"17:{doc_id(text)}".encode()).hexdigest())
        rows |= {(text, component): (1, 100) for text in order[: taken.get(component, 40)]}
    add_mixture(lake, "blend", rows)


def shards(folder: Path) -> dict[str, int]:
    """Every shard of an export with its inode: the same file is the same shard."""
    return {str(path.relative_to(folder)): path.stat().st_ino for path in folder.rglob("*.mds")}


@pytest.mark.parametrize("method", ["concatenate", "text"])
def test_changed_shares_rewrite_one_boundary_each(
    nine: tuple[Lake, dict[str, list[str]]], bpe: Tokenizer, tmp_path: Path, method: str
) -> None:
    lake, parts = nine
    packing = TextSamples() if method == "text" else TokenSequences(bpe, 16)
    mixture_of(lake, parts, {})
    first = run(lake, tmp_path / "out", packing)
    assert first.units > 4 * len(parts)
    before = shards(tmp_path / "out")
    # One share up, and so all others down, as shares are normalised.
    mixture_of(lake, parts, {name: 55 if name == "part-4" else 38 for name in parts})
    second = run(lake, tmp_path / "out", packing)
    after = shards(tmp_path / "out")
    assert verify(tmp_path / "out").faults == ()
    for name in parts:
        new = [path for path, inode in after.items() if path.startswith(f"{name}/") and before.get(path) != inode]
        gone = [path for path in before if path.startswith(f"{name}/") and path not in after]
        if name == "part-4":
            assert len(gone) <= 1, "the shard in which the cut was; the others are for more documents"
        else:
            assert len(new) <= 1, "the shard in which the cut is"
    assert second.written < first.units / 2


def test_another_predicate_rewrites_its_component_only(
    nine: tuple[Lake, dict[str, list[str]]], bpe: Tokenizer, tmp_path: Path
) -> None:
    lake, parts = nine
    mixture_of(lake, parts, {})
    run(lake, tmp_path / "out", TokenSequences(bpe, 16))
    before = shards(tmp_path / "out")
    changed = {**parts, "part-4": [text for text in parts["part-4"] if "shard" in text]}
    mixture_of(lake, changed, {})
    run(lake, tmp_path / "out", TokenSequences(bpe, 16))
    after = shards(tmp_path / "out")
    others = {path: inode for path, inode in before.items() if not path.startswith("part-4/")}
    assert others == {path: inode for path, inode in after.items() if not path.startswith("part-4/")}
    assert before.keys() - after.keys(), "it did change"
