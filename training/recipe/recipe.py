"""Recipes: what is trained, on which mixtures, for how many tokens, and how it is judged.

A recipe trains one trunk, or starts from a checkpoint, and anneals: every arm decays the learning rate over the same
number of tokens, each on its own mixture, once per seed. One arm is the control, on the unchanged mixture: decay alone
already lowers the loss, so an arm without a control shows nothing (OLMo 2, arXiv 2501.00656, gained 4.4 points from
it). Windows, learning rates and left-out components multiply the arms; a control belongs to each window and rate.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from training.recipe.configuration import Amount, Count, Fraction, Positive, RecipeError, YamlNode, load, only_for, read
from training.recipe.durations import Clock, split
from training.recipe.settings import (
    NOTHING,
    Anneal,
    Checkpoints,
    Evaluation,
    Fsdp,
    LeaveOut,
    Mixtures,
    MixtureStage,
    ModelSettings,
    Objective,
    OptimizerSettings,
    Start,
    Trunk,
    stages,
    suite,
)
from udfs.amounts import parse_count, parse_share
from udfs.errors import did_you_mean


@dataclass(frozen=True, slots=True)
class Variant:
    """An arm in one window, at one learning rate, with or without a component. Seeds multiply it once more."""

    arm: str
    stages: tuple[MixtureStage, ...]
    window: float | None = None
    learning_rate: float | None = None
    left_out: str | None = None
    complete: str | None = None

    @property
    def group(self) -> tuple[float | None, float | None]:
        """What is compared: arms of the same window and learning rate."""
        return self.window, self.learning_rate

    @property
    def label(self) -> str:
        """A name for a folder, without the seed."""
        window = f"-w{window_name(self.window)}" if self.window is not None else ""
        rate = f"-lr{self.learning_rate:g}" if self.learning_rate is not None else ""
        return f"{self.arm}{window}{rate}"


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe. The tokenizer is the exports' own, and so is the sequence length, which may be asked for.

    ``budget`` is what shares of tokens (``20%``) and ``windows`` are parts of: an anneal of 5% of the budget starts
    from the trunk's checkpoint at 95%. ``{window}`` in an arm's mixture is 05, 10, …. ``boundaries``: whether documents
    packed into one sequence are kept apart.
    """

    name: str
    model: ModelSettings
    evaluation: Evaluation
    batch_tokens: Count
    trunk: Trunk | None = None
    start: Start | None = None
    anneal: Anneal = Anneal()
    arms: Mapping[str, Mixtures] = field(default_factory=dict)
    control: str = ""
    budget: Count | None = None
    windows: tuple[Fraction, ...] = ()
    learning_rates: tuple[Positive, ...] = ()
    leave_out: Mapping[str, LeaveOut] = field(default_factory=dict)
    seeds: tuple[Amount, ...] = (1, 2)
    sequence_length: Count | None = None
    objective: Objective = Objective()
    boundaries: bool = True
    microbatch: Count | None = None
    optimizer: OptimizerSettings = OptimizerSettings()
    precision: Literal["fp32", "amp_bf16"] = "fp32"
    checkpoints: Checkpoints = Checkpoints()
    fsdp: Fsdp | None = None
    loggers: tuple[Literal["file", "tensorboard", "mlflow", "wandb"], ...] = ()

    @property
    def learns(self) -> Literal["causal_lm", "masked_lm", "masked_next_token"]:
        """The objective's name."""
        return self.objective.name or ("causal_lm" if self.model.kind == "decoder" else "masked_lm")

    @property
    def seed(self) -> int:
        """The trainer's seed."""
        settings = self.trunk or self.start
        return settings.seed if settings else 17

    @property
    def variants(self) -> tuple[Variant, ...]:
        """All arms, by window and learning rate."""
        found: list[Variant] = []
        for window in self.windows or (None,):
            name = window_name(window) if window is not None else ""
            arms = {
                arm: tuple(replace(one, mixture=one.mixture.replace("{window}", name)) for one in stages(mixtures))
                for arm, mixtures in self.arms.items()
            }
            for rate in self.learning_rates or (None,):
                whole = [Variant(arm, read, window, rate) for arm, read in arms.items()]
                found += whole
                for one in whole:
                    less = self.leave_out.get(one.arm)
                    if less and (not less.windows or window in less.windows):
                        found += [
                            replace(one, arm=without(one.arm, component), left_out=component, complete=one.arm)
                            for component in less.components
                        ]
        return tuple(found)

    def window_steps(self, window: float | None) -> int:
        """Count the batches of an anneal: in the window, or those of ``anneal.tokens``."""
        if window is None or self.budget is None:
            return self.anneal.tokens // self.batch_tokens
        return max(1, round(self.budget // self.batch_tokens * window))

    def trunk_steps(self, window: float | None = None) -> int:
        """Count the batches of the trunk before ``window``; without it all, and 0 without a trunk."""
        if self.trunk is None:
            return 0
        if self.windows and self.budget is not None:
            return self.budget // self.batch_tokens - self.window_steps(min(self.windows) if window is None else window)
        return self.trunk.tokens // self.batch_tokens

    def anneal_of(self, variant: Variant) -> Anneal:
        """Return how an arm decays: the recipe's settings with the variant's tokens and learning rate."""
        return replace(
            self.anneal,
            tokens=self.window_steps(variant.window) * self.batch_tokens,
            learning_rate=variant.learning_rate or self.anneal.learning_rate,
        )

    @property
    def mixtures(self) -> tuple[str, ...]:
        """Every mixture the recipe reads, each once; the held-out one last."""
        trunk = stages(self.trunk.mixture) if self.trunk else ()
        arms = (stage for variant in self.variants for stage in variant.stages)
        read = (stage.mixture for stage in (*trunk, *arms))
        return tuple(dict.fromkeys((*read, self.evaluation.mixture)))


def window_name(window: float) -> str:
    """Return how a window is written in names: 05 for 5%, 12.5 for 12.5%."""
    return f"{100 * window:04.1f}".removesuffix(".0")


def without(arm: str, component: str) -> str:
    """Return the name of an arm without a component."""
    return f"{arm}-without-{re.sub(r'[^0-9A-Za-z_.-]+', '-', component)}"


def read_recipe(path: Path, settings: tuple[str, ...] = ()) -> Recipe:
    """Read and check a recipe; ``settings`` are ``key=value`` pairs that go over it.

    Raises RecipeError (file, line, column, and the nearest known name) for anything it cannot mean.
    """
    node = load(path, settings)
    only_for("anneal", node, path)
    node = _shares_of_budget(node)
    recipe = read(node, Recipe)
    _check_model(recipe.model, node)
    if (recipe.learns == "causal_lm") != (recipe.model.kind == "decoder"):
        raise RecipeError(
            f"{'an encoder' if recipe.model.kind == 'encoder' else 'a decoder'} cannot learn {recipe.learns}:"
            f" it sees {'what it should predict' if recipe.learns == 'causal_lm' else 'only what came before'}",
            where=node.at("objective.name"),
            hint="an encoder learns masked_lm or masked_next_token, a decoder causal_lm",
        )
    if len(recipe.arms) == 1 and not recipe.control:
        recipe = replace(recipe, control=next(iter(recipe.arms)))
    _check_parts(recipe, node)
    if recipe.windows and recipe.trunk:
        recipe = replace(recipe, trunk=replace(recipe.trunk, tokens=recipe.trunk_steps() * recipe.batch_tokens))
    if recipe.windows:
        longest = recipe.window_steps(max(recipe.windows))
        recipe = replace(recipe, anneal=replace(recipe.anneal, tokens=longest * recipe.batch_tokens))
    _check_arms(recipe, node)
    return recipe


#: Counts of tokens that may be written as a share of the budget.
_OF_BUDGET = ("trunk.tokens", "anneal.tokens", "evaluation.every", "checkpoints.every")


def _shares_of_budget(node: YamlNode) -> YamlNode:
    """Write ``20%`` of the budget as a count."""
    for key in _OF_BUDGET:
        found = node.get(key)
        if found is None or not isinstance(found.value, str) or not found.value.endswith("%"):
            continue
        budget = node.get("budget")
        try:
            if budget is None or not isinstance(budget.value, str):
                raise RecipeError(
                    f"{key} is a percentage, but the recipe has no budget", where=found.where, hint="budget: 1B"
                )
            tokens = round(parse_share(found.value, of=parse_count(budget.value)))
        except ValueError:
            continue  # read() says what is wrong with either
        node = node.with_value(key, replace(found, value=str(tokens)))
    return node


def _check_parts(recipe: Recipe, node: YamlNode) -> None:
    """Check which keys there must be, and which exclude each other."""
    if recipe.trunk is None and recipe.start is None:
        raise RecipeError("the recipe lacks 'trunk'", where=node.where, hint="or start from a checkpoint: start")
    if recipe.trunk and recipe.start:
        raise RecipeError("the recipe has a trunk and a start: one or the other", where=node.at("start"))
    if recipe.start and not recipe.arms:
        raise RecipeError("the recipe lacks 'arms': there is nothing to train", where=node.where)
    if not recipe.arms:
        for key in ("anneal", "windows", "leave_out", "learning_rates", "control"):
            if node.get(key):
                raise RecipeError(f"{key} is for arms, and the recipe has none", where=node.at(key))
    if recipe.windows:
        if recipe.budget is None or recipe.trunk is None:
            raise RecipeError(
                f"windows are parts of a {'budget' if recipe.trunk else 'trunk'}, which the recipe has not",
                where=node.at("windows"),
            )
        for key in ("trunk.tokens", "anneal.tokens"):
            if node.get(key):
                raise RecipeError(f"{key} follows from budget and windows", where=node.at(key))
        if not all(0 < window < 1 for window in recipe.windows) or len(set(recipe.windows)) < len(recipe.windows):
            raise RecipeError("windows are different shares between 0 and 100%", where=node.at("windows"))
    elif recipe.trunk and not recipe.trunk.tokens:
        raise RecipeError("trunk lacks 'tokens'", where=node.at("trunk"))
    elif recipe.arms and not recipe.anneal.tokens:
        raise RecipeError("the recipe lacks 'anneal.tokens'", where=node.at("anneal"))
    if recipe.learning_rates and recipe.anneal.learning_rate:
        raise RecipeError("learning_rates already say what anneal.learning_rate is", where=node.at("anneal"))
    for arm, less in recipe.leave_out.items():
        where = node.at(f"leave_out.{arm}")
        if arm not in recipe.arms:
            raise RecipeError(
                f"{arm!r} in leave_out is not one of the arms", where=where, hint=did_you_mean(arm, recipe.arms)
            )
        if unknown := [window for window in less.windows if window not in recipe.windows]:
            raise RecipeError(f"{unknown[0]:g} in leave_out is not one of the windows", where=where)
    if not recipe.windows and (
        wanted := [arm for arm, read in recipe.arms.items() if any("{window}" in each.mixture for each in stages(read))]
    ):
        raise RecipeError("{window} without windows", where=node.at(f"arms.{wanted[0]}"))


def _check_model(model: ModelSettings, node: YamlNode) -> None:
    if model.size is not None and model.size not in suite():
        raise RecipeError(
            f"no model size {model.size!r}", where=node.at("model.size"), hint=did_you_mean(model.size, suite())
        )
    if model.folder is not None:
        if given := [key for key in ("size", "layers", "hidden", "intermediate", "heads") if getattr(model, key)]:
            raise RecipeError(f"model.folder already says what model.{given[0]} is", where=node.at(f"model.{given[0]}"))
        if not (Path(model.folder) / "config.json").is_file():
            raise RecipeError(f"no model in {model.folder}: it has no config.json", where=node.at("model.folder"))
        return
    if model.fresh:
        raise RecipeError("model.fresh is for model.folder", where=node.at("model.fresh"))
    sizes = model.sizes()
    for key in ("layers", "hidden", "intermediate", "heads"):
        if not getattr(sizes, key):
            raise RecipeError(
                f"model lacks {key!r}", where=node.at("model"), hint=f"or name a size: {', '.join(suite())}"
            )
    if sizes.hidden % sizes.heads or (sizes.hidden // sizes.heads) % 2:
        raise RecipeError(
            f"hidden {sizes.hidden} over {sizes.heads} heads gives no even head width", where=node.at("model.heads")
        )


def _check_arms(recipe: Recipe, node: YamlNode) -> None:
    if recipe.arms and recipe.control not in recipe.arms:
        raise RecipeError(
            f"the control {recipe.control!r} is not one of the arms"
            if recipe.control
            else "the recipe lacks 'control'",
            where=node.at("control"),
            hint=did_you_mean(recipe.control, recipe.arms),
        )
    for name, what in (("name", recipe.name), *((f"arms.{arm}", arm) for arm in recipe.arms)):
        if not what or not all(letter.isalnum() or letter in "-_." for letter in what) or what.startswith("."):
            raise RecipeError(f"{what!r} names a folder: letters, digits, - _ . only", where=node.at(name))
    if "trunk" in recipe.arms:
        raise RecipeError("an arm cannot be called 'trunk'", where=node.at("arms.trunk"))
    if not recipe.seeds or len(set(recipe.seeds)) < len(recipe.seeds):
        raise RecipeError("seeds must be different numbers, at least one", where=node.at("seeds"))
    if len(recipe.optimizer.betas) != 2:
        raise RecipeError("optimizer.betas must be two numbers", where=node.at("optimizer.betas"))
    for name, settings in (("trunk", recipe.trunk), ("anneal", recipe.anneal if recipe.arms else None)):
        if settings is None:
            continue
        if settings.tokens < recipe.batch_tokens:
            key = f"{name}.tokens"
            raise RecipeError(f"{key} is less than one batch ({recipe.batch_tokens:,} tokens)", where=node.at(key))
        _check_schedule(settings, name, recipe.batch_tokens, node)
    if recipe.trunk:
        _check_stages(recipe.trunk.mixture, recipe.trunk.tokens, recipe.batch_tokens, "trunk.mixture", node)
    for window in recipe.windows or (None,):
        tokens = recipe.window_steps(window) * recipe.batch_tokens
        for arm, mixtures in recipe.arms.items():
            _check_stages(mixtures, tokens, recipe.batch_tokens, f"arms.{arm}", node)


def _check_stages(mixtures: Mixtures, tokens: int, batch_tokens: int, key: str, node: YamlNode) -> None:
    """Check stages. Those in samples are checked with the exports, which tell how many tokens a sample has."""
    read = stages(mixtures)
    if not read:
        raise RecipeError(f"{key} names no mixture", where=node.at(key))
    if any(stage.over and stage.over.unit == "sp" for stage in read):
        return
    try:
        split([stage.over for stage in read], Clock(tokens, batch_tokens, sequence_length=0))
    except ValueError as error:
        raise RecipeError(f"the stages of {key} {error}", where=node.at(key)) from error


def _check_schedule(settings: Trunk | Anneal, name: str, batch_tokens: int, node: YamlNode) -> None:
    """Check a schedule before the exports are known. Durations in samples are checked with the curve."""
    clock = Clock(settings.tokens, batch_tokens, sequence_length=0)
    if settings.warmup.tokens(clock) > settings.tokens:
        raise RecipeError(f"{name}.warmup is longer than the {name}", where=node.at(f"{name}.warmup"))
    for key, shapes in (
        ("warmup", ("constant", "warmup_stable_decay", "inverse_sqrt")),
        ("decay", ("warmup_stable_decay", "inverse_sqrt")),
        ("scale", ("inverse_sqrt",)),
        ("decay_floor", ("inverse_sqrt",)),
        ("pieces", ("piecewise",)),
    ):
        given = getattr(settings, key) not in (None, NOTHING, 0.0, ())
        if given and settings.schedule not in shapes:
            raise RecipeError(
                f"{name}.{key} means nothing to the schedule {settings.schedule}",
                where=node.at(f"{name}.{key}"),
                hint=f"it is for {', '.join(shapes)}",
            )
    if settings.schedule == "piecewise" and not settings.pieces:
        raise RecipeError(f"{name}.schedule piecewise needs {name}.pieces", where=node.at(f"{name}.schedule"))
    if sum(piece.over is None for piece in settings.pieces) > 1:
        raise RecipeError("only one piece may lack 'over', and takes the rest", where=node.at(f"{name}.pieces"))
    if settings.schedule == "inverse_sqrt":
        if settings.scale is None and not settings.warmup.amount:
            raise RecipeError(f"{name} lacks 'scale' (or a warmup)", where=node.at(f"{name}.schedule"))
        if settings.scale is not None and not settings.scale.amount:
            raise RecipeError(f"{name}.scale must be more than 0", where=node.at(f"{name}.scale"))
