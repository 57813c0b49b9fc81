"""The errors of ``cuvee``: all are an ``Error``; two have a report of what was done nevertheless."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from udfs.errors import CuveeError, ProjectError

if TYPE_CHECKING:
    from warehouse.ingest.run import IngestReport
    from warehouse.project.results import NodeResult

#: The base of all errors that Cuvée raises on purpose.
Error = CuveeError


class BuildError(ProjectError):
    """Nodes of a build failed. ``results`` has the result of every node, as ``build`` would have returned them."""

    def __init__(self, message: str, results: Sequence[NodeResult]) -> None:
        super().__init__(message)
        self.results = list(results)


class IngestError(Error):
    """Files could not be read. All others are in the lake; ``report`` is about both."""

    def __init__(self, message: str, report: IngestReport) -> None:
        super().__init__(message, hint="all others are in the lake; see .report")
        self.report = report
