"""Exports at URLs: S3, tested with moto's server, and any other that fsspec knows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.helpers import absent
from tests.warehouse.export.helpers import add_mixture, add_tokenizer, blend, texts
from udfs.errors import CuveeError, UsageError
from udfs.tokens.tokenizer import END_OF_TEXT, Tokenizer
from warehouse.cli.main import cli
from warehouse.export import destinations, plan
from warehouse.export.destinations import parse_destination
from warehouse.export.manifest import Manifest
from warehouse.export.packing import TextSamples, TokenSequences
from warehouse.export.store import ShardOptions, ShardStore
from warehouse.export.verify import verify
from warehouse.export.write import ExportRequest, ExportResult, export, units_in_use
from warehouse.lake.lake import Lake

Pool = dict[str, list[str]]


def run(lake: Lake, out: str | Path, *, mixture: str = "blend", **options: object) -> ExportResult:
    return export(lake, ExportRequest(mixture, out, TextSamples(), **options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    try:
        from moto.server import ThreadedMotoServer
    except ImportError:
        absent("S3 needs moto[s3] and flask, flask-cors: pip install '.[dev]'")
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    import boto3

    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "S3_ENDPOINT_URL": server,
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=server)
    name = f"data-{os.urandom(4).hex()}"
    client.create_bucket(Bucket=name)
    return name


def keys(bucket: str) -> dict[str, str]:
    """Objects of a bucket with when and with what they were written; Arrow's marks of folders are left out."""
    import boto3

    listed = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).list_objects_v2(Bucket=bucket)
    objects = [found for found in listed.get("Contents", []) if found["Size"]]
    return {found["Key"]: f"{found['LastModified']} {found['ETag']}" for found in objects}


def test_s3_holds_what_a_folder_holds(
    blended: Lake, pool: Pool, bpe: Tokenizer, tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "BUCKET", 6000)
    url = f"s3://{bucket}/mixes/blend"
    local = run(blended, tmp_path / "out")
    there = run(blended, url)
    assert there.written == 0, "the lake's shards are sent, not written again"
    assert there.manifest.streams == local.manifest.streams
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert set(keys(bucket)) == {f"mixes/blend/{name}" for name in files}
    assert f"remote: {url}/code/all" in there.streams
    found = verify(url)
    assert (found.faults, found.official) == ((), True), "StreamingDataset reads it from S3"
    assert found.samples == sum(stream.samples for stream in there.manifest.streams)
    # Again: nothing. Another share: the shards that are the same are not sent again, those that are not used go.
    before = keys(bucket)
    assert run(blended, url).changed is False
    assert keys(bucket) == before
    add_mixture(blended, "blend", blend(pool, bpe, more=60, prose=90))
    changed = run(blended, url)
    after = keys(bucket)
    shards = {key for key in after if key.endswith(".mds")}
    kept = shards & before.keys()
    assert len(kept) > len(shards) / 2
    assert {key: after[key] for key in kept} == {key: before[key] for key in kept}
    assert changed.written <= 2
    assert verify(url).faults == ()
    assert Manifest.read(run(blended, tmp_path / "again").folder).samples == changed.manifest.samples
    assert not [key for key in after if "unfinished" in key]
    rows = blended.cursor().execute("select path from exports.exports order by exported_at").fetchall()
    assert (url,) in rows


def test_an_interrupted_upload_goes_on(
    blended: Lake, tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "BUCKET", 2000)
    url = f"s3://{bucket}/blend"
    sent: list[str] = []
    send = destinations.UrlDestination._send

    def failing(self: destinations.UrlDestination, name: str, path: Path) -> None:
        if len(sent) == 12:
            raise OSError("the network is gone")
        sent.append(name)
        send(self, name, path)

    monkeypatch.setattr(destinations.UrlDestination, "_send", failing)
    with pytest.raises(CuveeError, match="the network is gone"):
        run(blended, url)
    with pytest.raises(UsageError, match="not finished"):
        verify(url)
    before = keys(bucket)
    monkeypatch.setattr(destinations.UrlDestination, "_send", send)
    run(blended, url)
    after = keys(bucket)
    assert {key for key in before if key.endswith(".mds") and after[key] != before[key]} == set()
    assert verify(url).faults == ()
    assert not [key for key in after if "unfinished" in key]


def test_places_of_something_else_are_refused(blended: Lake, bucket: str) -> None:
    add_mixture(blended, "other", {(texts(1, seed=1)[0], "code"): (1, 1)})
    run(blended, f"s3://{bucket}/blend")
    with pytest.raises(UsageError, match="holds an export of blend"):
        run(blended, f"s3://{bucket}/blend", mixture="other")
    with pytest.raises(UsageError, match="is not empty and no export"):
        run(blended, f"s3://{bucket}")
    with pytest.raises(UsageError, match="not an export"):
        verify(f"s3://{bucket}/nothing")
    with pytest.raises(UsageError, match=r"cannot open nonsense://a/b(.|\n)*pip install"):
        run(blended, "nonsense://a/b")


def test_any_file_system_of_fsspec_compressed_and_by_the_command(
    blended: Lake, bpe: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_tokenizer(blended, "demo", bpe)
    url = f"local://{tmp_path / 'there'}"
    monkeypatch.setenv("CUVEE_LAKE", str(blended.root))
    command = ["export", "blend", "--out", url, "--tokenizer", "demo", "--sequence-length", "16", "--compression", "gz"]
    result = CliRunner().invoke(cli, [*command, "--packing", "best-fit", "--bos", END_OF_TEXT], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert f"remote: {url}/code/all" in result.stdout
    manifest = Manifest.read(tmp_path / "there")
    assert (manifest.packing, manifest.bos) == ("best-fit", bpe.end_of_text)
    assert parse_destination(url).present(manifest.export_id) == manifest


def test_gc_keeps_what_manifests_elsewhere_name(blended: Lake, bpe: Tokenizer, tmp_path: Path) -> None:
    url = f"local://{tmp_path / 'there'}"
    run(blended, url)
    export(
        blended,
        ExportRequest("blend", tmp_path / "tokens", TokenSequences(bpe, 32), options=ShardOptions(compression="zstd")),
    )
    store = ShardStore(blended.root / "shards")
    assert units_in_use(blended) >= {
        unit for stream in parse_destination(url).manifest().streams for unit in stream.units
    }
    assert store.collect(units_in_use(blended)) == (0, 0), "no link keeps them, but the manifest does"
    shutil.rmtree(tmp_path / "there")
    removed, freed = store.collect(units_in_use(blended))
    assert removed == 4
    assert freed > 10_000
    assert verify(tmp_path / "tokens").faults == ()
