"""Mixtures compared with each other, and with themselves at an earlier snapshot.

A mixture is any relation with doc_id, component, copies and n_tokens. A run of ``runs.runs`` means the mixture that its
export was made from, at that snapshot.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import duckdb

from udfs.errors import UsageError, did_you_mean
from warehouse.mixtures.mixture import fingerprint, read_mixture


@dataclass(frozen=True, slots=True)
class ComponentShift:
    """A component in two mixtures: its shares of the tokens, and documents by where they are."""

    component: str
    share_a: float
    share_b: float
    tokens_a: int
    tokens_b: int
    documents_out: int
    documents_in: int
    documents_kept: int
    copies_changed: int


@dataclass(frozen=True, slots=True)
class LabelShift:
    """How far a labeler's primary labels of one category move: KL(B‖A) in nats, over the tokens that have a label."""

    taxonomy: str
    labeler: str
    category: str
    divergence: float
    labelled_a: float
    labelled_b: float


@dataclass(frozen=True, slots=True)
class MixtureComparison:
    """Two mixtures A and B. ``divergence`` is KL(B‖A) over components in nats: infinite if B has one that A lacks."""

    a: str
    b: str
    fingerprint_a: str
    fingerprint_b: str
    divergence: float
    components: tuple[ComponentShift, ...]
    labels: tuple[LabelShift, ...]


def compare(cursor: duckdb.DuckDBPyConnection, a: str, b: str | None = None) -> MixtureComparison:
    """Compare mixture B with mixture A.

    ``name@12`` is a mixture as it was in the lake's snapshot 12; a training run's id, with or without the digest at its
    end, is the mixture it saw. A run alone is compared with the run it started from, which then is A. Raises UsageError
    for an unknown name or snapshot, MixtureError for a relation that is not a mixture.
    """
    if b is None:
        a, b = _trunk_and_arm(cursor, a)
    a, b = _seen_by(cursor, a) or a, _seen_by(cursor, b) or b
    read_mixture(cursor, a, "mixture_a")
    read_mixture(cursor, b, "mixture_b")
    rows = cursor.execute(
        """
        select component,
            coalesce(sum(a.n_tokens * a.copies), 0)::bigint, coalesce(sum(b.n_tokens * b.copies), 0)::bigint,
            count(*) filter (b.doc_id is null), count(*) filter (a.doc_id is null),
            count(*) filter (a.doc_id is not null and b.doc_id is not null),
            count(*) filter (a.copies <> b.copies)
        from temp.mixture_a as a
        full join temp.mixture_b as b using (doc_id, component)
        group by component order by 3 desc, component
        """
    ).fetchall()
    whole_a, whole_b = sum(row[1] for row in rows), sum(row[2] for row in rows)
    shifts = tuple(
        ComponentShift(row[0], row[1] / whole_a if whole_a else 0.0, row[2] / whole_b if whole_b else 0.0, *row[1:])
        for row in rows
    )
    return MixtureComparison(
        a=a,
        b=b,
        fingerprint_a=fingerprint(cursor, "temp.mixture_a"),
        fingerprint_b=fingerprint(cursor, "temp.mixture_b"),
        divergence=divergence([each.share_b for each in shifts], [each.share_a for each in shifts]),
        components=shifts,
        labels=tuple(_labels(cursor)),
    )


def divergence(p: list[float], q: list[float]) -> float:
    """Compute Kullback and Leibler's divergence of p from q in nats; infinite where p has what q has not."""
    if any(left > 0 and right <= 0 for left, right in zip(p, q, strict=True)):
        return math.inf
    return max(0.0, math.fsum(left * math.log(left / right) for left, right in zip(p, q, strict=True) if left > 0))


#: Runs by their id or the recipe, arm and seed that it begins with; of several, the one that finished last.
_RUN = """
    from runs.runs where run_id = $1 or regexp_replace(run_id, '-[0-9a-f]{12}$', '') = $1
    order by run_id = $1 desc, finished_at desc limit 1
"""


def _seen_by(cursor: duckdb.DuckDBPyConnection, name: str) -> str | None:
    """Return the mixture that a run was trained on, at the snapshot of its export; None if no run has the name.

    Raises UsageError for a run of several in a row.
    """
    row = cursor.execute(f"select mixture, snapshot_id, config -> '$.stages' {_RUN}", [name]).fetchone()
    if row is None:
        return None
    if row[2] is not None:
        parts = " ".join(row[0].split(", ")[:2])
        raise UsageError(f"{name} read several mixtures in a row: {row[0]}", hint=f"cuvee mixture diff {parts}")
    return f"{row[0]}@{row[1]}"


def _trunk_and_arm(cursor: duckdb.DuckDBPyConnection, name: str) -> tuple[str, str]:
    row = cursor.execute(f"select parent_run_id, run_id {_RUN}", [name]).fetchone()
    if row is None:
        known = [each[0] for each in cursor.execute("select run_id from runs.runs").fetchall()]
        hint = did_you_mean(name, known) or f"name two mixtures: cuvee mixture diff {name} …"
        raise UsageError(f"no run {name!r} in the lake", hint=hint)
    if row[0] is None:
        raise UsageError(f"{name} started from no other run", hint=f"name two: cuvee mixture diff {name} …")
    return str(row[0]), str(row[1])


def _labels(cursor: duckdb.DuckDBPyConnection) -> list[LabelShift]:
    """Compute the divergence of every labeler's primary labels, by each document's latest answer."""
    found: list[LabelShift] = []
    stores = cursor.execute(
        """
        select t.table_name from duckdb_tables() as t join duckdb_views() as v
            on v.database_name = t.database_name and v.schema_name = t.schema_name
            and v.view_name = t.table_name || '_long'
        where t.database_name = 'lake' and t.schema_name = 'labels' order by 1
        """
    ).fetchall()
    for (store,) in stores:
        rows = cursor.execute(
            f"""
            with both_mixtures as (
                select doc_id, sum(a) as a, sum(b) as b
                from (
                    select doc_id, n_tokens * copies as a, 0 as b from temp.mixture_a
                    union all
                    select doc_id, 0, n_tokens * copies from temp.mixture_b
                )
                group by doc_id
            ),
            latest as (
                select doc_id, labeler, fingerprint from labels."{store}"
                where status <> 'error' and doc_id in (select doc_id from both_mixtures)
                qualify row_number() over (partition by doc_id, labeler order by labelled_at desc, fingerprint) = 1
            )
            select codes.labeler, codes.category, codes.code, sum(m.a)::bigint, sum(m.b)::bigint,
                (select sum(a) from both_mixtures)::bigint, (select sum(b) from both_mixtures)::bigint
            from labels."{store}_long" as codes
            join latest using (doc_id, labeler, fingerprint)
            join both_mixtures as m on m.doc_id = codes.doc_id
            where codes.rank = 'primary'
            group by all order by all
            """
        ).fetchall()
        by_category: dict[tuple[str, str], list[list[int]]] = {}
        for labeler, category, _, *amounts in rows:
            by_category.setdefault((labeler, category), []).append(amounts)
        for (labeler, category), each in by_category.items():
            tokens_a, tokens_b = sum(row[0] for row in each), sum(row[1] for row in each)
            if not tokens_a or not tokens_b:
                continue
            shift = divergence([row[1] / tokens_b for row in each], [row[0] / tokens_a for row in each])
            labelled = tokens_a / each[0][2], tokens_b / each[0][3]
            found.append(LabelShift(store, labeler, category, shift, *labelled))
    return found
