"""cuvee build, and run, seed, snapshot and test, which do a part of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from warehouse.cli.answering import Progress
from warehouse.cli.output import Output, output_options
from warehouse.cli.project_options import (
    Asked,
    SelectingCommand,
    asking_options,
    fail_fast_option,
    part_options,
    project_options,
    refresh_option,
    store_option,
)

if TYPE_CHECKING:
    from warehouse.answers.call_stats import Tally
    from warehouse.build.plan import Plan
    from warehouse.project.outcome import Result, Watcher


@click.command(cls=SelectingCommand)
@project_options
@refresh_option
@part_options
@store_option
@fail_fast_option
@asking_options
@output_options
def build(asked: Asked, out: Output, **flags: Any) -> None:
    """Build seeds, snapshots and models and test them, in dependency order.

    What did not change is not built again. A failed test keeps what lies downstream from being built.

        cuvee build --select +orders
    """
    from warehouse.build import build_cache

    options = asked.options(**flags)
    began = time.perf_counter()
    lake = asked.lake()
    results = build_cache.look(lake, asked.project_dir, asked.select, asked.exclude, options)
    if results is None:
        from warehouse.build.build import build as run

        results = run(lake, asked.project_dir, asked.select, asked.exclude, options, watcher=terminal(out))
    else:
        from warehouse.artifacts import artifacts

        call = artifacts.invocation("build", asked.project_dir, asked.select, asked.exclude, options)
        with artifacts.unless_unwritable(out.note):
            artifacts.write_run_results(call, results)
    report(out, results, time.perf_counter() - began)


@click.command(cls=SelectingCommand)
@project_options
@refresh_option
@part_options
@fail_fast_option
@asking_options
@output_options
def run(asked: Asked, out: Output, **flags: Any) -> None:
    """Build models that changed; no seeds, and no tests.

    cuvee run --select orders+
    """
    _build_part(asked, out, ["model"], **flags)


@click.command(cls=SelectingCommand)
@project_options
@refresh_option
@output_options
def seed(asked: Asked, out: Output, **flags: Any) -> None:
    """Load the seeds that changed.

    cuvee seed --select taxonomy
    """
    _build_part(asked, out, ["seed"], **flags)


@click.command(cls=SelectingCommand)
@project_options
@fail_fast_option
@output_options
def snapshot(asked: Asked, out: Output, **flags: Any) -> None:
    """Add to the snapshots what changed in what they read. History stays, whatever else changes.

    cuvee snapshot --select orders_history
    """
    _build_part(asked, out, ["snapshot"], **flags)


@click.command(cls=SelectingCommand)
@project_options
@store_option
@output_options
def test(asked: Asked, out: Output, **flags: Any) -> None:
    """Run the project's tests, changed or not; build nothing.

    cuvee test --select orders
    """
    _build_part(asked, out, ["test", "unit_test"], **flags)


def _build_part(asked: Asked, out: Output, kinds: list[str], **flags: Any) -> None:
    from warehouse.build.build import build as run

    began = time.perf_counter()
    options, watcher = asked.options(**flags), terminal(out)
    results = run(asked.lake(), asked.project_dir, asked.select, asked.exclude, options, watcher=watcher, kinds=kinds)
    report(out, results, time.perf_counter() - began)


def terminal(out: Output) -> Watcher:
    """A watcher that tells what happens on standard error."""
    from warehouse.project.outcome import Watcher

    class Terminal(Watcher):
        """Tells each node's end on standard error as it comes."""

        def started(self, plan: Plan) -> None:
            self.total, self.done = sum(1 for _ in plan), 0

        def finished(self, result: Result) -> None:
            self.done += 1
            if result.status == "unchanged":
                return
            rows = f"{result.rows:,} rows" if result.rows is not None and result.status == "built" else ""
            took = f"{result.seconds:.2f} s" if result.seconds else ""
            name = result.relation or result.name
            line = f"{self.done:>4}/{self.total}  {result.status:<8} {result.kind:<12} {name}"
            out.note(f"{line}  {', '.join(part for part in (rows, took) if part)}".rstrip())
            if result.status in ("error", "fail", "warn", "limited", "skipped") and result.message:
                out.note("      " + result.message.replace("\n", "\n      "))

        def answering(self, tally: Tally) -> Callable[[Tally], None]:
            out.note(f"      {tally.title}: {tally.missing:,} to answer, {tally.reused:,} answered before")
            return progress.begin(out)

        def answered(self, tally: Tally) -> None:
            progress.end()
            if tally.done:
                out.note(f"      {tally.summary()}")

        def say(self, line: str) -> None:
            progress.say(out, line)

    progress = Progress()
    return Terminal()


def report(out: Output, results: list[Result], seconds: float) -> None:
    """Print what became of the nodes. Raises BuildError if any failed."""
    counts: dict[str, int] = {}
    for result in results:
        counts[result.status] = counts.get(result.status, 0) + 1
    if out.as_json:
        out.json([{name: getattr(result, name) for name in type(result).__dataclass_fields__} for result in results])
    else:
        order = ("built", "unchanged", "pass", "warn", "fail", "error", "limited", "skipped")
        said = ", ".join(f"{counts[status]} {status}" for status in order if status in counts) or "nothing selected"
        out.text(f"{said} in {seconds:.2f} s")
    failed = [result for result in results if result.failed]
    if failed:
        from warehouse.project.outcome import BuildError

        details = [f"{result.name}: {result.message}" for result in failed] if out.quiet else []
        stopped = [result.name for result in failed if result.status == "limited"]
        broken = [result.name for result in failed if result.status != "limited"]
        parts = [f"failed: {', '.join(broken)}"] if broken else []
        parts += [f"not finished, run again to go on: {', '.join(stopped)}"] if stopped else []
        raise BuildError("\n".join([*parts, *details]))
