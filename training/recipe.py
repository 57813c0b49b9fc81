"""Recipes: what is trained, on which mixtures, for how many tokens, and how it is judged.

A recipe trains one trunk and anneals it: from the trunk's last checkpoint, every arm decays the learning rate over
the same number of tokens, each on its own mixture, once per seed. One arm is the control, on the unchanged mixture:
decay alone already lowers the loss, so an arm without a control shows nothing (OLMo 2, arXiv 2501.00656, gained 4.4
points from it).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from training.configuration import Amount, Count, Fraction, Node, Positive, Range, RecipeError, load, read
from training.durations import Clock, Duration
from udfs.errors import did_you_mean


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of an Ettin-architecture model. ``intermediate`` is the width of one branch of the gated MLP."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    sliding_window: int = 128
    global_every: int = 3
    rope_theta: float = 10_000.0


Kind = Literal["decoder", "encoder"]


@dataclass(frozen=True, slots=True)
class Model:
    """A named size of the Ettin suite, or sizes of one's own. Heads are 64 wide in the whole suite.

    Or ``folder``: a causal or masked language model as transformers saves it, with its weights, or with fresh ones if
    ``fresh``. A ModernBERT of the other kind is converted. ``rope_theta`` is the base of all layers' rotary positions:
    1e4 in Ettin's first phase (1,024 tokens), 1.6e5 afterwards (7,999).
    """

    size: str | None = None
    kind: Kind = "decoder"
    folder: str | None = None
    fresh: bool = False
    layers: Count | None = None
    hidden: Count | None = None
    intermediate: Count | None = None
    heads: Count | None = None
    sliding_window: Count = 128
    global_every: Count = 3
    rope_theta: Positive = 10_000.0

    def sizes(self) -> Sizes:
        """The sizes, those of the suite where one is named."""
        named = suite()[self.size] if self.size else None
        return Sizes(
            layers=self.layers or (named.layers if named else 0),
            hidden=self.hidden or (named.hidden if named else 0),
            intermediate=self.intermediate or (named.intermediate if named else 0),
            heads=self.heads or (named.heads if named else 0),
            sliding_window=self.sliding_window,
            global_every=self.global_every,
            rope_theta=self.rope_theta,
        )


Shape = Literal["constant", "linear", "one_minus_sqrt", "warmup_stable_decay", "inverse_sqrt", "piecewise"]
NOTHING = Duration(0)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a piecewise schedule, from where the last one ended to ``to``. One may lack ``over``: the rest."""

    to: Fraction
    over: Duration | None = None
    shape: Literal["linear", "cosine"] = "linear"


@dataclass(frozen=True, slots=True)
class Trunk:
    """The run that all arms start from, by default at a constant learning rate after a linear warmup.

    ``seed`` draws the first weights and the order of the data. The keys from ``schedule`` on are those of an anneal.
    """

    mixture: str
    tokens: Count
    learning_rate: Positive
    warmup: Duration = NOTHING
    schedule: Shape = "constant"
    seed: Amount = 17
    final_fraction: Fraction = 0.0
    decay: Duration = NOTHING
    scale: Duration | None = None
    decay_floor: Fraction = 0.0
    pieces: tuple[Piece, ...] = ()


@dataclass(frozen=True, slots=True)
class Anneal:
    """How every arm decays over ``tokens``: from the trunk's current learning rate to ``final_fraction`` of it.

    ``learning_rate`` is another rate to start from; above the trunk's it needs ``above_trunk``. ``warmup`` is for the
    shapes constant, warmup_stable_decay and inverse_sqrt; ``decay`` is the fall at the end of the last two; ``scale``
    and ``decay_floor`` are inverse_sqrt's time scale (the warmup, if not given) and the ratio it tends to.
    """

    tokens: Count
    schedule: Shape = "linear"
    final_fraction: Fraction = 0.0
    learning_rate: Positive | None = None
    above_trunk: bool = False
    warmup: Duration = NOTHING
    decay: Duration = NOTHING
    scale: Duration | None = None
    decay_floor: Fraction = 0.0
    pieces: tuple[Piece, ...] = ()


