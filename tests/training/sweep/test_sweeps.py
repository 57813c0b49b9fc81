"""Windows, left-out components, checkpoints to start from, and the recipes that are shipped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.helpers import RECIPES, SQL
from tests.training.helpers import cuvee
from tests.training.tiny_sweep import RECIPE, Part, language, write_export, write_exports
from training.checkpoint import init_checkpoint
from training.checkpoint.models import Parameters, make
from training.recipe.exports import Export
from training.recipe.recipe import Recipe, read_recipe
from training.sweep.plan import measured, plan
from training.sweep.sweep import make_sweep
from udfs.errors import UsageError
from warehouse.export.manifest import ExportComponent, Manifest, Stream
from warehouse.lake.lake import Lake

pytest.importorskip("composer")
pytest.importorskip("streaming")

SHIPPED = sorted(
    path
    for path in RECIPES.rglob("*.yaml")
    if path.parent.name != "sizes" and path.stem != "common" and not path.stem.startswith("distil")
)

SWEEP = """\
extends: tiny.yaml
name: sweep
budget: 12288
windows: [25%, 50%]
leave_out: {upsampled: {components: [rare], windows: [50%]}}
checkpoints: {every: , keep: 1}
"""


def trained(folder: Path, *arguments: str) -> list[dict[str, object]]:
    done = cuvee(folder, "anneal", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, object]] = json.loads(done.stdout)
    return rows


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep over two windows, trained."""
    folder = tmp_path_factory.mktemp("sweep")
    write_exports(Lake.create(folder / "lake"), folder / "exports")
    (folder / "tiny.yaml").write_text(RECIPE.replace("tokens: 8192, ", ""))
    (folder / "sweep.yaml").write_text(SWEEP)
    (folder / "table.json").write_text(json.dumps(trained(folder, "sweep.yaml")))
    return folder


def rows(folder: Path, query: str) -> list[tuple[object, ...]]:
    return Lake.open(folder / "lake").reader().execute(query).fetchall()


def test_a_window_starts_where_its_share_of_the_budget_is_left(place: Path) -> None:
    """24 batches in all: the trunk has 18, and keeps its state at 12 and 18 although only one checkpoint is kept."""
    found = rows(
        place,
        "select arm, cast(config ->> '$.window' as double), count(*), any_value(tokens)"
        " from runs.runs group by all order by all",
    )
    assert found == [
        ("control", 0.25, 2, 3072),
        ("control", 0.5, 2, 6144),
        ("trunk", None, 1, 9216),
        ("upsampled", 0.25, 2, 3072),
        ("upsampled", 0.5, 2, 6144),
        ("upsampled-without-rare", 0.5, 2, 6144),
    ]
    states = sorted(path.name for path in place.glob("runs/sweep/trunk-17/checkpoints/*"))
    assert states == ["ba000000000012.pt", "ba000000000018.pt"]


@pytest.mark.prove
def test_a_windows_anneal_is_that_of_a_shorter_trunk(place: Path, tmp_path: Path) -> None:
    """The same run, declared by hand: a trunk that ends at one half and an anneal of the other half, bit for bit."""
    for options in (
        ("--set", "trunk.tokens=6144", "--set", "anneal.tokens=6144"),
        ("--set", "start.checkpoint=runs/sweep/trunk-17/checkpoints/ba000000000012.pt", "--set", "anneal.tokens=6144"),
    ):
        name = "start" if "start" in options[1] else "trunk"
        own = ["--set", "seeds=[1]", "--set", "arms={control: baseline}", "--set", f"name=by-{name}"]
        if name == "start":
            own += ["--set", "trunk="]
        trained(place, "tiny.yaml", *options, *own)
    losses = rows(
        place,
        "select list(value order by component, metrics.name) from runs.metrics join runs.runs using (run_id)"
        " where arm = 'control' and seed = 1 and metrics.name like 'held_out/%' and runs.tokens = 6144 group by run_id",
    )
    assert len(losses) == 3
    assert losses[0] == losses[1] == losses[2]


