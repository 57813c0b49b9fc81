"""cuvee export, as it is typed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.warehouse.export.helpers import add_tokenizer
from udfs.errors import UsageError
from udfs.tokens.tokenizer import Tokenizer
from warehouse.cli.main import cli
from warehouse.export.manifest import Manifest
from warehouse.lake.lake import Lake


def test_command_exports_verifies_and_collects(
    blended: Lake, bpe: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_tokenizer(blended, "demo", bpe)
    monkeypatch.setenv("CUVEE_LAKE", str(blended.root))
    monkeypatch.chdir(tmp_path)

    def cuvee(*args: str) -> str:
        result = CliRunner().invoke(cli, ["export", *args], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    command = ("blend", "--out", "exports/blend", "--tokenizer", "demo", "--sequence-length", "32")
    assert "code" in cuvee(*command)
    assert "has this export already" in cuvee(*command)
    done = json.loads(cuvee(*command, "--json"))
    assert done["folder"] == os.path.realpath(tmp_path / "exports" / "blend")
    assert done["changed"] is False
    assert "0 faults" in cuvee("verify", "exports/blend")
    assert json.loads(cuvee("gc", "--json")) == {"removed": 0, "bytes": 0}
    cuvee("--out", "text", "blend", "--format", "text", "--quiet")
    assert Manifest.read(tmp_path / "text").format == "text"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["blend", "--out", "x"], "missing --tokenizer NAME"),
        (["blend", "--out", "x", "--tokenizer", "dem"], "did you mean demo"),
        (["blemd", "--out", "x", "--format", "text"], "did you mean blend"),
        (["blend", "--out", "x", "--format", "text", "--tokenizer", "demo"], "goes with --format tokens"),
        (["verify", "nowhere"], "not an export"),
    ],
)
def test_command_refuses_with_a_hint(
    blended: Lake, bpe: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    add_tokenizer(blended, "demo", bpe)
    monkeypatch.setenv("CUVEE_LAKE", str(blended.root))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        CliRunner().invoke(cli, ["export", *arguments], catch_exceptions=False)
    assert message in str(caught.value)
