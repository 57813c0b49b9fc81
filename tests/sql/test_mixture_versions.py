"""The macro's SQL on DuckDB before and after the one that Cuvée runs on: the same rows.

Each release is installed into a folder of its own, once per run, and asked in a process of its own.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import pytest

from tests.helpers import FIXTURES, absent
from tests.sql.mixture_definition import NAMES, render

RELEASES = ("duckdb==1.4.*", "duckdb>=2,<3")
ASK = """
import json, sys, duckdb
answers = []
for pool, query in json.load(sys.stdin):
    connection = duckdb.connect()
    connection.execute("create table pool as " + pool)
    try:
        answers.append(sorted(map(list, connection.execute(query).fetchall())))
    except duckdb.Error as error:
        answers.append(str(error))
print(json.dumps([duckdb.__version__, answers]))
"""
#: 40,000 documents of four components, some in several.
LARGE = f"""
select md5(n::varchar) as doc_id, 1 + n * 7919 % 4999 as n_tokens, tag as component, place as position
from range(40000) t(n), (select unnest({NAMES}) as tag, unnest(range({len(NAMES)})) as place) as tags
where n % 4 = place or n % 11 = place
"""


def questions() -> list[tuple[str, str]]:
    """The cases written as SQL, and the macro's choices over a large pool."""
    text = (FIXTURES / "mixture" / "mixture.sql").read_text()
    asked = [re.split(r";\n", block.strip().partition("\n")[2])[:2] for block in text.split("\n\n")[1:]]
    found = [(pool, render(call)) for pool, call in asked if _renders(call)]
    shares = {
        name: float(Fraction(share)) for name, share in zip(NAMES, ("34.35", "36.7", "7.17", "21.78"), strict=True)
    }
    choices = (
        "tokens=30000000, max_epochs=4",
        "tokens=30000000, max_epochs=4, overlap='first'",
        "tokens='all', overlap='first'",
        "tokens=90000000, max_epochs=2, shortfall='spill', overlap='first'",
        "tokens=30000000, max_epochs=4, overlap='all'",
        "budget=100000000, window=0.2, leave_out='web', freed='code', overlap='first', max_epochs=2",
    )
    calls = (f"{{{{ mixture('pool', shares=shares, {choice}) }}}}" for choice in choices)
    return found + [(LARGE, render(call, shares=shares)) for call in calls]


def _renders(call: str) -> bool:
    try:
        render(call)
    except jinja2.TemplateRuntimeError:
        return False
    return True


def answered(pool: str, query: str) -> Any:
    with duckdb.connect() as connection:
        connection.execute("create table pool as " + pool)
        try:
            return sorted(map(list, connection.execute(query).fetchall()))
        except duckdb.Error as error:
            return str(error)


@pytest.mark.prove
@pytest.mark.parametrize("release", RELEASES)
def test_another_release_of_duckdb_gives_the_same_rows(release: str, tmp_path: Path) -> None:
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path), release]
    installed = subprocess.run(install, capture_output=True, text=True, check=False)
    if installed.returncode:
        absent(f"{release} cannot be installed: {installed.stderr.strip()[-200:]}")
    asked = questions()
    done = subprocess.run(
        [sys.executable, "-c", ASK], input=json.dumps(asked), env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    version, answers = json.loads(done.stdout)
    assert version != duckdb.__version__
    large = [answer for (pool, _), answer in zip(asked, answers, strict=True) if pool == LARGE]
    assert len(large) == 6 and all(isinstance(answer, list) and len(answer) > 1000 for answer in large)
    for (pool, query), theirs in zip(asked, answers, strict=True):
        assert theirs == answered(pool, query), (version, query[:200])
