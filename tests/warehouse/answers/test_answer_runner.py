"""What a build may ask, what it says meanwhile, and how it is stopped."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import ROOT, SQL
from tests.warehouse.expensive_functions import Bound, functions
from udfs.errors import CuveeError, UsageError
from udfs.expensive import Price
from warehouse.answers.budget import AnswerLimits, Budget, Cost, parse_cost, parse_statuses
from warehouse.answers.call_stats import CallStats
from warehouse.build.build import build
from warehouse.build.build_options import BuildOptions
from warehouse.build.execution.build_run import BuildCallback
from warehouse.cli.main import cli
from warehouse.lake.lake import Lake
from warehouse.project.results import NodeResult

FAKE = (ROOT / "udfs/labels/labelers/shipped/fake.yml").read_text()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "sql"
    (root / "models").mkdir(parents=True)
    (root / "labelers").mkdir()
    (root / "seeds").mkdir()
    for name in ("taxonomy.csv", "fdc.csv"):
        (root / "seeds" / name).write_bytes((SQL / "seeds" / name).read_bytes())
    (root / "dbt_project.yml").write_text("name: p\nmodels: {p: {+materialized: table}}\n")
    (root / "models/labelled.sql").write_text(
        "select doc_id, label_document(text, 'fake').document_type_v2.primary as kind from raw.documents"
    )
    (root / "models/below.sql").write_text("select count(*) as n from {{ ref('labelled') }}")
    (root / "labelers/priced.yml").write_text(FAKE + "price: {input: 100, output: 400, currency: EUR}\n")
    return root


def add(lake: Lake, count: int, text: str = "text ") -> None:
    with lake.commit("documents") as commit:
        commit.sql(
            "insert into lake.raw.documents select left(sha256(t), 32), t, length(t), 'f'"
            f" from (select '{text}' || i as t from range({count}) as r(i))"
        )


def statuses(results: list[NodeResult]) -> dict[str, str]:
    return {result.name: result.status for result in results if result.kind not in ("seed",)}


def answers(lake: Lake) -> int:
    row = lake.cursor().execute("select count(distinct doc_id) from labels.eai").fetchone()
    return int(row[0]) if row else 0


def test_a_limit_is_kept_and_the_next_build_goes_on(lake: Lake, project: Path) -> None:
    add(lake, 2500)
    results = build(lake, project, options=BuildOptions(limits=AnswerLimits(limit=1000)))
    assert statuses(results) == {"labelled": "limited", "below": "skipped"}
    (limited,) = [result for result in results if result.name == "labelled"]
    assert "1,000 of 2,500 answered, --limit 1000 is reached" in limited.message and "run again" in limited.message
    assert answers(lake) == 1000
    assert (
        statuses(build(lake, project, options=BuildOptions(limits=AnswerLimits(limit=1000))))["labelled"] == "limited"
    )
    assert answers(lake) == 2000
    assert statuses(build(lake, project, options=BuildOptions(limits=AnswerLimits(limit=1000)))) == {
        "labelled": "built",
        "below": "built",
    }
    assert lake.cursor().execute("from main.below").fetchone() == (2500,)


def test_the_command_that_meets_a_limit_fails_and_says_how_to_go_on(lake: Lake, project: Path) -> None:
    add(lake, 30)
    arguments = ["build", "--lake", str(lake.root), "--project-dir", str(project), "--limit", "20"]
    done = CliRunner().invoke(cli, arguments)
    assert isinstance(done.exception, CuveeError) and done.exception.exit_code == 1
    assert "not finished, run again to go on: labelled" in str(done.exception)
    assert "label_document(fake): 20 answered in" in done.output
    kept = json.loads((project / "target/run_results.json").read_text())
    assert kept["args"]["limit"] == 20
    assert {each["unique_id"]: each["status"] for each in kept["results"]}["model.p.labelled"] == "skipped"
    again = CliRunner().invoke(cli, ["retry", *arguments[1:5]])
    assert again.exit_code == 0, again.output


def test_costs_are_kept_in_tokens_and_in_money(lake: Lake, project: Path) -> None:
    add(lake, 3000)
    build(lake, project, options=BuildOptions(limits=AnswerLimits(max_cost=Cost(30_000))))
    spent = lake.cursor().execute("select sum(tokens), count(*) from labels.eai").fetchone()
    assert spent is not None and 25_000 < spent[0] <= 30_000
    model = project / "models/labelled.sql"
    with pytest.raises(UsageError, match="states no price"):
        raise_first(build(lake, project, options=BuildOptions(limits=AnswerLimits(max_cost=Cost(1, "EUR")))))
    model.write_text(model.read_text().replace("'fake'", "'priced'"))
    before = answers(lake)
    with pytest.raises(UsageError, match="its price in EUR"):
        raise_first(build(lake, project, options=BuildOptions(limits=AnswerLimits(max_cost=Cost(1, "USD")))))
    watched = Watched()
    build(lake, project, options=BuildOptions(limits=AnswerLimits(max_cost=Cost(5, "EUR"))), callback=watched)
    (tally,) = watched.tallies
    assert 4 < tally.money <= 5 and "EUR" in tally.summary()
    assert tally.reused == before and answers(lake) == before + tally.done, "a price is no part of the fingerprint"


class Watched(BuildCallback):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.tallies: list[CallStats] = []

    def answered(self, tally: CallStats) -> None:
        self.tallies.append(tally)


def raise_first(results: list[NodeResult]) -> None:
    for result in results:
        if result.failed:
            raise UsageError(result.message)


def test_answers_are_asked_for_again_by_status_and_once(lake: Lake, tmp_path: Path, project: Path) -> None:
    (project / "models/below.sql").unlink()
    (project / "models/labelled.sql").write_text(
        "{{ config(max_error_share=1) }} select length_class(text) as n from raw.documents"
    )
    add(lake, 10)
    add(lake, 5, "bad ")
    calls = tmp_path / "calls"
    build(lake, project, functions=functions(calls))
    assert len(calls.read_text().split()) == 15
    add(lake, 1, "another ")
    build(lake, project, functions=functions(calls), options=BuildOptions(limits=AnswerLimits(retry=("unparsed",))))
    assert len(calls.read_text().split()) == 16
    add(lake, 1, "one more ")
    build(
        lake,
        project,
        functions=functions(calls),
        options=BuildOptions(limits=AnswerLimits(retry=("unparsed", "error"), commit_every=2)),
    )
    assert len(calls.read_text().split()) == 22, "the new one, and each of the five errors once"


@pytest.mark.parametrize("text", ["", "0", "five", "5 dollars", "5 k USD", "1e", "-3", "2M EUR", "5 USD EUR"])
def test_costs_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_cost(text)
    assert refused.value.exit_code == 2


def test_statuses_are_known_ones() -> None:
    assert parse_statuses("error, unparsed,error") == ("error", "unparsed")
    with pytest.raises(UsageError, match="eror") as refused:
        parse_statuses("eror")
    assert refused.value.hint == "did you mean error?"
    with pytest.raises(UsageError, match="'ok'"):
        parse_statuses("ok")


@given(
    st.integers(1, 5000),
    st.lists(st.integers(1, 300), min_size=1, max_size=60),
)
def test_a_budget_of_equal_answers_is_never_exceeded(amount: int, batches: list[int]) -> None:
    budget, each, spent = Budget(cost=Cost(amount + 320)), 10, 0
    for wanted in batches:
        grant = budget.grant("f")
        assert grant is not None
        sent = min(wanted, grant)
        budget.send("f", sent)
        budget.pay("f", sent, sent * each, 0.0)
        spent += sent * each
    assert spent <= amount + 320


def test_figures_while_answers_come() -> None:
    tally = CallStats("label_document(x)", 1000, 200, Price(1, 2, "USD"))
    tally.start()
    tally.count({"ok": 90, "partial": 5, "unparsed": 5}, 50_000)
    tally.count({"error": 10}, 0)
    tally.found(800)
    assert (tally.done, tally.left, tally.elsewhere, tally.parsed) == (110, 800, 90, 0.95)
    line = tally.line()
    for part in (
        "110 of 910",
        "documents/s",
        "tokens/s",
        "left",
        "95.0 % parsed",
        "10 error",
        "50k tokens",
        "0.00 USD",
    ):
        assert part in line
    tally.stop()
    assert "90 by another build" in tally.summary() and "200 answered before" in tally.summary()


# --- Ctrl-C ---------------------------------------------------------------------------------------------------------

#: ``cuvee build`` with functions whose every call takes a while and is counted in a file.
COMMAND = """
import sys
from pathlib import Path
import warehouse.graph.loaded_project
from tests.warehouse.expensive_functions import functions
from warehouse.cli.main import main
calls, delay = sys.argv[1:3]
warehouse.graph.loaded_project._registered = lambda lake, root: functions(Path(calls), float(delay))
sys.argv[1:] = sys.argv[3:]
main()
"""


def interrupted(
    lake: Lake, project: Path, calls: Path, times: int, number: signal.Signals = signal.SIGINT
) -> tuple[int, str]:
    """The exit code and the words of a build that is interrupted after some calls, by so many signals."""
    command = ["build", "--lake", str(lake.root), "--project-dir", str(project)]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(calls), "0.01", *command],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not calls.exists() or calls.stat().st_size < 33 * 30:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    for _ in range(times):
        process.send_signal(number)
        time.sleep(0.5)
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_finishes_what_is_in_flight_and_commits_it(
    lake: Lake, project: Path, tmp_path: Path, number: signal.Signals
) -> None:
    (project / "models/labelled.sql").write_text("select length_class(text) as n from raw.documents")
    add(lake, 1200)
    calls = tmp_path / "calls"
    code, output = interrupted(lake, project, calls, times=1, number=number)
    assert code == 130, output
    assert "what is in flight is finished and committed; Ctrl-C again stops at once" in output
    sent = calls.read_text().split()
    stored = {row[0] for row in lake.cursor().execute("select doc_id from counts.length_class").fetchall()}
    assert stored == set(sent) and 30 <= len(sent) < 1200, "all that was sent is committed, and no more was sent"
    assert not list((lake.root / "leases").iterdir())
    assert not any(result.failed for result in build(lake, project, functions=functions(calls)))
    assert sorted(calls.read_text().split()) == sorted({*calls.read_text().split()}), "nothing is paid for twice"


def test_a_second_ctrl_c_stops_at_once_and_loses_no_answer(lake: Lake, project: Path, tmp_path: Path) -> None:
    (project / "models/labelled.sql").write_text("select length_class(text) as n from raw.documents")
    add(lake, 1200)
    calls = tmp_path / "calls"
    code, output = interrupted(lake, project, calls, times=2)
    assert code == 130, output
    sent = calls.read_text().split()
    assert len(sent) < 512, "the batch in flight is not finished"
    stored = lake.cursor().execute("select count(*) from counts.length_class").fetchone()
    assert stored is not None and len(sent) - 1 <= stored[0] <= len(sent)


def test_a_function_that_ends_early_for_no_reason_is_an_error(lake: Lake, project: Path) -> None:
    (project / "models/labelled.sql").write_text("select length_class(text) as n from raw.documents")
    add(lake, 20)

    class Lazy(Bound):
        def answers(self, inputs: Any) -> Any:
            for batch in inputs:
                yield from super().answers(iter([batch.slice(0, 15)]))

    class Function:
        name = "length_class"

        def bind(self, options: Any) -> Bound:
            bound = functions()["length_class"].bind(options)
            return Lazy(**{name: getattr(bound, name) for name in bound.__dataclass_fields__})

    (failed,) = [
        result for result in build(lake, project, functions={"length_class": Function()}) if result.status == "error"
    ]
    assert "answered 15 of 20 inputs" in failed.message
