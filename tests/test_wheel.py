"""The session of a new user: a wheel installed alone, an empty folder, documents of his own, an export that is read."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers import ROOT, write_jsonl


@dataclass(frozen=True)
class Installed:
    """An environment that has the wheel and what it depends on, and nothing else."""

    python: Path

    def cuvee(self, folder: Path, *words: str, code: int = 0) -> str:
        """Run the command in a folder, as its user does; return both outputs."""
        environment = {name: value for name, value in os.environ.items() if name not in ("CUVEE_LAKE", "PYTHONPATH")}
        command = [str(self.python.parent / "cuvee"), *words]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == code, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)], check=True)
    (wheel,) = folder.glob("cuvee-*.whl")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    subprocess.run([*pip, "--python", str(python), "install", *constraints, str(wheel)], check=True)
    return Installed(python)


@pytest.fixture(scope="module")
def corpus(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real documents, and three more that quote benchmark items word for word."""
    folder = tmp_path_factory.mktemp("corpus")
    items = open_text(next((shared_data / "benchmarks/gsm8k").glob("test*")))
    questions = [json.loads(line)["question"] for line in items[:3]]
    planted = [f"A page about sums.\n\n{question}\n\nAnd more of it, in words of its own." for question in questions]
    records = [{"text": text, "url": f"https://planted.example/{n}"} for n, text in enumerate(planted)]
    write_jsonl(folder / "planted.jsonl", records)
    for person, levels in {"ada": (1, 2, 3), "bob": (1, 2, 2)}.items():
        labels = [f"https://planted.example/{n},{level}" for n, level in enumerate(levels)]
        (folder / f"{person}.csv").write_text("\n".join(["url,education_level", *labels]) + "\n")
    return folder


def open_text(path: Path) -> list[str]:
    """Return the lines of a file, which may be compressed."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return content.decode().splitlines()


def questions() -> list[str]:
    """The statements and commands of docs/questions.md."""
    page = (ROOT / "docs" / "questions.md").read_text().partition("<!-- questions:begin -->")[2]
    found = re.findall(r"^ +`(.+)`$", page, re.MULTILINE)
    assert len(found) == 12
    return found


@pytest.mark.timeout(900)
def test_a_stranger_gets_from_his_documents_to_shards(
    installed: Installed, corpus: Path, shared_data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "my_corpus"
    folder.mkdir()
    assert "models/components.sql" in installed.cuvee(folder, "init")
    settings = folder / "dbt_project.yml"
    assert "labelers: []" in settings.read_text(), "no labeler is there without the extra"
    settings.write_text(settings.read_text().replace("labelers: []", "labelers: [fake]"))
    domains, web = shared_data / "domains/domain_docs.jsonl.gz", shared_data / "web/dclm_human_quality.jsonl.gz"
    installed.cuvee(folder, "ingest", str(domains), "--source", "books")
    installed.cuvee(folder, "ingest", str(web), "--source", "web")
    installed.cuvee(folder, "ingest", str(corpus / "planted.jsonl"))
    for person in ("ada", "bob"):
        installed.cuvee(folder, "ingest", "--labels", str(corpus / f"{person}.csv"), "--labeler", person)
    benchmark = next((shared_data / "benchmarks/gsm8k").glob("test*"))
    assert "question" in installed.cuvee(folder, "ingest", str(benchmark), "--benchmark", "gsm8k")
    said = installed.cuvee(folder, "build")
    assert "labelled" in said and "held out" in said, "a build ends with what was looked at"
    installed.cuvee(folder, "build")  # the labels that were bought are labels of the lake now: what reads them is built
    assert " built" not in installed.cuvee(folder, "build"), "then there is nothing to do"

    def rows(query: str) -> list[dict[str, object]]:
        return json.loads(installed.cuvee(folder, "sql", "--json", "--quiet", query))

    found = rows(
        "select distinct url from contaminated_documents join raw.occurrences using (doc_id)"
        " where source = 'planted' order by url"
    )
    assert [row["url"] for row in found] == [f"https://planted.example/{n}" for n in range(3)]
    quoting = "select count(*) as n from my_mixture where doc_id in (select doc_id from contaminated_documents)"
    assert rows(quoting) == [{"n": 0}]
    (counts,) = rows(
        "select (select count(*) from documents) as documents, (select count(*) from document_labels where label is not"
        " null) as labelled, (select count(*) from document_tokens where n_tokens > 0) as counted"
    )
    assert counts["documents"] == counts["labelled"] == counts["counted"]
    assert "gsm8k" not in {row["component"] for row in rows("select distinct component from my_mixture")}
    shown = installed.cuvee(folder, "mixture", "show", "my_mixture")
    assert "books" in shown and "estimated" in shown
    for statement in questions():
        assert len(statement) <= 120, statement
        if statement.startswith("cuvee "):
            assert "books" in installed.cuvee(folder, *shlex.split(statement)[1:])
        else:
            assert rows(statement), statement
    installed.cuvee(folder, "export", "my_mixture", "--out", "exports/my_mixture", "--format", "text")
    code = (
        "from pathlib import Path; from streaming import StreamingDataset\n"
        "from warehouse.mds.shared_memory import exclusive_start\n"
        "folders = {path.parent for path in Path('exports/my_mixture').rglob('*.mds*')}\n"
        "with exclusive_start():\n"
        "    print(sum(len(StreamingDataset(local=str(each), batch_size=1)) for each in folders))"
    )
    read = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=300)
    assert read.returncode == 0, read.stderr
    (wanted,) = rows("select count(*) as n from my_mixture")
    assert int(read.stdout.split()[-1]) == wanted["n"]


def found_by(python: Path, cwd: Path) -> Path:
    """The package's folder, as a fresh process in that environment finds it."""
    code = "from warehouse.project.package import package_folder; print(package_folder())"
    done = subprocess.run([str(python), "-c", code], cwd=cwd, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


@pytest.mark.parametrize("form", ["sdist", "editable"])
def test_the_package_is_found_where_cuvee_was_installed_from(form: str, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    source = ["--editable", str(ROOT)]
    if form == "sdist":
        subprocess.run([*pip, "install", "--target", str(tmp_path / "tools"), "hatchling"], check=True)
        build = [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(tmp_path)]
        subprocess.run(build, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(tmp_path / "tools")}, check=True)
        source = [str(next(tmp_path.glob("cuvee-*.tar.gz")))]
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([*pip, "--python", str(python), "install", "--no-deps", *source], check=True)
    folder = found_by(python, tmp_path)
    assert (folder == ROOT / "sql") == (form == "editable")
    assert packaged(folder) == tracked()


def packaged(folder: Path) -> set[str]:
    """The files of a package, without what building it as a project leaves there."""
    inside = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name for name in inside if name.partition("/")[0] not in ("target", "logs")}


def tracked() -> set[str]:
    listed = subprocess.run(["git", "ls-files", "sql"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {name.removeprefix("sql/") for name in listed.split()}


def test_the_package_is_whole_and_may_be_read_only(installed: Installed, tmp_path: Path) -> None:
    folder = found_by(installed.python, tmp_path)
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == tracked()
    for each in [folder, *folder.rglob("*")]:
        each.chmod(0o555 if each.is_dir() else 0o444)  # as where an administrator installs
    try:
        installed.cuvee(tmp_path, "init")
        assert "train_pool" in installed.cuvee(tmp_path, "ls", "--select", "train_pool")
        installed.cuvee(tmp_path, "deps")
    finally:
        for each in [folder, *folder.rglob("*")]:
            each.chmod(0o755 if each.is_dir() else 0o644)
