"""The labelers that a project can name: those in its folder ``labelers``, and those that come with Cuvée."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from udfs.errors import LabelerError, Location, UsageError, did_you_mean
from udfs.labels.labeler import Labeler
from udfs.labels.labelers.heads_labeler import heads_labeler
from udfs.labels.labelers.labeler_files import read
from udfs.labels.labelers.prompted import PromptedLabeler
from udfs.labels.labelers.zero_shot import zero_shot_labeler
from udfs.labels.spec import Spec
from udfs.labels.taxonomies.taxonomies import Taxonomies

#: The labelers that come with Cuvée.
SHIPPED = Path(__file__).with_name("shipped")


#: The seeds of the project that comes with Cuvée's repository: there are the codes of ``eai``.
SEEDS = Path(__file__).parents[3] / "sql" / "seeds"


def seeds(project: Path) -> Path:
    """Find a project's seed folder; without a project, Cuvée's own. Raises UsageError if there is neither."""
    for folder in (project / "seeds", SEEDS):
        if folder.is_dir():
            return folder
    raise UsageError(f"no project in {project}", hint="taxonomies are its seeds; name its folder with --project-dir")


@dataclass(frozen=True, slots=True)
class LabelerRegistry:
    """A project's labelers by name. ``seeds`` is its seed folder; the folder ``labelers`` is next to it.

    A file of the project replaces a shipped one of the same name.
    """

    seeds: Path

    def files(self) -> dict[str, Path]:
        """Return the labelers' files by name. Raises LabelerError if the project has two of one name."""
        found = {path.stem: path for path in sorted(SHIPPED.glob("*.yml"))}
        folder = self.seeds.parent / "labelers"
        for path in sorted([*folder.glob("*.yml"), *folder.glob("*.yaml")]):
            if found.get(path.stem, SHIPPED).parent == folder:
                hint = f"the other is {found[path.stem].name}"
                raise LabelerError(f"two labelers are named {path.stem}", where=Location(str(path)), hint=hint)
            found[path.stem] = path
        return found

    def spec(self, name: str) -> Spec:
        """Read a labeler's file. Raises UsageError with the nearest names; LabelerError with file and line."""
        files = self.files()
        if name not in files:
            hint = did_you_mean(name, files)
            raise UsageError(f"no labeler {name!r}", hint=hint or f"known: {', '.join(sorted(files))}")
        return read(files[name], Taxonomies(self.seeds))

    def get(self, name: str) -> Labeler:
        """Make a labeler. Loads no model."""
        return make_labeler(self.spec(name))


def make_labeler(spec: Spec) -> Labeler:
    """Return the labeler that a file describes. Loads no model."""
    match spec.backend:
        case "encoder":
            return zero_shot_labeler(spec)
        case "heads":
            return heads_labeler(spec)
        case _:
            return PromptedLabeler(spec)
