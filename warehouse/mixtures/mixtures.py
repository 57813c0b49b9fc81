"""Mixtures compared: with what was asked for, with each other, and with themselves at an earlier snapshot.

A mixture is any relation with doc_id, component, copies and n_tokens. What was asked is known of those that the macro
``mixture`` made: their query, as the builder sent it, has the targets in a CTE that can be asked by itself.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from udfs.errors import UsageError, did_you_mean
from warehouse.mixtures.mixture import COLUMNS, MixtureError, find, fingerprint

if TYPE_CHECKING:
    import duckdb

#: A document that is more than this part of its component's tokens makes the component's share a matter of chance.
LARGE = 0.01

#: The CTE of the macro that has a component's target.
_TARGETS = "mixture_target"


@dataclass(frozen=True, slots=True)
class Component:
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


@dataclass(frozen=True, slots=True)
class Shown:
    """A mixture at a snapshot, and its components, those with the largest shares first."""

    mixture: str
    snapshot_id: int
    fingerprint: str
    documents: int
    copies: int
    tokens: int
    components: tuple[Component, ...]
    problem: str | None

    def warnings(self) -> list[str]:
        """A line for each component in which single documents weigh more than 1% of its target."""
        return [
            f"{each.component}: document {each.largest} has {each.largest_tokens:,} tokens,"
            f" {each.largest_tokens / _target(each):.1%} of the component's target of {_target(each):,}"
            + (f"; {each.large_documents:,} documents are over {LARGE:.0%}" if each.large_documents > 1 else "")
            for each in self.components
            if each.large_documents
        ]


@dataclass(frozen=True, slots=True)
class Shift:
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
class Compared:
    """Two mixtures A and B. ``divergence`` is KL(B‖A) over components in nats: infinite if B has one that A lacks."""

    a: str
    b: str
    fingerprint_a: str
    fingerprint_b: str
    divergence: float
    components: tuple[Shift, ...]
    labels: tuple[LabelShift, ...]


def show(cursor: duckdb.DuckDBPyConnection, name: str) -> Shown:
    """A mixture, and what was asked of it. The cursor must be in a transaction.

    What is available is counted in the pool as it is now. Raises UsageError for an unknown name, MixtureError for a
    relation that is no mixture.
    """
    import duckdb

    sql = _read(cursor, name, "mixture_shown")
    asked: dict[str, _Asked] = {}
    problem = None
    try:
        asked = _asked(cursor, sql)
        if not asked:
            problem = f"{name} is not made by the macro mixture: what was asked is not known"
    except duckdb.Error as error:
        problem = f"what was asked of {name} cannot be computed now: {error}"
    cursor.execute("create temp table mixture_goal (component varchar, target bigint)")
    if asked:
        values = [(component, each.target) for component, each in asked.items()]
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
    found = {row[0]: row[1:] for row in rows}
    total = sum(row[0] for row in found.values())
    components = []
    for each in found.keys() | asked.keys():
        tokens, documents, copies, large, largest, largest_tokens = found.get(each, (0, 0, 0, 0, "", 0))
        goal = asked.get(each, _Asked())
        components.append(
            Component(
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
    return Shown(
        name,
        _snapshot(cursor, name),
        fingerprint(cursor, "temp.mixture_shown"),
        sum(row[1] for row in found.values()),
        sum(row[2] for row in found.values()),
        total,
        tuple(components),
        problem,
    )


def compare(cursor: duckdb.DuckDBPyConnection, a: str, b: str | None = None) -> Compared:
    """What B has otherwise than A.

    ``name@12`` is a mixture as it was in the lake's snapshot 12; a training run's id, with or without the digest at its
    end, is the mixture it saw. A run alone is compared with the run it started from, which then is A. Raises UsageError
    for an unknown name or snapshot, MixtureError for a relation that is no mixture.
    """
    if b is None:
        a, b = _trunk_and_arm(cursor, a)
    a, b = _seen_by(cursor, a) or a, _seen_by(cursor, b) or b
    _read(cursor, a, "mixture_a")
    _read(cursor, b, "mixture_b")
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
        Shift(row[0], row[1] / whole_a if whole_a else 0.0, row[2] / whole_b if whole_b else 0.0, *row[1:])
        for row in rows
    )
    return Compared(
        a,
        b,
        fingerprint(cursor, "temp.mixture_a"),
        fingerprint(cursor, "temp.mixture_b"),
        divergence([each.share_b for each in shifts], [each.share_a for each in shifts]),
        shifts,
        tuple(_labels(cursor)),
    )


def divergence(p: list[float], q: list[float]) -> float:
    """Kullback and Leibler's divergence of p from q in nats; infinite where p has what q has not."""
    if any(left > 0 and right <= 0 for left, right in zip(p, q, strict=True)):
        return math.inf
    return max(0.0, math.fsum(left * math.log(left / right) for left, right in zip(p, q, strict=True) if left > 0))


