"""cuvee docs: pages about the project."""

from __future__ import annotations

from pathlib import Path

import click

from udfs.errors import UsageError
from warehouse.cli.output import Output, output_options, project_option
from warehouse.cli.project_options import ProjectOptions, SelectingCommand, project_options, target_path_option


@click.group()
def docs() -> None:
    """Write pages about the project, and serve them.

    cuvee docs generate
    """


@docs.command(cls=SelectingCommand)
@project_options
@output_options
def generate(project: ProjectOptions, out: Output) -> None:
    """Write manifest.json, catalog.json and index.html into the project's target/. Needs no network to be read.

    The catalog and the page always tell of the whole project.

        cuvee docs generate
    """
    from warehouse.artifacts.docs import write_catalog, write_page
    from warehouse.artifacts.invocation import MANIFEST, invocation
    from warehouse.artifacts.manifest import write_manifest

    opened = project.open(out)
    call = invocation("generate", opened.root, project.selection(), opened.options)
    try:
        write_manifest(opened, call)
        catalog = write_catalog(opened, call)
        page = write_page(opened, catalog, call.folder)
    except OSError as error:
        raise UsageError(f"cannot write {error.filename}: {error.strerror}") from error
    out.text(f"wrote {page}: {len(catalog['nodes']) + len(catalog['sources'])} relations")
    if out.as_json:
        out.json({"page": str(page), "manifest": str(call.folder / MANIFEST)})


@docs.command()
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="Where; 0 takes any.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@target_path_option
@project_option
@output_options
def serve(port: int, host: str, target_path: Path | None, project_dir: Path, out: Output) -> None:
    """Serve what cuvee docs generate wrote, until it is stopped.

    cuvee docs serve --port 8000
    """
    import functools
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    from warehouse.artifacts.docs import PAGE

    folder = target_path or project_dir / "target"
    if not (folder / PAGE).is_file():
        raise UsageError(f"no {PAGE} in {folder}", hint="write it first: cuvee docs generate")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    try:
        server = ThreadingHTTPServer((host, port), handler)
    except OSError as error:
        raise UsageError(f"cannot listen at {host}:{port}: {error.strerror}", hint="another --port") from error
    with server:
        out.text(f"http://{host}:{server.server_port}")
        server.serve_forever()
