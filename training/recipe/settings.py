"""What the keys of a recipe mean, one dataclass for each mapping in it."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Annotated, Literal

from training.recipe.configuration import Amount, Count, Fraction, Positive, Range
from training.recipe.durations import Duration


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
class ModelSettings:
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
        """Return the sizes, those of the suite where one is named."""
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
class MixtureStage:
    """A mixture that is read for a part of a run; of the stages of a run one may lack ``over``: the rest."""

    mixture: str
    over: Duration | None = None


#: What a run reads: a mixture, or several in a row.
Mixtures = str | tuple[MixtureStage, ...]


def stages(mixtures: Mixtures) -> tuple[MixtureStage, ...]:
    """Return what a run reads as stages: one where it is one mixture."""
    return (MixtureStage(mixtures),) if isinstance(mixtures, str) else mixtures


@dataclass(frozen=True, slots=True)
class Trunk:
    """The run that all arms start from, by default at a constant learning rate after a linear warmup.

    ``seed`` draws the first weights and the order of the data. The keys from ``schedule`` on are those of an anneal.
    With windows it has as many ``tokens`` as come before the last of them.
    """

    mixture: Mixtures
    learning_rate: Positive
    tokens: Count = 0
    warmup: Duration = NOTHING
    schedule: Shape = "constant"
    seed: Amount = 17
    final_fraction: Fraction = 0.0
    decay: Duration = NOTHING
    scale: Duration | None = None
    decay_floor: Fraction = 0.0
    pieces: tuple[Piece, ...] = ()


@dataclass(frozen=True, slots=True)
class Start:
    """What the arms start from in place of a trunk: the folder of a run, whose last checkpoint counts, or a .pt file.

    Without ``optimizer`` only the weights are taken, and those of a ModernBERT of the other kind are converted.
    ``seed`` is the trainer's; the orders of the data have theirs.
    """

    checkpoint: str
    optimizer: bool = True
    seed: Amount = 17


@dataclass(frozen=True, slots=True)
class LeaveOut:
    """An arm again without one of ``components``, for each of them; in all windows unless ``windows`` names some.

    Its samples are left where they are and not read, so the others get its share in proportion to theirs.
    """

    components: tuple[str, ...]
    windows: tuple[Fraction, ...] = ()


@dataclass(frozen=True, slots=True)
class Anneal:
    """How every arm decays over ``tokens``: from the trunk's current learning rate to ``final_fraction`` of it.

    ``learning_rate`` is another rate to start from; above the trunk's it needs ``above_trunk``. ``warmup`` is for the
    shapes constant, warmup_stable_decay and inverse_sqrt; ``decay`` is the fall at the end of the last two; ``scale``
    and ``decay_floor`` are inverse_sqrt's time scale (the warmup, if not given) and the ratio it tends to.
    """

    tokens: Count = 0
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
class OptimizerSettings:
    """What updates the weights (training.run.optimizers). All three decay weights by the schedule, not by the peak."""

    name: Literal["decoupled_adamw", "stable_adamw", "lionw"] = "decoupled_adamw"
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


@cache
def suite() -> Mapping[str, Sizes]:
    """Return the sizes of the Ettin suite by name (Seq vs Seq, arXiv 2507.11412, from its configurations)."""
    with (resources.files("training.recipe") / "sizes.csv").open(encoding="utf-8") as lines:
        return {
            row["name"]: Sizes(int(row["layers"]), int(row["hidden"]), int(row["intermediate"]), int(row["heads"]))
            for row in csv.DictReader(lines)
        }
