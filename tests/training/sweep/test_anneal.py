"""Annealing from end to end: a tiny sweep through the command line, interrupted and not, and what it leaves."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.helpers import CUVEE
from tests.training.helpers import ENVIRONMENT, cuvee
from tests.training.tiny_sweep import RECIPE, Part, language, write_export, write_exports
from warehouse.lake.lake import Lake

pytest.importorskip("composer")
pytest.importorskip("streaming")


class Place:
    """A folder with a lake, exports and a recipe, in which the command is called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def lake(self) -> Lake:
        return Lake.open(self.folder / "lake")

    def anneal(self, *options: str) -> subprocess.CompletedProcess[str]:
        return cuvee(self.folder, "anneal", "tiny.yaml", *options)

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*CUVEE, "anneal", "tiny.yaml", "--quiet"],
            cwd=self.folder,
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def rows(self, query: str) -> list[tuple[object, ...]]:
        return self.lake.reader().execute(query).fetchall()

    def outcome(self) -> dict[str, list[tuple[object, ...]]]:
        """Everything that an interruption must not change, bit for bit."""
        return {
            "runs": self.rows("select run_id, arm, seed, parent_run_id, mixture, tokens from runs.runs order by all"),
            "metrics": self.rows("select * from runs.metrics where name not like 'speed/%' order by all"),
            "batches": self.rows("select * from runs.batches order by all"),
            "checkpoints": self.rows("select run_id, batch, tokens from runs.checkpoints order by all"),
        }


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Exports and a recipe; nothing trained. Copy it before training."""
    folder = tmp_path_factory.mktemp("untouched")
    write_exports(Lake.create(folder / "lake"), folder / "exports")
    (folder / "tiny.yaml").write_text(RECIPE)
    return Place(folder)


@pytest.fixture
def place(untouched: Place, tmp_path: Path) -> Place:
    return copy(untouched, tmp_path / "place")


def copy(place: Place, target: Path) -> Place:
    shutil.copytree(place.folder, target)
    return Place(target)


@pytest.fixture(scope="module")
def trained(untouched: Place, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The sweep, trained without interruption."""
    place = copy(untouched, tmp_path_factory.mktemp("trained") / "place")
    done = place.anneal("--json")
    assert done.returncode == 0, done.stderr
    (place.folder / "table.json").write_text(done.stdout)
    (place.folder / "notes.txt").write_text(done.stderr)
    return place


def test_upsampling_helps_what_it_upsamples(trained: Place) -> None:
    table = {row["component"]: row for row in json.loads((trained.folder / "table.json").read_text())}
    assert list(table) == ["common", "rare"]
    assert (table["rare"]["share control"], table["rare"]["share upsampled"]) == (0.1667, 0.625)
    effect, spread = table["rare"]["upsampled - control"], table["rare"]["spread upsampled"]
    assert effect < 0
    assert abs(effect) > spread
    assert table["common"]["upsampled - control"] > 0
    assert table["rare"]["loss control"] < table["rare"]["loss trunk"]
    assert effect == pytest.approx(table["rare"]["loss upsampled"] - table["rare"]["loss control"])


def test_only_progress_reaches_the_user(trained: Place) -> None:
    for line in (trained.folder / "notes.txt").read_text().splitlines():
        assert line.startswith(("trunk-17: ", "control-", "upsampled-", "tiny: ", "losses and differences are")), line


def test_every_run_is_in_the_lake(trained: Place) -> None:
    runs = trained.rows(
        "select arm, seed, tokens, mixture, export_id, parent_run_id is null from runs.runs order by all"
    )
    assert runs == [
        ("control", 1, 8192, "baseline", "baseline-export", False),
        ("control", 2, 8192, "baseline", "baseline-export", False),
        ("trunk", 17, 8192, "baseline", "baseline-export", True),
        ("upsampled", 1, 8192, "upsampled", "upsampled-export", False),
        ("upsampled", 2, 8192, "upsampled", "upsampled-export", False),
    ]
    (trunk,) = trained.rows("select run_id from runs.runs where arm = 'trunk'")
    assert trained.rows("select distinct parent_run_id from runs.runs where arm <> 'trunk'") == [trunk]
    pins = trained.rows("select count(*), count(distinct holder) from cuvee.pins where holder like 'run tiny-%'")
    assert pins == [(5, 5)]
    for (path,) in trained.rows("select path from runs.checkpoints"):
        assert Path(str(path)).is_file()
    assert (
        trained.rows("select list(batch order by batch) from runs.checkpoints group by run_id")
        == [([4, 8, 12, 16],)] * 5
    )


