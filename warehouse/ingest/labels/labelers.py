"""List the labelers of a lake and a project, with counts of their answers."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime

import duckdb

from udfs.errors import CuveeError
from udfs.labels.labelers.labeler_registry import LabelerRegistry
from warehouse.answers.store import HEAD, TAIL
from warehouse.ingest.formats.essential_web import LABELER
from warehouse.ingest.labels.label_files import FORMAT
from warehouse.lake.lake import Lake
from warehouse.lake.quoting import quote

#: A longer time between two portions of answers, in seconds, was a pause.
_PAUSE = 300

_OWN = ", ".join(f"'{each.name}'" for each in (*HEAD, *TAIL))
_STORES = f"""
select table_name from duckdb_columns() where database_name = 'lake' and schema_name = 'labels'
group by table_oid, table_name
having count(*) filter (column_name in ({_OWN})) = {len(HEAD) + len(TAIL)}
order by table_name
"""

_GIVEN = f"select distinct source from lake.raw.files where format = '{FORMAT}'"

# A portion of answers is committed with one time, its end. The start of the first one after a pause is not known.
_COUNTS = """
with portions as (
    select labeler, fingerprint, status, labelled_at, count(*) as answers, sum(tokens) as tokens from lake.{store}
    group by labeler, fingerprint, status, labelled_at
),
replaced as (
    select failed.labeler, failed.fingerprint, failed.status, count(*) as answers
    from (select * from lake.{store} where status in ('error', 'unparsed')) as failed
    semi join lake.{store} as later on later.doc_id = failed.doc_id and later.fingerprint = failed.fingerprint
        and later.labeler = failed.labeler and later.labelled_at > failed.labelled_at
    group by failed.labeler, failed.fingerprint, failed.status
),
times as (
    select labeler, labelled_at, sum(answers) as answers,
        epoch(labelled_at - lag(labelled_at) over (partition by labeler order by labelled_at)) as seconds
    from portions group by labeler, labelled_at
),
speeds as (
    select labeler, sum(answers) / nullif(sum(seconds), 0) as speed from times where seconds <= {pause} group by labeler
),
counts as (
    select labeler, fingerprint, status, answers, tokens, labelled_at from portions
    union all select labeler, fingerprint, status, -answers, 0, null from replaced
)
select counts.labeler, counts.fingerprint,
    {statuses}, sum(tokens)::bigint, any_value(speeds.speed), max(labelled_at)
from counts left join speeds on speeds.labeler = counts.labeler
group by counts.labeler, counts.fingerprint order by counts.labeler, max(labelled_at)
"""
STATUSES = ("ok", "partial", "unparsed", "error")


@dataclass(frozen=True, slots=True)
class LabelerVersion:
    """The answers of a labeler under one fingerprint: how many of each status of ``STATUSES``, and the tokens paid for.

    An answer that was asked for again after an error counts once.
    """

    fingerprint: str
    statuses: tuple[int, int, int, int]
    tokens: int | None
    last: datetime


@dataclass(frozen=True, slots=True)
class KnownLabeler:
    """A labeler: ``backend`` is None if it is not configured, ``versions`` are empty if it has never answered.

    ``external`` says that its labels were ingested. ``speed`` is in documents per second, over all its answers in
    this lake; None if it is not known. ``problem`` is what is wrong with its file.
    """

    name: str
    taxonomy: str | None
    backend: str | None
    versions: tuple[LabelerVersion, ...] = ()
    speed: float | None = None
    problem: str | None = None
    external: bool = False

    @property
    def statuses(self) -> tuple[int, ...]:
        """The answers of all versions, by status."""
        return tuple(sum(version.statuses[at] for version in self.versions) for at in range(len(STATUSES)))


def labelers(lake: Lake | None, catalogue: LabelerRegistry) -> list[KnownLabeler]:
    """List the labelers with answers in the lake, and those configured, by name. An invalid one has a problem."""
    stored = _stored(lake) if lake is not None else []
    configured = {name: _configured(catalogue, name) for name in catalogue.files()}
    found = [
        replace(each, backend=known.backend, problem=known.problem) if (known := configured.get(each.name)) else each
        for each in stored
    ]
    there = {(each.name, each.taxonomy) for each in found}
    found += [each for each in configured.values() if (each.name, each.taxonomy) not in there]
    return sorted(found, key=lambda each: (each.name, each.taxonomy or ""))


def _configured(catalogue: LabelerRegistry, name: str) -> KnownLabeler:
    try:
        spec = catalogue.spec(name)
    except CuveeError as error:
        return KnownLabeler(name, None, None, problem=str(error))
    return KnownLabeler(name, spec.taxonomy.name, spec.backend)


def _stored(lake: Lake) -> list[KnownLabeler]:
    with closing(lake.cursor()) as cursor:
        stores = [name for (name,) in cursor.execute(_STORES).fetchall()]
        given = {LABELER, *(name for (name,) in cursor.execute(_GIVEN).fetchall())}
        return [
            replace(known, external=True, speed=None) if known.name in given else known
            for store in stores
            for known in _counts(cursor, store)
        ]


def _counts(cursor: duckdb.DuckDBPyConnection, store: str) -> list[KnownLabeler]:
    counted = ", ".join(
        f"coalesce(sum(answers) filter (status = '{status}'), 0)::bigint as {status}" for status in STATUSES
    )
    rows = cursor.execute(_COUNTS.format(store=f"labels.{quote(store)}", statuses=counted, pause=_PAUSE)).fetchall()
    versions: dict[str, list[LabelerVersion]] = {}
    speeds: dict[str, float | None] = {}
    for labeler, fingerprint, ok, partial, unparsed, error, tokens, speed, last in rows:
        versions.setdefault(labeler, []).append(
            LabelerVersion(fingerprint, (ok, partial, unparsed, error), tokens, last)
        )
        speeds[labeler] = speed
    return [
        KnownLabeler(name=name, taxonomy=store, backend=None, versions=tuple(each), speed=speeds[name])
        for name, each in versions.items()
    ]
