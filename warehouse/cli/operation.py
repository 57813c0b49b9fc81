"""cuvee run-operation: a macro, called by itself."""

from __future__ import annotations

from pathlib import Path

import click

from udfs.errors import UsageError
from warehouse.cli.build import build_options
from warehouse.cli.output import Output, lake_option, open_lake, output_options, project_option


@click.command(name="run-operation")
@click.argument("name", metavar="MACRO")
@click.option("--args", "arguments", default="{}", metavar="YAML", help="The macro's arguments: '{days: 30}'.")
@click.option("--vars", "variables", default="{}", metavar="YAML", help="Variables, as YAML: '{seed: 18}'.")
@click.option("--target", "-t", metavar="NAME", help="The target of profiles.yml to run for.")
@project_option
@lake_option
@output_options
def run_operation(
    name: str,
    arguments: str,
    variables: str,
    target: str | None,
    project_dir: Path,
    lake_dir: Path | None,
    out: Output,
) -> None:
    """Call a macro of the project. It may ask the lake; each statement that changes it is a commit.

    What the macro logs or prints is the output.

        cuvee run-operation drop_old --args '{schema: scratch}'
    """
    from warehouse import operations, yamlfile
    from warehouse.opened import open_project

    try:
        given = yamlfile.parse(arguments, "--args") or {}
    except yamlfile.YamlError as error:
        raise UsageError(error.message, where=error.where, hint="--args '{days: 30}'") from error
    if not isinstance(given, dict):
        raise UsageError(f"--args is a YAML mapping, not {arguments!r}", hint="--args '{days: 30}'")
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        out.text(line)

    opened = open_project(open_lake(lake_dir), project_dir, build_options(variables, target), say=say)
    value = operations.run(opened, name, given)
    if out.as_json:
        out.json({"macro": name, "said": said, "value": value.strip() if isinstance(value, str) else value})
