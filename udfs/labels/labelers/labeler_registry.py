"""The labelers that a project can name: those in its folder ``labelers``, and those that come with Cuvée."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from udfs.errors import Location, UsageError, did_you_mean
from udfs.labels.backends import backends
from udfs.labels.labelers.labeler import LabelerError, Spec, read
from udfs.labels.labels import Labeler
from udfs.labels.taxonomies.taxonomies import Taxonomies

#: The labelers that come with Cuvée.
SHIPPED = Path(__file__).with_name("shipped")


#: The seeds of the project that comes with Cuvée's repository: there are the codes of ``eai``.
SEEDS = Path(__file__).parents[3] / "sql" / "seeds"


def seeds(project: Path) -> Path:
    """A project's seed folder; where there is no project, Cuvée's own. Raises UsageError if there is neither."""
    for folder in (project / "seeds", SEEDS):
        if folder.is_dir():
            return folder
    raise UsageError(f"no project in {project}", hint="taxonomies are its seeds; name its folder with --project-dir")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A project's labelers by name. ``seeds`` is its seed folder; the folder ``labelers`` lies beside it.

    A file of the project stands in for a shipped one of the same name.
    """

    seeds: Path

    def files(self) -> dict[str, Path]:
        """The labelers' files by name. Raises LabelerError if the project has two of one name."""
        found = {path.stem: path for path in sorted(SHIPPED.glob("*.yml"))}
        folder = self.seeds.parent / "labelers"
        for path in sorted([*folder.glob("*.yml"), *folder.glob("*.yaml")]):
            if found.get(path.stem, SHIPPED).parent == folder:
                hint = f"the other is {found[path.stem].name}"
                raise LabelerError(f"two labelers are named {path.stem}", where=Location(str(path)), hint=hint)
            found[path.stem] = path
        return found

    def spec(self, name: str) -> Spec:
        """What a labeler's file says. Raises UsageError with the nearest names; LabelerError with file and line."""
        files = self.files()
        if name not in files:
            hint = did_you_mean(name, files)
            raise UsageError(f"no labeler {name!r}", hint=hint or f"known: {', '.join(sorted(files))}")
        return read(files[name], Taxonomies(self.seeds))

    def get(self, name: str) -> Labeler:
        """A labeler, ready to be asked. Loads no model."""
        return labeler(self.spec(name))


def labeler(spec: Spec) -> Labeler:
    """The labeler that a file describes. Loads no model."""
    if not backends.BACKENDS[spec.backend].writes:
        return backends.judge(spec)
    from udfs.labels.labelers.prompted import PromptedLabeler

    return PromptedLabeler(spec)
