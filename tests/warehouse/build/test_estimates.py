"""What a plan says of a build's price is what the build then pays."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.warehouse import expensive_functions
from warehouse.answers.budget import AnswerLimits
from warehouse.build import build as building
from warehouse.build.build_options import BuildOptions
from warehouse.build.estimates import Estimate, estimate
from warehouse.graph.loaded_project import open_project
from warehouse.lake.lake import Lake
from warehouse.project.options import Selection

FEW = BuildOptions(limits=AnswerLimits(commit_every=3))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "models").mkdir(parents=True)
    (root / "dbt_project.yml").write_text("name: priced\nmodels: {+materialized: table}\n")
    (root / "models/texts.sql").write_text("select 'text ' || (i % 10) as text from range({{ var('n', 40) }}) as t(i)")
    (root / "models/classes.sql").write_text("select length_class(text) as class from {{ ref('texts') }}")
    (root / "models/deeper.sql").write_text(
        "select mood(text || length_class(text)) as mood from {{ ref('texts') }} where text <> 'text 0'"
    )
    return root


def estimates(lake: Lake, project: Path, calls: Path) -> dict[str, list[Estimate]]:
    opened = open_project(lake, project, FEW, functions=expensive_functions.functions(calls))
    plan = building.plan(opened)
    return {each.step.name: estimate(opened, each, plan) for each in plan if each.changed}


def test_the_estimate_is_what_the_build_pays(lake: Lake, project: Path, tmp_path: Path) -> None:
    calls = tmp_path / "calls"

    def build(*names: str) -> int:
        before = len(calls.read_text().splitlines()) if calls.exists() else 0
        functions = expensive_functions.functions(calls, delay=0.002)
        assert not [
            r
            for r in building.build(lake, project, Selection(tuple(names)), options=FEW, functions=functions)
            if r.failed
        ]
        return len(calls.read_text().splitlines()) - before if calls.exists() else 0

    (unknown,) = estimates(lake, project, calls)["classes"]
    assert unknown.missing is None and "counted when" in unknown.words()

    build("texts")
    (first,) = estimates(lake, project, calls)["classes"]
    assert (first.inputs, first.missing, first.reused, first.seconds) == (10, 10, 0, None)
    assert first.tokens == 10 * len("text 0") / 4
    inner, outer = estimates(lake, project, calls)["deeper"]
    assert (inner.missing, outer.missing) == (9, None), "what the outer call is asked is known when the inner answered"
    assert build("classes") == first.missing

    deeper = estimates(lake, project, calls)["deeper"]
    assert [(each.missing, each.reused) for each in deeper] == [(0, 9), (9, 0)]
    assert build("deeper") == sum(each.missing or 0 for each in deeper)

    (project / "models/texts.sql").write_text("select 'text ' || i as text from range(15) as t(i)")
    build("texts")
    (more,) = estimates(lake, project, calls)["classes"]
    assert (more.missing, more.reused) == (5, 10)
    assert more.seconds is not None and more.seconds > 0
    assert "5 to answer (about" in more.words()
    assert build("classes") == 5
    assert estimates(lake, project, calls).keys() == {"deeper"}