def test_a_left_out_component_is_not_read_and_suffers(place: Path) -> None:
    seen = rows(
        place,
        """
        select r.arm, s.component
        from runs.runs as r
        join (select run_id, unnest(sample_ids) as sample_id from runs.batches) as b using (run_id)
        join exports.samples as s on s.export_id = r.export_id and s.sample_id = b.sample_id
        where r.arm like 'upsampled%' group by all order by all
        """,
    )
    assert seen == [("upsampled", "common"), ("upsampled", "rare"), ("upsampled-without-rare", "common")]
    table = {(row["window"], row["component"]): row for row in json.loads((place / "table.json").read_text())}
    assert set(table) == {(0.25, "common"), (0.25, "rare"), (0.5, "common"), (0.5, "rare")}
    whole = table[0.5, "rare"]
    assert whole["share upsampled-without-rare"] == 0
    assert whole["upsampled-without-rare - upsampled"] > whole["spread upsampled-without-rare - upsampled"]
    assert whole["upsampled - control"] < 0
    assert table[0.25, "rare"]["loss upsampled-without-rare"] is None


def test_the_sweep_is_drawn(place: Path) -> None:
    picture = (place / "runs/sweep/comparison.svg").read_text()
    assert picture.count("<svg") == 1
    for word in ("common", "rare", "upsampled-without-rare", "25%", "50%"):
        assert f"<!-- {word} -->" in picture


def test_a_plan_tells_time_and_memory_from_earlier_runs(place: Path) -> None:
    shown = json.loads(cuvee(place, "anneal", "sweep.yaml", "--plan", "--set", "seeds=[1, 2, 3]", "--json").stdout)
    assert shown["speed"]["same"]
    to_train = [run for run in shown["runs"] if run["status"] == "to train"]
    assert len(to_train) == 5
    for run in to_train:
        assert run["seconds"] == pytest.approx(run["tokens"] / shown["speed"]["tokens_per_second"])
    assert shown["memory"] > 50e6
    cost = shown["cost"]
    assert cost["tokens"] == 9216 + 3 * (2 * 3072 + 3 * 6144)
    assert cost["full_runs_tokens"] == 15 * 12288
    assert cost["saving"] == pytest.approx(15 * 12288 / cost["tokens"])
    assert cost["flops"] == 6 * shown["parameters"]["total"] * cost["tokens"]
    assert [curve["run"] for curve in shown["curves"]] == ["trunk", "anneal-w25", "anneal-w50"]
    recipe, lake = read_recipe(place / "sweep.yaml"), Lake.open(place / "lake")
    larger = measured(lake, recipe, Parameters(2 * shown["parameters"]["total"], 0))
    assert larger is not None and not larger.same
    assert larger.tokens_per_second == pytest.approx(shown["speed"]["tokens_per_second"] / 2)
    assert measured(lake, replace(recipe, precision="amp_bf16"), Parameters(1, 0)) is None


def test_sql_compares_runs_as_the_table_does(place: Path) -> None:
    """Models of the project over runs.*: rows per run and component, and each arm's effect with its spread."""
    sql = SQL
    built = cuvee(place, "build", "--project-dir", str(sql), "--select", "run_comparison component_effect")
    assert built.returncode == 0, built.stdout + built.stderr
    table = {(row["window"], row["component"]): row for row in json.loads((place / "table.json").read_text())}
    effects = rows(
        place,
        "select budget_window, arm, compared_with, component, seeds, effect, spread, beyond_spread"
        " from main.component_effect where recipe = 'sweep'",
    )
    assert len(effects) == 2 * 2 + 2 * 2
    for window, arm, other, component, seeds, effect, spread, beyond in effects:
        row = table[window, component]
        assert seeds == 2
        assert effect == pytest.approx(row[f"{arm} - {other}"], abs=1e-12)
        assert spread == pytest.approx(row[f"spread {arm}" + ("" if other == "control" else f" - {other}")], abs=1e-12)
        assert beyond == (abs(effect) > spread)
    compared = rows(
        place,
        "select count(*), bool_and(perplexity between 1 and 64), bool_and(accuracy between 0 and 1),"
        " bool_and(abs(full_run_flops / flops - 12288 / tokens) < 1e-9)"
        " from main.run_comparison where recipe = 'sweep'",
    )
    assert compared == [(20, True, True, True)]


