"""What a mixture got, compared with what was asked for.

What was asked is known of mixtures that the macro ``mixture`` made. Their query, as the builder sent it, has the
targets in a CTE, which can be asked by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import duckdb

from warehouse.lake.quoting import quote
from warehouse.mixtures.mixture import ask_cte, current_snapshot, fingerprint, read_mixture

#: A document that is more than this part of its component's tokens makes the component's share a matter of chance.
LARGE = 0.01


@dataclass(frozen=True, slots=True)
class MixtureTarget:
    """What a mixture's query asks for one component; None where it does not say it. ``target`` is within the cap."""

    share: float | None = None
    tokens: int | None = None
    available: int | None = None
    documents: int | None = None
    shortfall: int | None = None
    cause: str | None = None
    target: int | None = None


@dataclass(frozen=True, slots=True)
class MixtureComponent:
    """What a component was to have and has. What is asked and available is None where the query does not say it.

    ``shortfall``: tokens that its share asks and that are not to be had under the cap on epochs; ``cause`` says why.
    ``large_documents``: how many documents are more than 1% of its target, the largest of which is ``largest``.
    """

    component: str
    share_asked: float | None
    share_got: float
    tokens_asked: int | None
    tokens_available: int | None
    tokens: int
    epochs: float | None
    documents_available: int | None
    documents: int
    copies: int
    shortfall: int | None
    cause: str | None
    large_documents: int
    largest: str
    largest_tokens: int

    @property
    def target(self) -> int:
        """The tokens that it is to have: as many as were asked and can be had, else those that it has."""
        return self.tokens if self.tokens_asked is None else self.tokens_asked - (self.shortfall or 0)


@dataclass(frozen=True, slots=True)
class MixtureReport:
    """A mixture at a snapshot, and its components, those with the largest shares first."""

    mixture: str
    snapshot_id: int
    fingerprint: str
    documents: int
    copies: int
    tokens: int
    components: tuple[MixtureComponent, ...]
    problem: str | None
    unused: Mapping[str, int] = field(default_factory=dict)  # component of the model train_pool → its tokens
    estimated: bool = False  # whether the model document_tokens has estimates

    def warnings(self) -> list[str]:
        """Return a line for each component in which single documents weigh more than 1% of its target."""
        return [
            f"{each.component}: document {each.largest} has {each.largest_tokens:,} tokens,"
            f" {each.largest_tokens / each.target:.1%} of the component's target of {each.target:,}"
            + (f"; {each.large_documents:,} documents are over {LARGE:.0%}" if each.large_documents > 1 else "")
            for each in self.components
            if each.large_documents
        ]


def show(cursor: duckdb.DuckDBPyConnection, name: str) -> MixtureReport:
    """Report what a mixture has, and what was asked of it. The cursor must be in a transaction.

    What is available is counted in the pool as it is now. Raises UsageError for an unknown name, MixtureError for a
    relation that is not a mixture.
    """
    sql = read_mixture(cursor, name, "mixture_shown")
    targets: dict[str, MixtureTarget] = {}
    problem = None
    try:
        targets = _targets(cursor, sql)
        if not targets:
            problem = f"{name} is not made by the macro mixture: what was asked is not known"
    except duckdb.Error as error:
        problem = f"what was asked of {name} cannot be computed now: {error}"
    found = _amounts(cursor, targets)
    total = sum(amounts[0] for amounts in found.values())
    components = []
    for each in found.keys() | targets.keys():
        tokens, documents, copies, large, largest, largest_tokens = found.get(each, (0, 0, 0, 0, "", 0))
        goal = targets.get(each, MixtureTarget())
        components.append(
            MixtureComponent(
                component=each,
                share_asked=goal.share,
                share_got=tokens / total if total else 0.0,
                tokens_asked=goal.tokens,
                tokens_available=goal.available,
                tokens=tokens,
                epochs=tokens / goal.available if goal.available else None,
                documents_available=goal.documents,
                documents=documents,
                copies=copies,
                shortfall=goal.shortfall,
                cause=goal.cause,
                large_documents=large,
                largest=largest,
                largest_tokens=largest_tokens,
            )
        )
    components.sort(key=lambda each: (-(each.share_asked or each.share_got), each.component))
    return MixtureReport(
        mixture=name,
        snapshot_id=int(name.partition("@")[2] or current_snapshot(cursor)),
        fingerprint=fingerprint(cursor, "temp.mixture_shown"),
        documents=sum(each.documents for each in components),
        copies=sum(each.copies for each in components),
        tokens=total,
        components=tuple(components),
        unused=unused(cursor, {each.component for each in components}, "train_pool"),
        estimated=_estimated(cursor),
        problem=problem,
    )


def _amounts(
    cursor: duckdb.DuckDBPyConnection, targets: Mapping[str, MixtureTarget]
) -> dict[str, tuple[int, int, int, int, str, int]]:
    """Count by component: tokens, documents, copies, large documents, the largest one and its tokens."""
    cursor.execute("create temp table mixture_goal (component varchar, target bigint)")
    if targets:
        values = [(component, each.target) for component, each in targets.items()]
        cursor.executemany("insert into temp.mixture_goal values (?, ?)", values)
    rows = cursor.execute(
        f"""
        select m.component, sum(m.n_tokens * m.copies)::bigint, count(*), sum(m.copies)::bigint,
            count(*) filter (m.n_tokens > {LARGE} * coalesce(goal.target, whole.tokens)),
            max_by(m.doc_id, (m.n_tokens, m.doc_id)), max(m.n_tokens)
        from temp.mixture_shown as m
        left join temp.mixture_goal as goal on goal.component = m.component
        join (select component, sum(n_tokens * copies) as tokens from temp.mixture_shown group by component) as whole
            on whole.component = m.component
        group by m.component
        """
    ).fetchall()
    return {row[0]: row[1:] for row in rows}


def _targets(cursor: duckdb.DuckDBPyConnection, sql: str | None) -> dict[str, MixtureTarget]:
    """Return the targets in a mixture's query by component; none if the macro did not write it."""
    rows = ask_cte(
        cursor,
        sql,
        "mixture_target",
        "component, cast(weight as double) / sum(weight) over (), cast(asked // total_weight as bigint),"
        " cast(available as bigint), documents, cast(cap // 1000000 as bigint), short, epochs / 1000000.0",
    )
    found = {}
    for component, share, asked, available, documents, cap, short, epochs in rows:
        cause = None
        if short:
            cause = f"max_epochs {epochs:g}" if available else "the pool has no documents of this component"
        found[component] = MixtureTarget(
            share=share,
            tokens=asked,
            available=available,
            documents=documents,
            shortfall=max(0, asked - cap) if short else 0,
            cause=cause,
            target=min(asked, cap),
        )
    return found


def unused(cursor: duckdb.DuckDBPyConnection, used: Collection[str], pool: str) -> dict[str, int]:
    """Return the tokens of the pool's components that are not in ``used``; nothing if there is no such pool."""
    try:
        query = f"select component, sum(n_tokens) from {quote(pool)} group by component order by 2 desc"
        rows = cursor.execute(query).fetchall()
    except (duckdb.CatalogException, duckdb.BinderException):
        return {}
    return {component: int(tokens) for component, tokens in rows if component not in used}


def _estimated(cursor: duckdb.DuckDBPyConnection) -> bool:
    """Return whether the model document_tokens has estimates."""
    try:
        row = cursor.execute("select coalesce(bool_or(estimated), false) from document_tokens").fetchone()
    except (duckdb.CatalogException, duckdb.BinderException):
        return False
    return bool(row and row[0])
