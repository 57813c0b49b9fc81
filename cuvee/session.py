"""``connect``, and ``Warehouse``: a lake and the project next to it, for a notebook or a script.

Each method calls what a command calls; see ``cuvee COMMAND --help`` for what it means. DuckDB, Arrow and the rest are
loaded by the first method that needs them.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cuvee.errors import BuildError, Error, IngestError
from udfs.errors import UsageError, did_you_mean
from udfs.registry import VECTORIZED, expensive_functions
from warehouse.cli.output import Output
from warehouse.lake.lake import CATALOG, Lake, LakeNotFoundError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from cuvee.questions import Engines
    from udfs.expensive import ExpensiveFunction
    from warehouse.export.write import ExportResult
    from warehouse.ingest.inputs import Input
    from warehouse.ingest.records import IngestOptions
    from warehouse.ingest.run import IngestReport
    from warehouse.mixtures.report import MixtureReport
    from warehouse.project.results import NodeResult

#: New answers of expensive functions that a query may ask for, unless it says otherwise.
LIMIT = 1_000

_Path = str | os.PathLike[str]


def connect(
    lake: _Path | None = None, *, create: bool = False, project: _Path | None = None, quiet: bool = False
) -> Warehouse:
    """Open the lake in the folder ``lake``; by default that of CUVEE_LAKE, else the nearest ``lake/`` upwards.

    ``create`` makes a lake where there is none. ``project`` is the folder of dbt_project.yml, by default the nearest
    one upwards from the working folder, else the one around the lake. What takes long prints a line every few seconds
    on standard error, unless ``quiet``. Raises Error if there is no lake.

    >>> cuvee.connect("my_lake", create=True).table("raw.documents").fetchall()
    []
    """
    root = None if lake is None else Path(lake).expanduser()
    try:
        opened = Lake.open(root)
    except LakeNotFoundError as error:
        if not create:
            inner = root / "lake" if root is not None else None
            near = f"did you mean {inner}? Or " if inner is not None and (inner / CATALOG).is_file() else ""
            hint = f"{near}create one with: cuvee init, or with connect(…, create=True)"
            raise LakeNotFoundError(error.message, hint=hint) from None
        opened = Lake.create(root or Path(os.environ.get("CUVEE_LAKE") or "lake"))
    return Warehouse(opened, None if project is None else Path(project).expanduser(), quiet=quiet)


class Warehouse:
    """An open lake with its project. Made by ``connect``.

    What it returns are DuckDB's relations, Arrow tables, and the reports of the commands as dataclasses. A mistake
    raises ``cuvee.Error``, which says what to do. One thread at a time may use it.
    """

    def __init__(self, lake: Lake, project: Path | None, *, quiet: bool) -> None:
        self._lake, self._given = lake, project
        self._out = Output(quiet=quiet)
        self._vectorized = False

    def __repr__(self) -> str:
        return f"<cuvee.Warehouse {self.root}>"

    def __enter__(self) -> Warehouse:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget registered frames and end labelers' models. Relations that were made cannot be read any more."""
        if "_engines" in self.__dict__:
            self._engines.close()
        if "_reader" in self.__dict__:
            self._reader.close()
            del self._reader
            self._vectorized = False

    @property
    def root(self) -> Path:
        """The lake's folder."""
        return self._lake.root

    @property
    def project(self) -> Path:
        """The project's folder, as it is found now: one that is written later counts."""
        here = Path.cwd()
        near = (here, *here.parents, self.root.parent)
        return self._given or next((folder for folder in near if (folder / "dbt_project.yml").is_file()), here)

    @cached_property
    def _reader(self) -> duckdb.DuckDBPyConnection:
        return self._lake.reader()

    @cached_property
    def _engines(self) -> Engines:
        from cuvee.questions import Engines

        return Engines()

    def _functions(self) -> Mapping[str, ExpensiveFunction]:
        """Return the functions that SQL may call, with the project's labelers and models. Loads none of them."""
        from warehouse.lake.benchmarks import LakeBenchmarks
        from warehouse.project.package import resources

        return expensive_functions(resources(self.project, self._lake, LakeBenchmarks(self._lake)))

    def sql(self, query: str, *, limit: int = LIMIT) -> duckdb.DuckDBPyRelation:
        """Answer a query as DuckDB's relation: ``.df()``, ``.pl()``, ``.arrow()``, ``.fetchall()``.

        The lake is open for reading only: tables change by ``ingest`` and ``build``. Frames that ``register`` named can
        be read next to the lake's tables. A statement without rows, such as SET, gives no rows. Statements are those of
        ``cuvee sql``: what writes files or changes the lake is refused. Files may be read, and settings changed: who
        runs Python may do both anyway.

        The functions ``quality_signals``, ``minhash_signature``, ``language`` and ``fasttext_score`` are computed row
        by row. ``label_document``, ``n_tokens``, ``contamination`` and ``item_ngrams`` are answered at once, before
        this returns; the answers are kept in the lake, so the same query pays for nothing twice. A query that needs
        more than ``limit`` new answers of a function raises Error and asks for none: large work belongs into a model.

        >>> lake.sql("select text from raw.documents order by text limit 1").fetchall()
        [('Bread is baked in an oven.',)]
        >>> query = "select label_document(text, 'fake').education_level.primary as level from raw.documents"
        >>> lake.sql(f"select count(level) from ({query})").fetchall()
        [(3,)]
        """
        import duckdb

        from warehouse.lake.statements import check

        if not query.strip(" \t\r\n;"):
            raise UsageError("the query is empty", hint="for example: from raw.files")
        functions = self._functions()
        try:
            check(self._reader, query, files=True, settings=True)
            if not self._vectorized and _calls(query, VECTORIZED):
                from warehouse.build.scalar_functions import register

                register(self._reader, functions)
                self._vectorized = True
            others = [name for name in functions if name not in VECTORIZED]
            if _calls(query, others):
                from cuvee.questions import Asking, answer

                asked = {name: functions[name] for name in others}
                asking = Asking(self._engines, self._lake, asked, self._reader, self._out, limit)
                table = answer(asking, query)
                if table is not None:
                    return self._reader.from_arrow(table)
            relation: duckdb.DuckDBPyRelation | None = self._reader.sql(query)  # None: a statement without rows
        except (duckdb.ParserException, duckdb.CatalogException, duckdb.BinderException) as error:
            from warehouse.graph.parsing import unknown_function

            raise UsageError(str(error), hint=unknown_function(str(error))) from None
        except duckdb.Error as error:
            hint = "tables change by ingest and build only" if "read-only" in str(error) else None
            raise Error(str(error), hint=hint) from None
        return relation if relation is not None else self._reader.sql("select null where false")

    def table(self, name: str) -> duckdb.DuckDBPyRelation:
        """Return a table, a view or a registered frame as a relation: ``raw.documents``, or a model's name.

        >>> lake.table("my_mixture").columns
        ['doc_id', 'component', 'copies', 'n_tokens']
        """
        import duckdb

        from warehouse.lake.quoting import quote

        try:
            return self._reader.sql(f"from {'.'.join(quote(part) for part in name.split('.'))}")
        except duckdb.CatalogException:
            hint = did_you_mean(name, self._names())
            raise UsageError(f"no table {name!r} in the lake", hint=hint) from None

    def _names(self) -> list[str]:
        """Return the names of tables and views; those of models without their schema, main."""
        rows = self._reader.sql(
            "select table_schema, table_name from information_schema.tables where table_catalog in ('lake', 'temp')"
        ).fetchall()
        return [table if schema == "main" else f"{schema}.{table}" for schema, table in rows]

    def register(self, name: str, frame: Any) -> None:
        """Let ``sql`` read a frame (pandas, Arrow, polars) under a name. Another frame may take its place.

        >>> import pandas
        >>> lake.register("mine", pandas.DataFrame({"source": ["kitchen"], "cook": ["Ada"]}))
        >>> lake.sql("select distinct cook from raw.occurrences join mine using (source)").fetchall()
        [('Ada',)]
        """
        import duckdb

        if self._reader.execute(
            "select 1 from information_schema.tables where table_catalog = 'lake' and table_schema = 'main'"
            " and lower(table_name) = lower(?)",
            [name],
        ).fetchone():
            raise UsageError(
                f"the lake has a table {name}", hint="a frame under this name would hide it: choose another"
            )
        try:
            self._reader.register(name, frame)
        except duckdb.Error as error:
            raise UsageError(f"cannot read the frame as a table: {error}") from error

    def ingest(
        self, documents: Any, *, source: str | None = None, text_field: str = "text", strict: bool = False
    ) -> IngestReport:
        """Read documents into the lake: a path, a glob, a folder or a URL, several of them, or a frame.

        A frame is pandas' (2.2 or later), Arrow's or any other that Arrow can read. Its column ``text_field`` has the
        texts; ``id``, ``url`` and ``source`` mean what they mean in files, and other columns become metadata. The same
        frame again adds nothing. Raises IngestError if a file could not be read: then the others are in the lake.

        >>> import pandas
        >>> report = lake.ingest(pandas.DataFrame({"text": ["Tea is made with hot water."]}), source="kitchen")
        >>> report.documents, report.rejected
        (1, 0)
        """
        from cuvee import frames
        from warehouse.ingest.inputs import find_inputs
        from warehouse.ingest.records import IngestOptions
        from warehouse.lake.remote import is_url

        if source == "":
            raise UsageError("source is empty", hint="leave it out, and each file gives its own")
        options = IngestOptions(source, text_field=text_field, strict=strict)
        if frames.is_frame(documents):
            with self._lake.staging() as staging:
                return self._ingest([frames.write(documents, staging.folder, options)], options)
        paths = frames.paths(documents)
        with contextlib.ExitStack() as stack:
            downloads = stack.enter_context(self._lake.staging()).folder if any(map(is_url, paths)) else None
            return self._ingest(find_inputs(paths, downloads), options)

    def _ingest(self, inputs: list[Input], options: IngestOptions) -> IngestReport:
        from warehouse.ingest.run import ingest

        total = sum(entry.path.stat().st_size for entry in inputs if entry.path.is_file()) / 1e6
        with self._out.progress("ingest", total, "MB") as progress:
            report = ingest(self._lake, inputs, options, lambda size, name: progress.advance(size / 1e6, name))
        if unreadable := [file for file in report.files if file.outcome == "unreadable"]:
            first = unreadable[0]
            raise IngestError(f"{len(unreadable)} files could not be read; first {first.path}: {first.note}", report)
        return report

    def label(self, texts: str | Iterable[str | None], *, labeler: str | None = None) -> pa.Table:
        """Label texts and keep nothing. Returns one row per text: text, a struct per category, status, raw.

        A struct has the codes ``primary`` and ``secondary``. The status is ok, partial, unparsed or error; ``raw`` is
        what the labeler wrote, or the error. A text that is None has NULL everywhere. The labeler is one of the project
        or of Cuvée: ``zero_shot`` unless it is named.

        The labeler stays loaded until another one is asked for, or until ``close``.

        >>> lake.label(["Bread is baked in an oven."], labeler="fake")["status"].to_pylist()
        ['ok']
        """
        from cuvee.questions import label

        return label(self._functions()["label_document"], texts, labeler, self._engines, self._out)

    def build(
        self,
        select: str | Sequence[str] = (),
        *,
        exclude: str | Sequence[str] = (),
        variables: Mapping[str, Any] | None = None,
        full_refresh: bool = False,
        limit: int | None = None,
    ) -> list[NodeResult]:
        """Build the project: seeds, snapshots and models in dependency order, each tested. Returns the results.

        ``select`` and ``exclude`` are dbt's (``"+orders"``, ``["tag:nightly", "orders"]``), ``variables`` are those of
        ``--vars``. ``limit`` bounds the new answers of each expensive function. Raises BuildError, with the results,
        if a node failed, as the command ends with exit code 1: dbtRunner returns ``success=False``, which is easily
        overlooked. What does not depend on the failed node is built. Raises Error if the project has mistakes.

        >>> {result.status for result in lake.build("components")}
        {'unchanged'}
        """
        from cuvee.progress import BuildProgress
        from warehouse.answers.budget import AnswerLimits
        from warehouse.build.build import build
        from warehouse.build.build_options import BuildOptions
        from warehouse.project.options import Selection

        if limit is not None and limit < 1:
            raise UsageError(f"limit is 1 or more, not {limit}")
        given = [(each,) if isinstance(each, str) else tuple(each) for each in (select, exclude)]
        options = BuildOptions(
            variables=dict(variables or {}), full_refresh=full_refresh, limits=AnswerLimits(limit=limit)
        )
        callback = BuildProgress(self._out)
        results = build(self._lake, self.project, Selection(given[0], given[1]), options, callback=callback)
        if failed := [result for result in results if result.failed]:
            skipped = sum(result.status == "skipped" for result in results)
            lines = [f"{len(failed)} of {len(results)} nodes failed" + (f", {skipped} skipped" if skipped else "")]
            lines += [f"{result.name} ({result.status}): {result.message}" for result in failed]
            raise BuildError("\n".join(lines), results)
        return results

    def mixture(self, name: str) -> MixtureReport:
        """Report what a mixture has, and what was asked of it. ``name@12`` is the mixture as of snapshot 12.

        >>> report = lake.mixture("my_mixture")
        >>> [part.component for part in report.components], report.documents > 0
        (['kitchen'], True)
        """
        from warehouse.mixtures.report import show

        with contextlib.closing(self._lake.reader()) as cursor:
            cursor.execute("begin transaction")
            return show(cursor, name)

    def export(
        self,
        mixture: str,
        out: _Path,
        *,
        format: Literal["tokens", "text"] = "tokens",
        tokenizer: str | None = None,
        sequence_length: int = 1024,
    ) -> ExportResult:
        """Write a mixture as MDS shards to a folder or a URL: packed token sequences, or texts.

        Tokens need the name of a tokenizer of the lake (``cuvee tokenizer list``). Doing it again does nothing. All
        other settings: ``cuvee export``.

        >>> lake.export("my_mixture", "exports/text", format="text").manifest.samples > 0
        True
        """
        from warehouse.cli.mixtures.export import export_progress
        from warehouse.export.packing import TextSamples, TokenSequences
        from warehouse.export.write import ExportRequest, export
        from warehouse.mixtures.tokenizers import load, tokenizers

        if format not in ("tokens", "text"):
            raise UsageError(f"format is tokens or text, not {format!r}")
        packing: TextSamples | TokenSequences = TextSamples()
        if format == "text" and tokenizer is not None:
            raise UsageError("tokenizer goes with format='tokens'")
        if format == "tokens":
            if tokenizer is None:
                hint = did_you_mean("", [each.name for each in tokenizers(self._lake)])
                hint = hint or "train one: cuvee tokenizer train NAME --from MODEL, or write texts: format='text'"
                raise UsageError("an export of tokens needs a tokenizer", hint=hint)
            bpe = load(self._lake, tokenizer)
            packing = TokenSequences(bpe, sequence_length, eos=bpe.end_of_text)
        request = ExportRequest(mixture, os.fspath(out), packing, tokenizer)
        return export(self._lake, request, export_progress(self._out))

    def runs(self) -> duckdb.DuckDBPyRelation:
        """Return the training runs as a relation, the latest first. Their values are in ``runs.metrics``.

        >>> lake.runs().columns[:3]
        ['run_id', 'recipe', 'arm']
        """
        return self.sql("from runs.runs order by started_at desc")


def _calls(query: str, names: Iterable[str]) -> bool:
    """Return whether a query may call one of some functions."""
    return re.search(rf"\b(?:{'|'.join(names)})\s*\(", query, re.IGNORECASE) is not None
