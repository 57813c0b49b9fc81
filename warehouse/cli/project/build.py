"""cuvee build, and run, seed, snapshot and test, which do a part of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from udfs.errors import ProjectError
from warehouse.cli.answer_progress import AnswerProgress
from warehouse.cli.output import Output, coloured, output_options
from warehouse.cli.plain import Styled, plain
from warehouse.cli.project_options import (
    BuildFlags,
    ProjectOptions,
    SelectingCommand,
    asking_options,
    build_flags,
    fail_fast_option,
    part_options,
    project_options,
    refresh_option,
    store_option,
)

if TYPE_CHECKING:
    from warehouse.answers.call_stats import CallStats
    from warehouse.build.coverage import Coverage
    from warehouse.build.execution.build_run import BuildCallback
    from warehouse.build.plan import Plan
    from warehouse.project.results import NodeResult


@click.command(cls=SelectingCommand)
@project_options
@build_flags(refresh_option, part_options, store_option, fail_fast_option, asking_options)
@output_options
def build(project: ProjectOptions, flags: BuildFlags, out: Output) -> None:
    """Build seeds, snapshots and models and test them, in dependency order.

    What did not change is not built again. A failed test keeps what is downstream from being built.

        cuvee build --select +orders
    """
    from warehouse.build.build_cache import BuildCache

    began = time.perf_counter()
    options, selection, lake = project.options(flags), project.selection(), project.lake()
    results = BuildCache(lake, project.project_dir, selection, options).load()
    if results is None:
        from warehouse.build.build import build as run

        results = run(lake, project.project_dir, selection, options, callback=terminal(out))
    else:
        from warehouse.artifacts.invocation import invocation, unless_unwritable, write_run_results

        call = invocation("build", project.project_dir, selection, options)
        with unless_unwritable(out.note):
            write_run_results(call, results)
    report(out, results, time.perf_counter() - began)


@click.command(cls=SelectingCommand)
@project_options
@build_flags(refresh_option, part_options, fail_fast_option, asking_options)
@output_options
def run(project: ProjectOptions, flags: BuildFlags, out: Output) -> None:
    """Build models that changed; no seeds, and no tests.

    cuvee run --select orders+
    """
    _build_part(project, flags, ("model",), out)


@click.command(cls=SelectingCommand)
@project_options
@build_flags(refresh_option)
@output_options
def seed(project: ProjectOptions, flags: BuildFlags, out: Output) -> None:
    """Load the seeds that changed.

    cuvee seed --select taxonomy
    """
    _build_part(project, flags, ("seed",), out)


@click.command(cls=SelectingCommand)
@project_options
@build_flags(fail_fast_option)
@output_options
def snapshot(project: ProjectOptions, flags: BuildFlags, out: Output) -> None:
    """Add to the snapshots what changed in what they read. History stays, whatever else changes.

    cuvee snapshot --select orders_history
    """
    _build_part(project, flags, ("snapshot",), out)


@click.command(cls=SelectingCommand)
@project_options
@build_flags(store_option)
@output_options
def test(project: ProjectOptions, flags: BuildFlags, out: Output) -> None:
    """Run the project's tests, changed or not; build nothing.

    cuvee test --select orders
    """
    _build_part(project, flags, ("test", "unit_test"), out)


def _build_part(project: ProjectOptions, flags: BuildFlags, kinds: tuple[str, ...], out: Output) -> None:
    from warehouse.build.build import build as run

    began = time.perf_counter()
    options, selection = project.options(flags), project.selection(kinds=kinds)
    results = run(project.lake(), project.project_dir, selection, options, callback=terminal(out))
    report(out, results, time.perf_counter() - began)


def terminal(out: Output) -> BuildCallback:
    """Make a callback that prints what happens on standard error."""
    from warehouse.build.execution.build_run import BuildCallback

    class Terminal(BuildCallback):
        """Prints the result of each node on standard error as it comes."""

        def started(self, plan: Plan) -> None:
            self.total, self.done = sum(1 for _ in plan), 0

        def finished(self, result: NodeResult) -> None:
            self.done += 1
            if result.status == "unchanged":
                return
            rows = f"{result.rows:,} rows" if result.rows is not None and result.status == "built" else ""
            took = f"{result.seconds:.2f} s" if result.seconds else ""
            name = result.relation or result.name
            status = coloured(f"{result.status:<8}", result.status)
            line = f"{self.done:>4}/{self.total}  {status} {result.kind:<12} {plain(name)}"
            out.note(Styled(f"{line}  {', '.join(part for part in (rows, took) if part)}".rstrip()))
            if result.status in ("error", "fail", "warn", "limited", "skipped") and result.message:
                out.note("      " + result.message.replace("\n", "\n      "))

        def covered(self, coverage: Coverage) -> None:
            for line in coverage.lines():
                out.note(line)

        def answering(self, tally: CallStats) -> Callable[[CallStats], None]:
            out.note(f"      {tally.title}: {tally.missing:,} to answer, {tally.reused:,} answered before")
            return progress.begin(out)

        def answered(self, tally: CallStats) -> None:
            progress.end()
            if tally.done:
                out.note(f"      {tally.summary()}")

        def say(self, line: str) -> None:
            progress.say(out, line)

    progress = AnswerProgress()
    return Terminal()


def report(out: Output, results: list[NodeResult], seconds: float) -> None:
    """Print what became of the nodes. Raises ProjectError if any failed."""
    counts: dict[str, int] = {}
    for result in results:
        counts[result.status] = counts.get(result.status, 0) + 1
    if out.as_json:
        out.json([{name: getattr(result, name) for name in type(result).__dataclass_fields__} for result in results])
    else:
        order = ("built", "unchanged", "pass", "warn", "fail", "error", "limited", "skipped")
        said = [coloured(f"{counts[status]} {status}", status) for status in order if status in counts]
        out.text(Styled(f"{', '.join(said) or 'nothing selected'} in {seconds:.2f} s"))
    failed = [result for result in results if result.failed]
    if failed:
        details = [f"{result.name}: {result.message}" for result in failed] if out.quiet else []
        stopped = [result.name for result in failed if result.status == "limited"]
        broken = [result.name for result in failed if result.status != "limited"]
        parts = [f"failed: {', '.join(broken)}"] if broken else []
        parts += [f"not finished, run again to go on: {', '.join(stopped)}"] if stopped else []
        raise ProjectError("\n".join([*parts, *details]))