def test_the_learning_rate_decays_from_the_trunks_to_zero(trained: Place) -> None:
    rates: dict[str, list[float]] = {}
    for arm, rate in trained.rows(
        "select arm, value from runs.metrics join runs.runs using (run_id)"
        " where name = 'train/learning_rate' and seed in (1, 17) order by arm, batch"
    ):
        rates.setdefault(str(arm), []).append(float(str(rate)))
    assert rates["trunk"] == pytest.approx([3e-3 * min(1, batch / 2) for batch in range(16)], abs=1e-12)
    assert rates["control"] == pytest.approx([3e-3 * (1 - batch / 16) for batch in range(16)], abs=1e-12)
    assert rates["upsampled"] == rates["control"]


def test_anneals_start_where_the_trunk_stopped(trained: Place) -> None:
    """The first batch of an anneal is as good as the trunk's last ones: weights were loaded, the clock began anew."""
    (loss,) = trained.rows(
        "select avg(value) from runs.metrics join runs.runs using (run_id)"
        " where name = 'train/loss' and arm = 'control' and batch = 0 and metrics.tokens = 0"
    )
    (before,) = trained.rows(
        "select avg(value) from runs.metrics join runs.runs using (run_id)"
        " where name = 'train/loss' and arm = 'trunk' and batch >= 14"
    )
    assert float(str(loss[0])) == pytest.approx(float(str(before[0])), abs=0.3)


def test_sql_goes_from_batches_to_documents(trained: Place) -> None:
    """An epoch of the upsampled mixture holds each rare document three times, and ten of them a fourth time."""
    seen = trained.rows(
        """
        select r.seed, s.doc_id, count(*)
        from runs.runs as r
        join (select run_id, unnest(sample_ids) as sample_id from runs.batches where batch < 10) as b using (run_id)
        join exports.samples as s on s.export_id = r.export_id and s.sample_id = b.sample_id
        where r.arm = 'upsampled'
        group by all
        """
    )
    for seed in (1, 2):
        counts = Counter({str(doc): int(str(count)) for one, doc, count in seen if one == seed})
        assert counts.total() == 160
        assert {doc: n for doc, n in counts.items() if doc.startswith("rare")} == {
            f"rare-{row}": 4 if row < 10 else 3 for row in range(30)
        }
        assert {n for doc, n in counts.items() if doc.startswith("common")} == {1}
    orders = trained.rows(
        "select count(distinct sample_ids) from runs.batches join runs.runs using (run_id)"
        " where arm = 'upsampled' and batch = 0"
    )
    assert orders == [(2,)], "seeds differ in the order of the data"


def test_sample_ids_are_those_of_the_tokens_that_were_read(trained: Place) -> None:
    """The id beside a sample is its place over the export's streams, so exports.samples says what was read."""
    from training.recipe.exports import find
    from training.recipe.recipe import read_recipe
    from training.run.data import close, training_data

    export = find(trained.lake, read_recipe(trained.folder / "tiny.yaml"))["upsampled"]
    rare = language(2, 30)
    spec = training_data(export, batch_size=16, seed=1)
    documents = dict(trained.rows("select sample_id, doc_id from exports.samples where export_id = 'upsampled-export'"))
    read = 0
    for batch in spec.dataloader:
        for tokens, sample_id in zip(batch["input_ids"].tolist(), batch["sample_ids"].tolist(), strict=True):
            component, row = str(documents[sample_id]).split("-")
            if component == "rare":
                assert tokens == rare[int(row)].tolist()
                read += 1
    close(spec)
    assert read == 100