@dataclass(frozen=True, slots=True)
class Objective:
    """What the model learns: by default causal_lm for a decoder and masked_lm for an encoder.

    ``masked_next_token`` predicts a masked token from the position before it, as a causal model would: for encoders
    that begin with a decoder's weights. ``rate`` of the tokens are masked, never the end of text, the mask token or
    ``special_tokens``. ``mask_token`` is one more than the vocabulary holds, unless given.
    """

    name: Literal["causal_lm", "masked_lm", "masked_next_token"] | None = None
    rate: Annotated[float, Range(above=0, at_most=1)] = 0.3
    corruption: Literal["80_10_10", "all_mask"] = "80_10_10"
    mask_token: Amount | None = None
    special_tokens: tuple[Amount, ...] = ()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Held-out documents: a mixture too. ``samples`` limits how many sequences per component are read.

    Measured at the end of every run, and every ``every`` tokens if that is given.
    """

    mixture: str
    every: Count | None = None
    samples: Count | None = None


@dataclass(frozen=True, slots=True)
class Optimizer:
    """AdamW with decoupled weight decay: the decay follows the schedule but not the peak learning rate."""

    name: Literal["decoupled_adamw"] = "decoupled_adamw"
    betas: tuple[Annotated[float, Range(at_least=0, below=1)], ...] = (0.9, 0.98)
    eps: Positive = 1e-6
    weight_decay: Annotated[float, Range(at_least=0)] = 0.0
    clip_norm: Positive | None = 1.0


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """How often a run's state is saved, in tokens; the end is always saved. ``keep``: how many, None = all."""

    every: Count | None = None
    keep: Count | None = None


@dataclass(frozen=True, slots=True)
class Fsdp:
    """Weights and optimizer state shared out over the processes of a run, by Composer's FSDP2.

    ``reshard_after_forward`` false keeps the weights gathered for the backward pass: faster, and more memory.
    """

    reshard_after_forward: bool = True
    activation_checkpointing: bool = False
    mixed_precision: Literal["DEFAULT", "PURE", "FULL"] = "DEFAULT"


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe. The tokenizer and the sequence length are the exports' own.

    ``boundaries``: whether documents packed into one sequence are kept apart.
    """

    name: str
    model: Model
    trunk: Trunk
    anneal: Anneal
    arms: Mapping[str, str]
    control: str
    evaluation: Evaluation
    batch_tokens: Count
    seeds: tuple[Amount, ...] = (1, 2)
    objective: Objective = Objective()
    boundaries: bool = True
    microbatch: Count | None = None
    optimizer: Optimizer = Optimizer()
    precision: Literal["fp32", "amp_bf16"] = "fp32"
    checkpoints: Checkpoints = Checkpoints()
    fsdp: Fsdp | None = None

    @property
    def learns(self) -> Literal["causal_lm", "masked_lm", "masked_next_token"]:
        """The objective's name."""
        return self.objective.name or ("causal_lm" if self.model.kind == "decoder" else "masked_lm")

    @property
    def mixtures(self) -> tuple[str, ...]:
        """Every mixture the recipe reads, each once; the held-out one last."""
        return tuple(dict.fromkeys((self.trunk.mixture, *self.arms.values(), self.evaluation.mixture)))


@cache
def suite() -> Mapping[str, Sizes]:
    """The sizes of the Ettin suite by name (Seq vs Seq, arXiv 2507.11412, from its released configurations)."""
    with (resources.files("training") / "sizes.csv").open(encoding="utf-8") as lines:
        return {
            row["name"]: Sizes(int(row["layers"]), int(row["hidden"]), int(row["intermediate"]), int(row["heads"]))
            for row in csv.DictReader(lines)
        }


def read_recipe(path: Path, settings: tuple[str, ...] = ()) -> Recipe:
    """Read and check a recipe; ``settings`` are ``key=value`` pairs that go over it.

    Raises RecipeError (file, line, column, and the nearest known name) for anything it cannot mean.
    """
    node = load(path, settings)
    recipe = read(node, Recipe)
    _check_model(recipe.model, node)
    if (recipe.learns == "causal_lm") != (recipe.model.kind == "decoder"):
        raise RecipeError(
            f"{'an encoder' if recipe.model.kind == 'encoder' else 'a decoder'} cannot learn {recipe.learns}:"
            f" it sees {'what it should predict' if recipe.learns == 'causal_lm' else 'only what came before'}",
            where=node.at("objective.name"),
            hint="an encoder learns masked_lm or masked_next_token, a decoder causal_lm",
        )
    _check_arms(recipe, node)
    return recipe


def _check_model(model: Model, node: Node) -> None:
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


def _check_arms(recipe: Recipe, node: Node) -> None:
    if recipe.control not in recipe.arms:
        raise RecipeError(
            f"the control {recipe.control!r} is none of the arms",
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
    for key, tokens in (("trunk.tokens", recipe.trunk.tokens), ("anneal.tokens", recipe.anneal.tokens)):
        if tokens < recipe.batch_tokens:
            raise RecipeError(f"{key} is less than one batch ({recipe.batch_tokens:,} tokens)", where=node.at(key))
    _check_schedule(recipe.trunk, "trunk", recipe.batch_tokens, node)
    _check_schedule(recipe.anneal, "anneal", recipe.batch_tokens, node)


def _check_schedule(settings: Trunk | Anneal, name: str, batch_tokens: int, node: Node) -> None:
    """What can be said before the exports are known: samples have no length yet and are checked with the curve."""
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
