"""Labelling by batch files: what is written, and what is made of the responses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from udfs.labels.batchfile import Responses
from warehouse.build import build as building
from warehouse.cli.main import cli
from warehouse.lake.lake import Lake
from warehouse.project.options import Selection

LABELER = """
taxonomy: newsroom
backend: openai
model: {id: small}
prompt: {system: sort, user: "{{ text }}"}
generation: {max_tokens: 9}
"""
TWO = """
taxonomy: newsroom
backend: openai
model: {id: small}
generation: {max_tokens: 9, structured: true}
passes:
  - {categories: [desk], prompt: {user: "desk? {{ text }}"}}
  - {categories: [type], prompt: {user: "type? {{ text }}"}}
"""
TAXONOMY = """
categories:
  - {name: desk, labels: [{code: 1, label: Politics}, {code: 2, label: Sports}]}
  - {name: type, labels: [{code: a, label: News}, {code: b, label: Opinion}]}
"""
TEXTS = [f"page {n}" for n in range(20)]

Run = Callable[..., Result]
Request = dict[str, Any]


@pytest.fixture
def project(tmp_path: Path, lake: Lake) -> Path:
    root = tmp_path / "sql"
    (root / "seeds").mkdir(parents=True)
    for name, content in {
        "dbt_project.yml": "name: own\nversion: '1'\nmodels: {+materialized: table}\n",
        "labelers/desk.yml": LABELER,
        "labelers/two.yml": TWO,
        "labelers/other.yml": "taxonomy: newsroom\nbackend: fake\ngeneration: {max_tokens: 9}\n",
        "taxonomies/newsroom.yml": TAXONOMY,
        "models/few.sql": "select doc_id from {{ source('raw', 'documents') }} where text like 'page 1%'",
        "models/sources.yml": "sources: [{name: raw, tables: [{name: documents}]}]",
        "models/labelled.sql": "select text, label_document(text, 'desk') as label"
        " from {{ source('raw', 'documents') }}",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    documents = tmp_path / "pages.jsonl"
    documents.write_text("\n".join(json.dumps({"text": text}) for text in [*TEXTS, " \t "]))
    done = CliRunner().invoke(cli, ["ingest", str(documents), "--lake", str(lake.root)])
    assert done.exit_code == 0
    return root


@pytest.fixture
def run(project: Path, lake: Lake) -> Run:
    def call(*words: str | Path, code: int = 0) -> Any:
        done = CliRunner().invoke(
            cli, ["batch", *map(str, words), "--project-dir", str(project), "--lake", str(lake.root), "--json"]
        )
        if code:
            assert done.exception is not None
            return str(done.exception)
        assert done.exit_code == 0, done.exception
        return json.loads(done.stdout)

    return call


def lines(path: Path) -> list[Request]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def reply(request: Request, text: str = "1,2\na,skip") -> dict[str, Any]:
    body = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 5}}
    return {"id": "x", "custom_id": request["custom_id"], "response": {"status_code": 200, "body": body}, "error": None}


def refusal(request: Request, status: int, message: str) -> dict[str, Any]:
    body = {"error": {"message": message}}
    return {"custom_id": request["custom_id"], "response": {"status_code": status, "body": body}, "error": None}


def dump(path: Path, *responses: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in responses))
    return path


def rows(lake: Lake, columns: str) -> list[tuple[Any, ...]]:
    query = f"select {columns} from lake.labels.newsroom join lake.raw.documents using (doc_id) order by text"
    return lake.cursor().execute(query).fetchall()


def test_requests_are_openais(run: Run, tmp_path: Path, lake: Lake) -> None:
    written = run("write", "desk", "--out", tmp_path / "requests.jsonl")
    assert (written["documents"], written["requests"], written["answered"], written["aside"]) == (20, 20, 0, 1)
    requests = lines(tmp_path / "requests.jsonl")
    assert {request["body"]["messages"][-1]["content"] for request in requests} == set(TEXTS)
    known = {key for (key,) in lake.cursor().execute("select doc_id from lake.raw.documents").fetchall()}
    assert {request["custom_id"].split("/")[0] for request in requests} < known
    for request in requests:
        assert request.keys() == {"custom_id", "method", "url", "body"}
        assert (request["method"], request["url"]) == ("POST", "/v1/chat/completions")
        assert (request["body"]["model"], request["body"]["max_tokens"]) == ("small", 9)
    assert rows(lake, "text, status, desk.primary") == [(" \t ", "ok", "-1")]


def test_responses_are_answers_of_the_labeler(run: Run, tmp_path: Path, lake: Lake, project: Path) -> None:
    run("write", "desk", "--out", tmp_path / "requests.jsonl")
    first, second, third, fourth, fifth, *others = lines(tmp_path / "requests.jsonl")
    results = [
        refusal(first, 400, "too long"),
        reply(second, "1,2\nx,y"),
        reply(third, "hello"),
        {"custom_id": fourth["custom_id"], "response": None, "error": {"code": "expired", "message": "out of time"}},
        reply(fifth),
        reply(fifth, "2,1\nb,skip"),
        {**reply(first), "custom_id": "somebody else's"},
        {**reply(first), "custom_id": first["custom_id"].replace("/0/", "/1/")},
        {**reply(first), "custom_id": f"no such document/0/{first['custom_id'].split('/')[2]}"},
    ]
    path = dump(tmp_path / "responses.jsonl", *results)
    with path.open("a") as file:
        file.write("\n{'oops'\n[]\n" + "".join(json.dumps(reply(request)) + "\n" for request in others))
    read = run("read", "desk", path)
    assert read == {
        "statuses": {"error": 2, "unparsed": 2, "ok": 16}, "answered": 0, "incomplete": 0, "unknown": 1,
        "foreign": 2, "repeated": 1, "broken": 2, "first_broken": 11,
    }  # fmt: skip
    raw = {raw for status, raw in rows(lake, "status, raw") if status == "error"}
    assert raw == {"the server answers 400 too long", "the server answers 200 out of time"}
    assert {tokens for status, tokens in rows(lake, "status, tokens") if status == "unparsed"} == {5}
    again = run("read", "desk", path)
    assert (again["statuses"], again["answered"]) == ({}, 20)
    assert len(rows(lake, "status")) == 21
    (project / "models" / "labelled.sql").write_text(
        (project / "models" / "labelled.sql").read_text() + " {{ config(max_error_share=0.2) }}"
    )
    assert {each.name: each.status for each in building.build(lake, project)} == {"few": "built", "labelled": "built"}
    (count,) = lake.cursor().execute("select count(label.desk.primary) from lake.main.labelled").fetchone() or ()
    assert count == 17  # nothing was asked of a server: there is none


def test_only_documents_without_an_answer_are_written(run: Run, tmp_path: Path, lake: Lake) -> None:
    run("write", "desk", "--limit", "5", "--out", tmp_path / "first.jsonl")
    first = lines(tmp_path / "first.jsonl")
    assert len(first) == 5
    run("read", "desk", dump(tmp_path / "r.jsonl", refusal(first[0], 500, "ill"), *map(reply, first[1:])))
    written = run("write", "desk", "--out", tmp_path / "second.jsonl")
    assert (written["documents"], written["answered"]) == (15, 5)
    second = lines(tmp_path / "second.jsonl")
    assert not {each["custom_id"] for each in first} & {each["custom_id"] for each in second}
    run("write", "desk", "--retry", "error", "--out", tmp_path / "third.jsonl")
    third = lines(tmp_path / "third.jsonl")
    assert {each["custom_id"] for each in third} == {each["custom_id"] for each in [first[0], *second]}
    read = run("read", "desk", dump(tmp_path / "r.jsonl", *map(reply, third)))
    assert read["statuses"] == {"ok": 16}
    assert run("write", "desk", "--out", tmp_path / "none.jsonl")["files"] == []
    assert not (tmp_path / "none.jsonl").exists()


def test_files_are_split_between_documents(run: Run, tmp_path: Path) -> None:
    written = run("write", "two", "--split", "7", "--out", tmp_path / "requests.jsonl")
    assert [Path(each).name for each in written["files"]] == [f"requests-{n}.jsonl" for n in range(1, 8)]
    files = [lines(Path(each)) for each in written["files"]]
    assert [len(each) for each in files] == [6, 6, 6, 6, 6, 6, 4]
    for requests in files:
        passes = [tuple(request["custom_id"].split("/")[:2]) for request in requests]
        assert {number for _, number in passes} == {"0", "1"}
        assert len({key for key, _ in passes}) == len(passes) / 2
    assert {request["body"]["structured_outputs"]["regex"] for each in files for request in each} == {
        "(?:(?:1|2),(?:skip|(?:1|2))|-1,skip)",
        "(?:(?:a|b),(?:skip|(?:a|b))|-1,skip)",
    }
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_passes_meet_from_several_files(run: Run, tmp_path: Path, lake: Lake) -> None:
    run("write", "two", "--limit", "3", "--out", tmp_path / "requests.jsonl")
    requests = lines(tmp_path / "requests.jsonl")
    desks = [reply(each, "1,2") for each in requests if "/0/" in each["custom_id"]]
    types = [reply(each, "b,skip") for each in requests if "/1/" in each["custom_id"]]
    first, second = dump(tmp_path / "desks.jsonl", *desks), dump(tmp_path / "types.jsonl", *types[1:])
    read = run("read", "two", first, second)
    assert (read["statuses"], read["incomplete"]) == ({"ok": 2}, 1)
    found = rows(lake, "desk.primary, desk.secondary, type.primary")
    assert found.count(("1", "2", "b")) == 2
    assert run("write", "two", "--limit", "1", "--out", tmp_path / "requests.jsonl")["documents"] == 1


def test_documents_are_those_of_a_model_or_of_sql(run: Run, tmp_path: Path, lake: Lake, project: Path) -> None:
    sql = "select doc_id from raw.documents where text like 'page 1%'"
    assert run("write", "desk", "--from", sql, "--out", tmp_path / "a.jsonl")["documents"] == 11
    assert "build the model first" in run("write", "desk", "--from", "few", "--out", tmp_path / "b.jsonl", code=2)
    building.build(lake, project, Selection(("few",)))
    assert run("write", "desk", "--from", "few", "--out", tmp_path / "b.jsonl")["documents"] == 11
    assert "did you mean few?" in run("write", "desk", "--from", "fiew", "--out", tmp_path / "b.jsonl", code=2)
    assert "column doc_id" in run("write", "desk", "--from", "select 1 as n", "--out", tmp_path / "b.jsonl", code=2)


def test_answers_to_older_settings_are_left_alone(run: Run, tmp_path: Path, project: Path, lake: Lake) -> None:
    run("write", "desk", "--out", tmp_path / "requests.jsonl")
    path = dump(tmp_path / "responses.jsonl", *map(reply, lines(tmp_path / "requests.jsonl")))
    (project / "labelers" / "desk.yml").write_text(LABELER.replace("sort", "sort well"))
    read = run("read", "desk", path)
    assert (read["statuses"], read["foreign"]) == ({}, 20)


def test_labelers_that_cannot_say_so(run: Run, tmp_path: Path, project: Path) -> None:
    out = tmp_path / "requests.jsonl"
    assert "backend openai, which other does not have" in run("write", "other", "--out", out, code=2)
    assert "did you mean desk?" in run("write", "desc", "--out", out, code=2)
    (project / "labelers" / "desk.yml").write_text(LABELER.replace("id: small", "folder: seeds"))
    assert "engine: {endpoint: chat}" in run("write", "desk", "--out", out, code=2)
    assert "cannot read" in run("read", "two", tmp_path / "nowhere.jsonl", code=2)
    assert "cannot write" in run("write", "two", "--out", tmp_path / "no" / "where.jsonl", code=2)


@given(st.lists(st.binary() | st.text().map(str.encode) | st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["custom_id", "response", "error", "body", "choices", "message", "status_code", "usage"]),
        inner, max_size=5,
    ), max_leaves=12,
).map(lambda value: json.dumps(value).encode())))  # fmt: skip
def test_no_line_raises(text: list[bytes]) -> None:
    responses = Responses("f" * 32, 1)
    found = list(responses.read(text))
    assert len(found) + responses.broken + responses.foreign + responses.repeated <= len(text)


@given(st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["error", "body", "choices", "message", "content", "status_code", "usage", "prompt_tokens"]),
        inner, max_size=5,
    ), max_leaves=20,
))  # fmt: skip
def test_every_response_of_ours_is_an_answer(response: Any) -> None:
    line = json.dumps({"custom_id": f"key/0/{'f' * 32}", "response": response, "error": None}).encode()
    (answer,) = Responses("f" * 32, 1).read([line])
    assert answer.key == "key"
    assert answer.error is not None or isinstance(answer.text, str)
