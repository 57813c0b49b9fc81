"""Several mixtures in a row within one run: the order of the data, broken or not, and what SQL finds of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.helpers import CUVEE
from tests.training.helpers import train
from tests.training.tiny_sweep import RECIPE, write_exports
from training.recipe.configuration import RecipeError
from training.recipe.exports import Export, MixtureChangedError, Reading, find
from training.recipe.recipe import Recipe, read_recipe
from warehouse.lake.lake import Lake

pytest.importorskip("composer")
pytest.importorskip("streaming")

STAGES = "arms={control: baseline, staged: [{mixture: baseline, over: 25%}, {mixture: upsampled}]}"


@pytest.fixture
def recipe(recipe_file: Path) -> Recipe:
    return read_recipe(recipe_file, ("trunk.warmup=0", "evaluation.samples=8", "model.layers=1"))


def job(folder: Path, exports: dict[str, Export], *readings: tuple[str, int]):  # type: ignore[no-untyped-def]
    from training.run.run import Job

    parts = tuple(Reading(exports[mixture], steps) for mixture, steps in readings)
    return Job(folder, parts, exports["held_out"], sum(steps for _, steps in readings), 1, None)


def test_each_stage_begins_its_mixture_and_a_broken_run_goes_on(tmp_path: Path, recipe: Recipe) -> None:
    """An epoch has 11 batches or 10: the second stage goes beyond one. Checkpoints are at every fourth batch."""
    lake = Lake.create(tmp_path / "lake")
    write_exports(lake, tmp_path / "exports")
    exports = dict(find(lake, recipe))
    alone = [train(job(tmp_path / name, exports, (name, 14)), recipe) for name in ("baseline", "upsampled")]
    staged = job(tmp_path / "staged", exports, ("baseline", 4), ("upsampled", 14), ("baseline", 2))
    whole = train(staged, recipe)
    assert whole == alone[0][:4] + alone[1] + alone[0][:2]
    for last in (4, 16):  # between two stages, and in the second one's second epoch
        for later in range(last + 4, 21, 4):
            (staged.folder / "checkpoints" / f"ba{later:012}.pt").unlink()
        assert train(staged, recipe) == whole, f"from batch {last} on"
    (staged.folder / "checkpoints" / "ba000000000020.pt").unlink()
    swapped = job(staged.folder, exports, ("upsampled", 4), ("baseline", 14), ("upsampled", 2))
    with pytest.raises(MixtureChangedError, match=r"one in upsampled .*, and baseline .* is another mixture"):
        train(swapped, recipe)


@pytest.mark.parametrize(
    ("mixtures", "words"),
    [
        ("[{mixture: baseline, over: 50%}, {mixture: upsampled, over: 40%}]", "are 14 batches, and the run has 16"),
        ("[{mixture: baseline}, {mixture: upsampled}]", "more than one that lacks 'over'"),
        ("[{mixture: baseline, over: 100%}, {mixture: upsampled}]", "each needs one at least"),
        ("[{mixture: baseline, over: 50%}, {mixtur: upsampled}]", "unknown key 'mixtur'"),
        ("[]", "names no mixture"),
        ("{mixture: baseline}", "must be text, not a mapping"),
    ],
)
def test_mistakes_in_stages_are_located(recipe_file: Path, mixtures: str, words: str) -> None:
    text = RECIPE.replace("control: baseline", f"control: {mixtures}", 1)
    recipe_file.write_text(text)
    line = next(number for number, each in enumerate(text.splitlines(), 1) if mixtures in each)
    with pytest.raises(RecipeError) as caught:
        read_recipe(recipe_file)
    assert words in str(caught.value)
    assert f"{recipe_file}:{line}:" in str(caught.value)


def test_sql_finds_the_documents_of_every_stage(tmp_path: Path) -> None:
    """A quarter of the arm reads baseline, the rest upsampled, each by its own sample ids."""
    lake = Lake.create(tmp_path / "lake")
    write_exports(lake, tmp_path / "exports")
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    (tmp_path / "dbt_project.yml").write_text("name: p\nmodels: {cuvee: {}}")

    def cuvee(*words: str) -> str:
        command = [*CUVEE, *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    settings = ("--set", STAGES, "--set", "seeds=[1]", "--set", "model.layers=1")
    planned = cuvee("anneal", "tiny.yaml", "--plan", *settings)
    assert "baseline, upsampled" in planned
    cuvee("anneal", "tiny.yaml", *settings)
    cuvee("build", "--select", "run_stages batch_documents checkpoint_intervals realised_shares")
    reader = lake.reader()
    run_id, *row = reader.execute("select run_id, mixture, export_id from runs.runs where arm = 'staged'").fetchone()
    assert row == ["baseline, upsampled", "upsampled-export"]
    stages = reader.execute(
        "select mixture, export_id, from_batch, to_batch from main.run_stages where run_id = ? order by 3", [run_id]
    ).fetchall()
    assert stages == [("baseline", "baseline-export", 0, 4), ("upsampled", "upsampled-export", 4, 16)]
    assert reader.execute("select count(*) from main.run_stages where from_batch > 0").fetchone() == (1,)
    seen = "select batch, sample_id, doc_id from main.batch_documents where run_id = ? order by all"
    expected = """
        select batch, sample_id, doc_id from (
            select batch, unnest(sample_ids) as sample_id,
                if(batch < 4, 'baseline-export', 'upsampled-export') as export_id
            from runs.batches where run_id = ?
        )
        join exports.samples using (export_id, sample_id) order by all
    """
    documents = reader.execute(seen, [run_id]).fetchall()
    assert len(documents) == 16 * 16
    assert documents == reader.execute(expected, [run_id]).fetchall()
    shares = reader.execute(
        "select component, mixture_share from main.realised_shares where run_id = ? and batch = 16 order by 1", [run_id]
    ).fetchall()
    rare = 0.25 * 30 / 180 + 0.75 * 100 / 160
    assert shares == [("common", pytest.approx(1 - rare)), ("rare", pytest.approx(rare))]
    command = [*CUVEE, "mixture", "diff", run_id]
    refused = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert refused.returncode == 2
    assert "several mixtures in a row: baseline, upsampled" in refused.stderr
    order = cuvee("checkpoint", "order", run_id, "order")
    assert "4 files" in order