def test_accuracy_and_perplexity_come_from_the_same_predictions(place: Path) -> None:
    """Two steps are allowed after each token of the made-up languages: an accuracy near one half at best."""
    found = rows(
        place,
        "select max(value) filter (metrics.name = 'held_out/accuracy'),"
        " min(value) filter (metrics.name = 'held_out/loss')"
        " from runs.metrics join runs.runs using (run_id) where component = 'common' and recipe = 'sweep'",
    )
    ((accuracy, loss),) = found
    assert isinstance(accuracy, float) and isinstance(loss, float)
    assert 1 / 64 < accuracy < 0.7
    assert loss > 0.6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("trunk.tokens=8192",), "trunk.tokens follows from budget and windows"),
        (("budget=",), "windows are parts of a budget"),
        (("windows=[5%, 150%]",), "must be at most 1"),
        (
            ("arms.more='{window}x'", "windows=", "leave_out=", "trunk.tokens=9k", "anneal.tokens=3k"),
            "{window} without windows",
        ),
        (("leave_out.upsampld={components: [rare]}",), "did you mean upsampled?"),
        (("start.checkpoint=runs/x",), "a trunk and a start"),
        (("extends=tiny2.yaml",), "no recipe"),
        (("name='{model.sise}'",), "{model.sise} is nowhere set"),
        (("learning_rates=[1e-3]", "anneal.learning_rate=1e-3"), "learning_rates already say"),
    ],
)
def test_what_a_sweep_cannot_mean_is_said(place: Path, options: tuple[str, ...], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_recipe(place / "sweep.yaml", options)
    assert words in str(caught.value)


def test_recipes_extend_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(RECIPE)
    (tmp_path / "b.yaml").write_text("extends: a.yaml\nname: b-{model.heads}\narms: {upsampled: , more: other}\n")
    recipe = read_recipe(tmp_path / "b.yaml", ("seeds=[7]",))
    assert (recipe.name, recipe.arms, recipe.seeds) == ("b-1", {"control": "baseline", "more": "other"}, (7,))
    (tmp_path / "c.yaml").write_text("extends: [b.yaml]\nmicrobatch: 2x\n")
    with pytest.raises(UsageError, match=r"c.yaml:2:1: microbatch must be a whole number"):
        read_recipe(tmp_path / "c.yaml")
    (tmp_path / "a.yaml").write_text("extends: c.yaml\n" + RECIPE)
    with pytest.raises(UsageError, match="extends itself"):
        read_recipe(tmp_path / "c.yaml")


def test_a_start_that_does_not_fit_is_refused(place: Path) -> None:
    def start(*options: str, checkpoint: str = "runs/sweep/trunk-17") -> Recipe:
        own = ("trunk=", "anneal.tokens=2048", f"start.checkpoint={place / checkpoint}", *options)
        return read_recipe(place / "tiny.yaml", own)

    for recipe, words in (
        (start(checkpoint="runs/none"), "no checkpoint to start from in"),
        (start("optimizer.name=lionw"), "another optimizer: decoupled_adamw, not lionw"),
        (start("model.kind=encoder"), "another model: decoder, not encoder"),
    ):
        assert recipe.start is not None
        with pytest.raises(UsageError, match=words):
            init_checkpoint.check(init_checkpoint.find(recipe.start), recipe)
    weights = start("start.optimizer=false", "model.kind=encoder", "model.layers=3")
    assert weights.start is not None
    origin = init_checkpoint.check(init_checkpoint.find(weights.start), weights)
    assert (origin.path.name, origin.tokens) == ("ba000000000018.pt", 9216)
    with pytest.raises(UsageError, match=r"holds another model: .* absent, the recipe's"):
        init_checkpoint.load_weights(origin.path, make(weights.model, 65, 32, end_of_text=0))


def made_up(recipe: Recipe, name: str, folder: Path) -> Export:
    """An export that is there in name only: for plans."""
    length, samples = recipe.sequence_length or 256, 1000
    left_out = [one for less in recipe.leave_out.values() for one in less.components]
    parts = ["general", *left_out]
    manifest = Manifest(
        export_id=f"{name}-export",
        mixture=name,
        fingerprint=name,
        snapshot_id=1,
        format="tokens",
        column="input_ids",
        tokenizer="t",
        tokenizer_fingerprint="t",
        vocab_size=50_367,
        end_of_text=0,
        sequence_length=length,
        seed=17,
        components={
            part: ExportComponent(samples, samples, samples * length, 1.0, samples * length, 0) for part in parts
        },
        streams=tuple(Stream(part, f"{part}/all", 1, samples, samples * length, samples, 0, "") for part in parts),
        sql=None,
        samples_checksum="",
        exported_at=datetime.now(UTC).isoformat(),
    )
    return Export(folder, manifest)


def planned(recipe: Recipe, lake: Lake, folder: Path) -> None:
    exports: Mapping[str, Export] = {name: made_up(recipe, name, folder) for name in recipe.mixtures}
    sweep = make_sweep(recipe, exports, folder)
    assert len(set(sweep.run_ids)) == len({run.label for run in sweep.runs}) == len(sweep.runs)
    found = plan(sweep, lake)
    assert found.cost.tokens == sum(run.tokens for run in found.runs) > 0
    assert found.memory is not None and found.memory > 0
    assert recipe.batch_tokens % next(iter(exports.values())).sequence_length == 0
    for curve in found.curves:
        assert all(0 <= rate < 0.01 for _, rate in curve.points)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(RECIPES).with_suffix("")))