@dataclass(frozen=True, slots=True)
class _Asked:
    share: float | None = None
    tokens: int | None = None
    available: int | None = None
    documents: int | None = None
    shortfall: int | None = None
    cause: str | None = None
    target: int | None = None


def _asked(cursor: duckdb.DuckDBPyConnection, sql: str | None) -> dict[str, _Asked]:
    """The targets in a mixture's query, by component; none if the macro did not write it."""
    import sqlglot

    if sql is None or _TARGETS not in sql:
        return {}
    query = sqlglot.parse_one(re.sub(r"^\s*create\s+.*?\bas\b", "", sql, count=1, flags=re.I | re.S), dialect="duckdb")
    if _TARGETS not in {each.alias for each in getattr(query, "ctes", [])}:
        return {}
    question = sqlglot.parse_one(
        f"""
        select component, cast(weight as double) / sum(weight) over (), cast(asked // total_weight as bigint),
            cast(available as bigint), documents, cast(cap // 1000000 as bigint), short, epochs / 1000000.0
        from {_TARGETS}
        """,
        dialect="duckdb",
    )
    question.set("with_", query.args.get("with_") or query.args.get("with"))
    if not question.args.get("with_"):
        return {}
    found = {}
    for component, share, asked, available, documents, cap, short, epochs in cursor.execute(
        question.sql(dialect="duckdb")
    ).fetchall():
        cause = None
        if short:
            cause = f"max_epochs {epochs:g}" if available else "the pool has no documents of this component"
        found[component] = _Asked(
            share, asked, available, documents, max(0, asked - cap) if short else 0, cause, min(asked, cap)
        )
    return found


def _read(cursor: duckdb.DuckDBPyConnection, name: str, table: str) -> str | None:
    """Put a mixture's rows into a temporary table, and give its query."""
    import duckdb

    plain, _, version = name.partition("@")
    if version and not version.isdigit():
        raise UsageError(f"{name}: {version} is no snapshot", hint="cuvee lake lists them: baseline@12")
    relation, sql = find(cursor, plain)
    at = f" at (version => {version})" if version else ""
    try:
        present = [column[0] for column in cursor.execute(f"describe select * from {relation}{at}").fetchall()]
        if missing := [column for column in COLUMNS if column not in present]:
            raise MixtureError(
                f"{name} is not a mixture: it lacks {', '.join(missing)}",
                hint=f"a mixture has {', '.join(COLUMNS)}; it has {', '.join(present)}",
            )
        cursor.execute(
            f"""
            create temp table {table} as
            select doc_id::varchar as doc_id, component::varchar as component, copies::bigint as copies,
                n_tokens::bigint as n_tokens
            from {relation}{at}
            """
        )
    except duckdb.Error as error:
        hint = "cuvee lake lists snapshots; a view has no past, only tables do" if version else None
        raise MixtureError(f"cannot read {name}: {error}", hint=hint) from error
    return sql


#: Runs by their id or the recipe, arm and seed that it begins with; of several, the one that finished last.
_RUN = """
    from runs.runs where run_id = $1 or regexp_replace(run_id, '-[0-9a-f]{12}$', '') = $1
    order by run_id = $1 desc, finished_at desc limit 1
"""


def _seen_by(cursor: duckdb.DuckDBPyConnection, name: str) -> str | None:
    """The mixture that a run was trained on, at the snapshot it was exported from; None if no run has the name.

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


def _snapshot(cursor: duckdb.DuckDBPyConnection, name: str) -> int:
    if "@" in name:
        return int(name.partition("@")[2])
    row = cursor.execute("select id from lake.current_snapshot()").fetchone()
    assert row
    return int(row[0])


def _labels(cursor: duckdb.DuckDBPyConnection) -> list[LabelShift]:
    """The divergence of every labeler's primary labels, by each document's latest answer."""
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
        by_category: dict[tuple[str, str], list[tuple[int, int, int, int]]] = {}
        for labeler, category, _, *amounts in rows:
            by_category.setdefault((labeler, category), []).append((amounts[0], amounts[1], amounts[2], amounts[3]))
        for (labeler, category), each in by_category.items():
            tokens_a, tokens_b = sum(row[0] for row in each), sum(row[1] for row in each)
            if not tokens_a or not tokens_b:
                continue
            shift = divergence([row[1] / tokens_b for row in each], [row[0] / tokens_a for row in each])
            labelled = tokens_a / each[0][2], tokens_b / each[0][3]
            found.append(LabelShift(store, labeler, category, shift, *labelled))
    return found


def _target(component: Component) -> int:
    """The tokens a component is to have: what was asked, as far as there are so many; else what it has."""
    if component.tokens_asked is None:
        return component.tokens
    return component.tokens_asked - (component.shortfall or 0)
