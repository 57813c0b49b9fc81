"""Write a new project, as ``dbt init`` does: the files of a starter, none over a file that is there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from udfs import yamlfile
from udfs.errors import UsageError
from warehouse.project.package import COPY, NAME, package_folder

#: The starters by name. ``NAME`` in a file means the project's name, ``LABELERS`` for its labelers.
STARTERS = Path(__file__).with_name("starters")
_FOLDERS = ("labelers", "taxonomies")


@dataclass(frozen=True, slots=True)
class Written:
    """What ``write`` did: the project's name, the files that are new, and those that were there."""

    name: str
    new: tuple[Path, ...]
    kept: tuple[Path, ...]


def write(folder: Path, starter: str, labelers: tuple[str, ...]) -> Written:
    """Write the files of a starter that ``folder`` lacks.

    A folder that has a dbt project keeps its dbt_project.yml, profiles.yml and models; the starter's model of
    components is left out there, since the project does not disable the one of Cuvée's package.
    """
    source = STARTERS / starter
    settings = folder / "dbt_project.yml"
    has_project = settings.is_file()
    name = str((yamlfile.parse(settings.read_text(), str(settings)) or {}).get("name")) if has_project else ""
    name = name or (_name(folder) if starter == "project" else starter)
    new, kept = [], []
    for file in sorted(each for each in source.rglob("*") if each.is_file()):
        inner = file.relative_to(source)
        if has_project and inner == Path("models/components.sql"):
            continue
        target = folder / inner.with_name(".gitignore" if inner.name == "gitignore" else inner.name)
        if target.exists():
            kept.append(target.relative_to(folder))
            continue
        text = (
            file.read_text(encoding="utf-8").replace("<name>", name).replace("<labelers>", f"[{', '.join(labelers)}]")
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as handle:
            handle.write(text)
        new.append(target.relative_to(folder))
    for each in _FOLDERS:
        (folder / each).mkdir(exist_ok=True)
    return Written(name, tuple(new), tuple(kept))


def copy_package(folder: Path) -> tuple[Path, bool]:
    """Copy Cuvée's package into a project for dbt, and name the copy in packages.yml.

    Returns the copy's folder, and whether packages.yml was changed. Raises UsageError where there is no project.
    """
    import shutil

    if not (folder / "dbt_project.yml").is_file():
        raise UsageError(f"no dbt_project.yml in {folder.resolve()}", hint="write a project here: cuvee init")
    target = folder / COPY
    fresh = target.with_name("package.new")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(package_folder(), fresh, ignore=shutil.ignore_patterns("target", "logs", "dbt_packages"))
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
    packages = folder / "packages.yml"
    text = packages.read_text(encoding="utf-8") if packages.is_file() else ""
    known = yamlfile.parse(text, "packages.yml") if text.strip() else None
    listed = (known or {}).get("packages") or []
    if any(isinstance(entry, dict) and entry.get("local") == COPY.as_posix() for entry in listed):
        return target, False
    entry = f"packages:\n  - local: {COPY.as_posix()}"
    if listed:
        text = re.sub(r"^packages:[^\S\n]*$", entry, text, count=1, flags=re.MULTILINE)
    else:  # nothing is listed: comments stay
        kept = [line for line in text.splitlines() if not line.startswith("packages:")]
        text = "\n".join([*kept, entry]) + "\n"
    packages.write_text(text, encoding="utf-8")
    return target, True


def _name(folder: Path) -> str:
    """Return a project's name from that of its folder; never the package's."""
    name = re.sub(r"\W+", "_", folder.resolve().name, flags=re.ASCII).strip("_").lower()
    if not name or name[0].isdigit() or name == NAME:
        name = f"my_{name or 'project'}"
    return name