def test_every_shipped_recipe_can_be_planned(path: Path, lake: Lake, tmp_path: Path) -> None:
    recipe = read_recipe(path)
    planned(recipe, lake, tmp_path)
    twin = RECIPES / "tiny" / path.name
    assert path.parent.name == "tiny" or path.stem == "demo" or twin.exists(), "a shipped recipe needs a tiny twin"


def test_ettins_phases_are_planned_for_all_sizes_and_kinds(lake: Lake, tmp_path: Path) -> None:
    seen = set()
    for size in ("17m", "32m", "68m", "150m", "400m", "1b"):
        for kind in ("encoder", "decoder"):
            for phase in (1, 2, 3):
                options = (f"extends=sizes/{size}.yaml", f"model.kind={kind}")
                recipe = read_recipe(RECIPES / f"ettin_phase_{phase}.yaml", options)
                planned(recipe, lake, tmp_path)
                assert recipe.learns == ("masked_lm" if kind == "encoder" else "causal_lm")
                assert recipe.objective.rate == (0.15 if phase == 3 else 0.3)
                if recipe.start:
                    assert recipe.start.checkpoint.startswith(f"runs/ettin_phase_{phase - 1}-{kind}-{size}/")
                seen.add(recipe.name)
    assert len(seen) == 36


def tiny_place(folder: Path, twins: str = "*") -> Path:
    """Exports under all names that the tiny twins read."""
    lake = Lake.create(folder / "lake")
    names: dict[str, set[str]] = {}
    for path in RECIPES.glob(f"tiny/{twins}.yaml"):
        if path.stem != "common":
            recipe = read_recipe(path)
            for name in recipe.mixtures:
                less = recipe.leave_out.values()
                names.setdefault(name, set()).update(*(one.components for one in less), {"general"})
    for name, components in names.items():
        parts = {
            part: Part(language(10 * (name.endswith("held_out")) + number, 80, length=256))
            for number, part in enumerate(sorted(components), 1)
        }
        write_export(lake, folder / "exports" / name, name, parts, vocabulary=64)
    return folder


def test_ettins_first_phase_and_a_crossing_run(tmp_path: Path) -> None:
    """An encoder's first phase, then its weights as a decoder's, in the tiny twins made smaller still."""
    folder = tiny_place(tmp_path, "e*[1r]")
    less = ("--set", "evaluation.samples=4", "--set", "model.hidden=64", "--set", "model.heads=1")
    first = (str(RECIPES / "tiny/ettin_phase_1.yaml"), "--set", "model.kind=encoder", "--set", "trunk.tokens=8k")
    trained(folder, *first, *less, "--set", "trunk.warmup=2k")
    second = (str(RECIPES / "tiny/encoder_to_decoder.yaml"), "--set", "anneal.tokens=8k", "--set", "anneal.warmup=2k")
    start = ("--set", "start.checkpoint=runs/tiny_ettin_phase_1-encoder/trunk-21")
    assert trained(folder, *second, *start, *less)
    parents = rows(folder, "select p.arm, r.arm from runs.runs as r join runs.runs as p on r.parent_run_id = p.run_id")
    assert parents == [("trunk", "causal")]
    first_rate = rows(folder, "select value from runs.metrics where name = 'train/learning_rate' and batch = 2")
    assert len(first_rate) == 2


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_every_tiny_twin_runs_to_its_end(tmp_path: Path) -> None:
    folder = tiny_place(tmp_path)
    order = ["domain_upsampling", "microanneal", "probe_30_70", "essential_web_general", "essential_web_code"]
    for name in order:
        assert trained(folder, str(RECIPES / f"tiny/{name}.yaml"))
    for kind in ("encoder", "decoder"):
        for phase in (1, 2, 3):
            assert trained(folder, str(RECIPES / f"tiny/ettin_phase_{phase}.yaml"), "--set", f"model.kind={kind}")
    for name in ("encoder_to_decoder", "decoder_to_encoder"):
        assert trained(folder, str(RECIPES / f"tiny/{name}.yaml"))
    assert {path.stem for path in RECIPES.glob("tiny/*.yaml")} == {
        "common",
        *order,
        *(f"ettin_phase_{phase}" for phase in (1, 2, 3)),
        "encoder_to_decoder",
        "decoder_to_encoder",
    }
