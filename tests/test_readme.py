"""The README is true: its commands run, in order, in a folder of a newcomer, and print what it shows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers import RECIPES, ROOT, SQL

README = (ROOT / "README.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Command:
    """A command of a console block, and the output that the README shows for it."""

    text: str
    shown: tuple[str, ...]


def console_commands() -> list[Command]:
    commands: list[Command] = []
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL):
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
    return text.count('"') % 2 == 0 and text.count("'") % 2 == 0


def pattern(line: str) -> str:
    """A shown line with numbers, paths and the width of tables left open."""
    line = re.sub(r"/\S+", "/", line)
    line = re.sub(r"[\d.,]*\d", "0", line)
    line = re.sub(r"─+", "─", line)
    return " ".join(re.sub(r"(file|record|document)s\b", r"\1", line).split())


def newcomer(folder: Path) -> Path:
    """A folder with what a clone has: the SQL project and the recipes."""
    shutil.copytree(SQL, folder / "sql", ignore=shutil.ignore_patterns("target", "logs"))
    shutil.copytree(RECIPES, folder / "training" / "recipes")
    return folder


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "CUVEE_LAKE"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=500, check=False
    )


@pytest.mark.timeout(900)
def test_every_command_runs_and_prints_what_is_shown(tmp_path: Path) -> None:
    folder = newcomer(tmp_path)
    commands = console_commands()
    assert len(commands) > 15
    for command in commands:
        done = shell(command.text, folder)
        assert done.returncode == 0, f"{command.text}\n{done.stdout}\n{done.stderr}"
        printed = {pattern(line) for line in done.stdout.splitlines()}
        for line in command.shown:
            assert pattern(line) in printed, f"{command.text}\nshows: {line}\nprinted: {done.stdout}"


def test_the_demo_is_what_the_readme_says() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^demo:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    shown = re.search(r"<!-- demo:begin -->\n```sh\n(.*?)```", README, re.DOTALL)
    assert recipe and shown
    assert [line.strip() for line in recipe[1].splitlines()] == shown[1].splitlines()


@pytest.mark.timeout(900)
def test_the_demo_runs_at_a_smaller_size(tmp_path: Path) -> None:
    folder = newcomer(tmp_path)
    project = folder / "sql" / "dbt_project.yml"
    text = project.read_text().replace("baseline_tokens: 1000000", "baseline_tokens: 150000")
    project.write_text(text.replace("anneal_tokens: 300000", "anneal_tokens: 60000"))
    shown = re.search(r"<!-- demo:begin -->\n```sh\n(.*?)```", README, re.DOTALL)
    assert shown
    smaller = {
        "24MB": "2MB",
        "8192": "2048",
        "demo.yaml": "demo.yaml --set trunk.tokens=40k --set anneal.tokens=20k --set evaluation.samples=8",
    }
    last = ""
    for command in shown[1].splitlines():
        for before, after in smaller.items():
            command = command.replace(before, after)
        done = shell(command, folder)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        last = done.stdout
    assert "upsampled - control" in last
    for component in ("code", "legal", "prose"):
        assert re.search(rf"^ {component} +0\.\d+", last, re.MULTILINE)


def test_every_command_is_in_the_readme() -> None:
    from warehouse.cli.main import COMMANDS

    for command in [*COMMANDS, "anneal", "checkpoint", "distil"]:
        assert f"cuvee {command}" in README, f"the README never shows cuvee {command}"
