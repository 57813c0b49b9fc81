"""Recipes: what they may say, and how a mistake is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import RECIPES
from training.distillation import recipe as distillation
from training.recipe.configuration import RecipeError
from training.recipe.durations import Duration
from training.recipe.recipe import read_recipe
from training.recipe.settings import Piece
from udfs.errors import UsageError


def change(recipe_file: Path, old: str, new: str) -> Path:
    text = recipe_file.read_text()
    assert old in text
    recipe_file.write_text(text.replace(old, new))
    return recipe_file


def test_a_recipe_of_another_command_is_told_apart() -> None:
    with pytest.raises(RecipeError, match=r"distil_eai.yaml:\d+:\d+: this recipe is not for cuvee anneal") as caught:
        read_recipe(RECIPES / "distil_eai.yaml")
    assert "cuvee distil " in (caught.value.hint or "")
    with pytest.raises(RecipeError, match="this recipe is not for cuvee distil"):
        distillation.read_recipe(RECIPES / "probe_30_70.yaml")


def test_numbers_are_read_by_what_is_asked_for(recipe_file: Path) -> None:
    recipe = read_recipe(
        recipe_file, ("trunk.learning_rate=8e-4", "trunk.tokens=600k", "anneal.tokens=1.5M", "optimizer.eps=1e-8")
    )
    assert recipe.trunk.learning_rate == 0.0008
    assert (recipe.trunk.tokens, recipe.anneal.tokens, recipe.batch_tokens) == (600_000, 1_500_000, 512)
    assert recipe.optimizer.eps == 1e-8
    assert read_recipe(recipe_file, ("trunk.tokens=1.7T", "seeds=[3]")).trunk.tokens == 1_700_000_000_000


def test_schedules_are_written_in_any_unit(recipe_file: Path) -> None:
    recipe = read_recipe(
        recipe_file,
        (
            "trunk.schedule=warmup_stable_decay",
            "trunk.warmup=2ba",
            "trunk.decay=25%",
            "anneal.schedule=piecewise",
            "anneal.pieces=[{over: 0.1dur, to: 1}, {shape: cosine, to: 0.1}, {over: 16sp, to: 0}]",
        ),
    )
    assert (recipe.trunk.warmup, recipe.trunk.decay) == (Duration(2, "ba"), Duration(0.25, "dur"))
    assert recipe.anneal.pieces[1] == Piece(0.1, None, "cosine")
    assert recipe.anneal.pieces[2] == Piece(0.0, Duration(16, "sp"))


def test_set_replaces_whole_mappings_and_lists(recipe_file: Path) -> None:
    recipe = read_recipe(recipe_file, ("arms={control: baseline}", "seeds=[4, 5, 6]", "evaluation.samples=3"))
    assert recipe.arms == {"control": "baseline"}
    assert recipe.seeds == (4, 5, 6)
    assert recipe.evaluation.samples == 3


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        ("warmup: 1024", "warm_up: 1024", "3:42", ["unknown key 'warm_up'", "did you mean warmup?"]),
        ("batch_tokens: 512", "batch_token: 512", "9:1", ["unknown key 'batch_token'", "did you mean batch_tokens?"]),
        ("tokens: 8192, warmup", "tokens: lots, warmup", "3:28", ["trunk.tokens must be a whole number", "'lots'"]),
        ("learning_rate: 3e-3", "learning_rate: -3e-3", "3:56", ["trunk.learning_rate must be more than 0"]),
        ("schedule: linear", "schedule: linaer", "4:24", ["linear, one_minus_sqrt", "did you mean linear?"]),
        ("control: control", "control: contrl", "6:1", ["is not one of the arms", "did you mean control?"]),
        ("seeds: [1, 2]", "seeds: [1, 1]", "7:1", ["different numbers"]),
        ("seeds: [1, 2]", "seeds: 1", "7:1", ["seeds must be a list"]),
        ("layers: 2, ", "", "2:1", ["model lacks 'layers'", "17m"]),
        ("layers: 2", "size: 17mm", "2:9", ["no model size '17mm'", "did you mean 17m"]),
        ("heads: 1", "heads: 1, kind: encodr", "2:60", ["model.kind", "did you mean encoder"]),
        ("layers: 2", "folder: nowhere, layers: 2", "2:26", ["model.folder already says"]),
        ("layers: 2, hidden: 64, intermediate: 64, heads: 1", "folder: nowhere", "2:9", ["it has no config.json"]),
        ("seeds: [1, 2]", "objective: {name: masked_lm}", "7:13", ["a decoder cannot learn masked_lm"]),
        ("seeds: [1, 2]", "objective: {rate: 1.5}", "7:13", ["objective.rate must be at most 1"]),
        ("heads: 1", "heads: 3", "2:50", ["no even head width"]),
        ("name: tiny", "name: ../tiny", "1:1", ["names a folder"]),
        ("batch_tokens: 512", "batch_tokens: 512\nbatch_tokens: 256", "10:1", ["is here twice"]),
        ("seeds: [1, 2]", "seeds: [1, 2", None, ["not valid YAML"]),
        ("evaluation: {mixture: held_out}", "", "1:1", ["lacks 'evaluation'"]),
        ("warmup: 1024", "warmup: 10k", "3:42", ["longer than the trunk"]),
        ("warmup: 1024", "warmup: 10kg", "3:42", ["trunk.warmup must be a duration", "'10kg'"]),
        ("warmup: 1024", "warmup: 120%", "3:42", ["trunk.warmup must be a duration"]),
        ("schedule: linear", "warmup: 5ba", "4:24", ["anneal.warmup means nothing to the schedule linear"]),
        ("schedule: linear", "schedule: piecewise", "4:24", ["needs anneal.pieces"]),
        ("schedule: linear", "schedule: inverse_sqrt", "4:24", ["lacks 'scale'"]),
        ("schedule: linear", "schedule: piecewise, pieces: [{to: 1}, {to: 0}]", "4:45", ["only one piece"]),
        ("tokens: 8192, schedule", "tokens: 100, schedule", "4:10", ["less than one batch (512 tokens)"]),
    ],
)
def test_mistakes_are_located(recipe_file: Path, old: str, new: str, place: str | None, words: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        read_recipe(change(recipe_file, old, new))
    message = str(caught.value)
    assert str(recipe_file) in message
    if place:
        assert f"{recipe_file}:{place}: " in message
    for word in words:
        assert word in message


def test_a_mistake_in_set_names_the_option(recipe_file: Path) -> None:
    with pytest.raises(RecipeError, match=r"--set anneal.tokns=5: unknown key 'tokns' in anneal"):
        read_recipe(recipe_file, ("anneal.tokns=5",))
    with pytest.raises(UsageError, match="expected key=value"):
        read_recipe(recipe_file, ("anneal.tokens",))


def test_a_missing_recipe_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the recipe"):
        read_recipe(tmp_path / "none.yaml")