def test_a_finished_sweep_does_nothing_but_print(trained: Place) -> None:
    before = trained.lake.snapshot()
    again = trained.anneal("--json")
    assert again.returncode == 0
    assert "all 5 runs of tiny are in the lake already" in again.stderr
    assert again.stdout == (trained.folder / "table.json").read_text()
    assert trained.lake.snapshot() == before


def test_the_plan_adds_up_and_trains_nothing(place: Place) -> None:
    shown = place.anneal("--plan", "--json")
    assert shown.returncode == 0, shown.stderr
    plan = json.loads(shown.stdout)
    assert [run["run"] for run in plan["runs"]] == ["trunk-17", "control-1", "upsampled-1", "control-2", "upsampled-2"]
    assert {(run["tokens"], run["steps"], run["status"]) for run in plan["runs"]} == {(8192, 16, "to train")}
    total, embeddings = plan["parameters"]["total"], plan["parameters"]["embeddings"]
    assert plan["runs"][0]["flops"] == 6 * total * 8192
    assert plan["runs"][0]["flops_without_embeddings"] == 6 * (total - embeddings) * 8192
    epochs = {(row["arm"], row["component"]): row["epochs"] for row in plan["components"]}
    assert epochs["upsampled", "rare"] == pytest.approx(8192 * 100 / 160 / (30 * 32))
    assert epochs["control", "common"] == pytest.approx(8192 * 150 / 180 / (150 * 32))
    assert not (place.folder / "runs").exists()
    assert "to train" in place.anneal("--plan").stdout


