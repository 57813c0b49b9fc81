"""cuvee run-operation: a macro, called by itself."""

from __future__ import annotations

import click

from warehouse.cli.output import Output, output_options
from warehouse.cli.project_options import ProjectOptions, mapping, reading_options


@click.command(name="run-operation")
@click.argument("name", metavar="MACRO")
@click.option("--args", "arguments", default="{}", metavar="YAML", help="The macro's arguments: '{days: 30}'.")
@reading_options
@output_options
def run_operation(project: ProjectOptions, name: str, arguments: str, out: Output) -> None:
    """Call a macro of the project. It may ask the lake; each statement that changes it is a commit.

    What the macro logs or prints is the output.

        cuvee run-operation drop_old --args '{schema: scratch}'
    """
    from warehouse.build import operations
    from warehouse.graph.loaded_project import open_project

    given = mapping("--args", arguments, "{days: 30}")
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        out.text(line)

    opened = open_project(project.lake(), project.project_dir, project.options(), say=say)
    value = operations.run(opened, name, given)
    if out.as_json:
        out.json({"macro": name, "said": said, "value": value.strip() if isinstance(value, str) else value})
