"""Which tokens a masked model must guess: drawn again for every batch, from the sample's id.

The draw depends on seed, sample id and step alone, so the same sample gets the same masks on whatever rank, in whatever
batch size it is read, and after a restart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ids = NDArray[np.int64]

#: A target that is not predicted.
IGNORED = -1


@dataclass(frozen=True, slots=True)
class Masking:
    """``rate`` of the tokens are to be guessed, never ``special`` ones.

    Of those, BERT's ``80_10_10`` replaces 80% by ``mask_token``, 10% by a random token and leaves 10% as they are;
    ``all_mask`` replaces all. ``vocabulary``: random tokens are below it, and not special.
    """

    rate: float
    mask_token: int
    special: tuple[int, ...]
    vocabulary: int
    corruption: Literal["80_10_10", "all_mask"] = "80_10_10"


def mask(tokens: Ids, sample_ids: Ids, masking: Masking, *, seed: int, step: int) -> tuple[Ids, Ids]:
    """Return inputs and targets, shaped like ``tokens`` (samples, length); targets are ``IGNORED`` where none is.

    At least one token of each sample is to be guessed, unless all are special.
    """
    inputs, targets = tokens.copy(), np.full_like(tokens, IGNORED)
    ordinary = np.setdiff1d(np.arange(masking.vocabulary), masking.special)
    eligible = ~np.isin(tokens, masking.special)
    for row, sample_id in enumerate(sample_ids.tolist()):
        random = np.random.Generator(np.random.Philox(key=[seed, sample_id], counter=[0, 0, 0, step]))
        score, fate = random.random((2, tokens.shape[1]))
        others = random.choice(ordinary, tokens.shape[1])
        score[~eligible[row]] = 2.0
        chosen = (score < masking.rate) | ((score == score.min()) & eligible[row])
        targets[row, chosen] = tokens[row, chosen]
        if masking.corruption == "all_mask":
            inputs[row, chosen] = masking.mask_token
        else:
            inputs[row, chosen & (fate < 0.8)] = masking.mask_token
            swapped = chosen & (fate >= 0.9)
            inputs[row, swapped] = others[swapped]
    return inputs, targets
