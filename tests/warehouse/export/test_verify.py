"""What verify finds, what exporting again repairs, and what gc may remove."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.warehouse.export.helpers import run
from udfs.tokens.tokenizer import Tokenizer
from warehouse.export.packing import TextSamples, TokenSequences
from warehouse.export.store import ShardStore
from warehouse.export.verify import verify
from warehouse.lake.lake import Lake


def test_verify_finds_damage_and_export_repairs_it(blended: Lake, bpe: Tokenizer, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(blended, out, TokenSequences(bpe, 32))
    shard = next(out.rglob("*.mds"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.unlink()
    shard.write_bytes(data)
    (fault,) = verify(out).faults
    assert "sha256" in fault
    shard.unlink()
    assert any("No such file" in fault for fault in verify(out).faults)
    assert run(blended, out, TokenSequences(bpe, 32)).changed
    assert verify(out).faults == ()
    (out / "samples.parquet").write_bytes(b"")
    assert any("samples.parquet" in fault for fault in verify(out).faults)


def test_gc_removes_what_no_export_links(blended: Lake, bpe: Tokenizer, tmp_path: Path) -> None:
    run(blended, tmp_path / "text", TextSamples())
    run(blended, tmp_path / "tokens", TokenSequences(bpe, 32))
    store = ShardStore(blended.root / "shards")
    assert store.collect() == (0, 0)
    shutil.rmtree(tmp_path / "text")
    units, freed = store.collect()
    assert units == 4
    assert freed > 10_000
    assert verify(tmp_path / "tokens").faults == ()
