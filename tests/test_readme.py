"""README.md and docs/ are true: their commands run, in order, in an empty folder, and print what is shown.

Every page has a folder of its own, so a page's commands make all that it needs.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers import ROOT

README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
DEMO = ROOT / "docs" / "demo.md"


@dataclass(frozen=True)
class Command:
    """A command of a console block, and the output that the page shows for it."""

    text: str
    shown: tuple[str, ...]


def console_commands(page: Path) -> list[Command]:
    commands: list[Command] = []
    for block in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = part.rstrip("\n").split("\n")
            count = 1
            while not complete("\n".join(lines[:count])):
                count += 1
            commands.append(Command("\n".join(lines[:count]), tuple(line for line in lines[count:] if line.strip())))
    return commands


def complete(text: str) -> bool:
    """Whether the shell would run this: quotes are closed, and so is a here-document."""
    if here := re.search(r"<<'(\w+)'", text):
        return text.endswith("\n" + here[1])
    return not text.endswith("\\") and text.count('"') % 2 == 0 and text.count("'") % 2 == 0


def pattern(line: str) -> str:
    """A shown line with numbers, paths and the width of tables left open."""
    line = re.sub(r"(?<![\w.:/])/\S+", "/", line)
    line = re.sub(r"[\d.,]*\d", "0", line)
    line = re.sub(r"─+", "─", line)
    line = re.sub(r"█+", "█", line)
    return " ".join(re.sub(r"(file|record|document)s\b", r"\1", line).split())


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "CUVEE_LAKE"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=500, check=False
    )


def demo_commands() -> list[str]:
    """The demo as docs/demo.md shows it, without the line that makes its folder."""
    shown = re.search(r"<!-- demo:begin -->\n```sh\n(.*?)```", DEMO.read_text(encoding="utf-8"), re.DOTALL)
    assert shown
    first, *commands = shown[1].splitlines()
    assert first == "mkdir -p demo && cd demo"
    return commands


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", [README, *DOCS], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_runs_and_prints_what_is_shown(page: Path, tmp_path: Path) -> None:
    commands = console_commands(page)
    if page == README:
        assert len(commands) > 8
    for command in commands:
        done = shell(command.text, tmp_path)
        assert done.returncode == 0, f"{command.text}\n{done.stdout}\n{done.stderr}"
        output = done.stdout + done.stderr  # a terminal shows both
        printed = {pattern(line) for line in output.splitlines()}
        for line in command.shown:
            assert pattern(line) in printed, f"{command.text}\nshows: {line}\nprinted: {output}"


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


def test_every_page_is_linked_and_every_link_leads_somewhere() -> None:
    links = {page: re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")) for page in (README, *DOCS)}
    for page, targets in links.items():
        for target in targets:
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"
    index = links[ROOT / "docs" / "README.md"]
    assert {page.name for page in DOCS} - {"README.md"} <= set(index)


def test_the_demo_is_what_the_page_says() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^demo:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert recipe
    first, *commands = [line.strip() for line in recipe[1].splitlines()]
    assert first == "mkdir -p demo"
    assert commands == [f"cd demo && {command}" for command in demo_commands()]


@pytest.mark.timeout(900)
def test_the_demo_runs_at_a_smaller_size(tmp_path: Path) -> None:
    init, *commands = demo_commands()
    assert init == "cuvee init --example demo"
    done = shell(init, tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    project = tmp_path / "dbt_project.yml"
    text = project.read_text().replace("baseline_tokens: 400000", "baseline_tokens: 150000")
    project.write_text(text.replace("anneal_tokens: 125000", "anneal_tokens: 60000"))
    smaller = {
        "10MB": "2MB",
        "demo.yaml": "demo.yaml --set trunk.tokens=40k --set anneal.tokens=20k --set evaluation.samples=8"
        " --set seeds=[1,2]",
    }
    last = ""
    for command in commands:
        for before, after in smaller.items():
            command = command.replace(before, after)
        done = shell(command, tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        last = done.stdout
    assert "upsampled - control" in last and "verdict upsampled" in last
    for component in ("code", "legal", "prose"):
        assert re.search(rf"^ {component} +0\.\d+", last, re.MULTILINE)


def test_every_command_is_shown() -> None:
    from warehouse.cli.main import COMMANDS

    text = "".join(page.read_text(encoding="utf-8") for page in (README, *DOCS))
    for command in [*COMMANDS, "anneal", "checkpoint", "distil"]:
        assert re.search(rf"cuvee {command}\b", text), f"no page shows cuvee {command}"


def test_the_page_of_variables_is_what_cuvee_vars_prints(tmp_path: Path) -> None:
    done = shell("cuvee vars --json", tmp_path)
    assert done.returncode == 0, done.stderr
    cells = [[str(row[name]) for name in ("variable", "default", "meaning")] for row in json.loads(done.stdout)]
    expected = [f"| `{name}` | `{default}` | {meaning} |".replace("|  |", "| |") for name, default, meaning in cells]
    shown = [line for line in (ROOT / "docs" / "vars.md").read_text(encoding="utf-8").splitlines() if "| `" in line]
    assert shown == expected, "docs/vars.md should have these lines:\n" + "\n".join(expected)