def test_the_plan_shows_the_learning_rates_from_the_trunks_checkpoint(trained: Place, place: Place) -> None:
    trunk, anneal = json.loads(trained.anneal("--plan", "--json").stdout)["curves"]
    assert (trunk["run"], trunk["source"], anneal["run"], anneal["source"]) == (
        "trunk",
        "recipe",
        "anneal",
        "checkpoint",
    )
    places = [8192 * part // 100 for part in range(101)]
    assert [rate for _, rate in trunk["points"]] == pytest.approx([3e-3 * min(1, place / 1024) for place in places])
    assert [tokens for tokens, _ in anneal["points"]] == places
    assert [rate for _, rate in anneal["points"]] == pytest.approx([3e-3 * (1 - place / 8192) for place in places])
    before = place.anneal("--plan", "--set", "anneal.final_fraction=0.5").stdout
    assert re.search(r"learning rate of the anneal *\n", before)
    assert re.search(r"^ *8,192 +1\.500e-03 +█+ *$", before, re.MULTILINE)


@pytest.mark.parametrize("options", [("--plan",), ()])
def test_an_anneal_above_the_trunks_rate_needs_a_flag(place: Place, options: tuple[str, ...]) -> None:
    refused = place.anneal(*options, "--set", "anneal.learning_rate=4e-3")
    assert refused.returncode == 2
    assert "above the trunk's current rate, 0.003" in refused.stderr
    assert "anneal.above_trunk=true" in refused.stderr
    assert not (place.folder / "runs").exists()


def test_a_resumed_run_equals_an_unbroken_one_in_the_second_epoch(trained: Place, place: Place) -> None:
    """All five runs lose what came after batch 12, in their second pass over streams with repeats, and go on."""
    shutil.copytree(trained.folder / "runs", place.folder / "runs")
    for last in place.folder.glob("runs/tiny/*/checkpoints/ba000000000016.pt"):
        if not last.parent.parent.name.startswith("trunk"):
            last.unlink()
    (place.folder / "runs/tiny/control-1/checkpoints/ba000000000016.part").write_bytes(b"half")
    done = place.anneal()
    assert done.returncode == 0, done.stderr
    assert place.outcome() == trained.outcome()


def wait_for(process: subprocess.Popen[bytes], path: Path) -> None:
    while process.poll() is None and not path.exists():
        time.sleep(0.005)


def test_sigkill_in_training_changes_nothing(trained: Place, place: Place) -> None:
    """Killed in the trunk and again in an anneal, at a batch that no checkpoint marks; the third start finishes."""
    for path in ("trunk-17/checkpoints/ba000000000008.pt", "upsampled-1/checkpoints/ba000000000004.pt"):
        process = place.start()
        wait_for(process, place.folder / "runs" / "tiny" / path)
        time.sleep(random.uniform(0, 0.1))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = place.anneal()
    assert done.returncode == 0, done.stderr
    assert place.outcome() == trained.outcome()


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_twenty_sigkills_in_training_change_nothing(untouched: Place, trained: Place, tmp_path: Path) -> None:
    """Twenty kills at random moments, over as many sweeps as it takes."""
    chance = random.Random(20)
    kills = 0
    for sweep in range(100):
        place = copy(untouched, tmp_path / str(sweep))
        while kills < 20:
            process = place.start()
            wait_for(process, place.folder / "runs" / "tiny" / "trunk-17" / "run.json")
            try:
                process.wait(timeout=chance.uniform(0.2, 10))
                break
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
        done = place.anneal()
        assert done.returncode == 0, done.stderr
        assert place.outcome() == trained.outcome()
        if kills == 20:
            return


def test_ctrl_c_saves_and_the_command_goes_on(place: Place) -> None:
    process = place.start()
    wait_for(process, place.folder / "runs" / "tiny" / "trunk-17" / "checkpoints" / "ba000000000004.pt")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert process.stderr is not None
    assert process.stderr.read().decode().splitlines()[-1] == "stopped"
    assert not list(place.folder.glob("runs/tiny/*/checkpoints/*.part"))


def test_a_changed_mixture_is_an_error(trained: Place, place: Place) -> None:
    """A half-finished sweep does not go on when its mixture has been exported anew."""
    shutil.copytree(trained.folder / "runs", place.folder / "runs")
    parts = {"common": Part(language(1, 60)), "rare": Part(language(2, 30), repeat=2)}
    write_export(place.lake, place.folder / "exports2", "upsampled", parts, vocabulary=64, export_id="upsampled-again")
    stopped = place.anneal()
    assert stopped.returncode == 2
    assert (
        "upsampled-1 was begun on the mixture upsampled as export upsampled-export; the mixture has" in stopped.stderr
    )
    assert "upsampled-again" in stopped.stderr
    assert "--out" in stopped.stderr
    assert "Traceback" not in stopped.stderr


def test_changed_settings_are_an_error(trained: Place) -> None:
    stopped = trained.anneal("--set", "trunk.learning_rate=1e-3")
    assert stopped.returncode == 2
    assert "trunk-17 was begun with other settings of trunk" in stopped.stderr


def test_exports_must_exist_and_fit(place: Place) -> None:
    missing = place.anneal("--set", "arms.upsampled=nothing")
    assert missing.returncode == 2
    assert "cuvee export nothing --out exports/nothing" in missing.stderr
    odd = place.anneal("--set", "batch_tokens=500")
    assert odd.returncode == 2
    assert "not a whole number of sequences" in odd.stderr
    write_export(
        place.lake,
        place.folder / "other",
        "upsampled",
        {"rare": Part(language(2, 30))},
        vocabulary=64,
        tokenizer="other",
        export_id="other-tokenizer",
    )
    mixed = place.anneal()
    assert mixed.returncode == 2
    assert "different tokenizers" in mixed.stderr
    manifest = place.folder / "other" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"concatenate"', '"best-fit"'))
    assert "is packed by best-fit" in place.anneal().stderr
    shutil.rmtree(place.folder / "other")
    gone = place.anneal()
    assert gone.returncode == 2
    assert "is not there any more" in gone.stderr


def test_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from training.recipe import run_folders
    from udfs.errors import CuveeError

    monkeypatch.setattr(run_folders, "find_spec", lambda name: None if name == "composer" else name)
    with pytest.raises(CuveeError, match=r"training needs composer\n  pip install 'cuvee\[train\]'"):
        run_folders.require_libraries()
