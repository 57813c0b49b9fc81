"""What a mixture would have, before there is a model of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

from udfs.errors import Location, UsageError
from warehouse.render.renderer import Renderer


@dataclass(frozen=True, slots=True)
class TrialComponent:
    """What a component would have. ``tokens`` are those that it gets, ``shortfall`` those that it asks in vain."""

    component: str
    share_asked: float
    share_got: float
    available: int
    tokens: int
    epochs: float
    documents_available: int
    shortfall: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtureTrial:
    """A mixture to be tried: component → share, its tokens (None: as many as no document is repeated for), its pool."""

    shares: Mapping[str, float]
    tokens: int | None = None
    max_epochs: float = 1.0
    pool: str = "train_pool"

    def template(self) -> str:
        """Return the query that the macro ``mixture`` would begin with. A component that falls short spills over."""
        tokens = "'all'" if self.tokens is None else str(self.tokens)
        return (
            f"with {{{{ cuvee.mixture_targets(ref({json.dumps(self.pool)}), {json.dumps(dict(self.shares))}, {tokens},"
            f" {self.max_epochs}, 'spill') }}}}"
            " select component, cast(weight as double) / sum(weight) over (), cast(available as bigint),"
            " cast(target // divisor as bigint), documents,"
            " cast(case when short then asked // total_weight - cap // 1000000 else 0 end as bigint)"
            " from mixture_target order by weight desc, component"
        )


def try_mixture(
    renderer: Renderer, cursor: duckdb.DuckDBPyConnection, trial: MixtureTrial
) -> tuple[TrialComponent, ...]:
    """Compute what each component would have, from the pool as it is built now; the largest shares come first.

    Raises UsageError where the pool is not built, or where all components together have too few tokens.
    """
    query = str(renderer.value(trial.template(), Location("cuvee mixture try")))
    try:
        rows = cursor.execute(query).fetchall()
    except duckdb.CatalogException as error:
        raise UsageError(f"{trial.pool} is not built", hint=f"cuvee build --select +{trial.pool}") from error
    except duckdb.Error as error:
        raise UsageError(str(error).removeprefix("Invalid Input Error: ")) from error
    whole = sum(tokens for _, _, _, tokens, _, _ in rows) or 1
    return tuple(
        TrialComponent(
            component=component,
            share_asked=share,
            share_got=tokens / whole,
            available=available,
            tokens=tokens,
            epochs=tokens / available if available else 0.0,
            documents_available=documents,
            shortfall=max(0, shortfall),
        )
        for component, share, available, tokens, documents, shortfall in rows
    )
