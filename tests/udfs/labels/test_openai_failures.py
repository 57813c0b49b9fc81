"""What a server refuses, breaks off or garbles: whose failure it is, and what is kept."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.udfs.labels.openai_labelers import Make, openai_labelers
from tests.udfs.labels.small_server import Reply, always, of, refuses, says, server, statuses
from udfs.errors import CuveeError
from udfs.expensive import INPUT_SCHEMA
from udfs.labels.label_document import BoundLabeler

pytest.importorskip("openai")

KEY = "sk-proj-4fQz81LmPq77TrXw"


@pytest.fixture
def make(tmp_path: Path, seeds: Path) -> Iterator[Make]:
    with openai_labelers(tmp_path, seeds) as make:
        yield make


def test_one_bad_row_fails_alone(make: Make, ask: Any) -> None:
    replies = {
        "long": [refuses(400, "the prompt has 9,000 tokens, of 2,048")],
        "withheld": [Reply(body={"choices": [{"finish_reason": "content_filter", "message": {"content": ""}}]})],
        "refused": [Reply(body={"choices": [{"message": {"content": None, "refusal": "I cannot."}}]})],
        "odd": [Reply(body={"result": []})],
        "page": [Reply(body="<html>hello</html>")],
        "cut": [says("food,tra", "length")],
    }
    with server(of(replies)) as served:
        texts = [*replies, *[f"good {n}" for n in range(30)]]
        rows = dict(zip(texts, ask(BoundLabeler(make(served.url)), texts), strict=True))
    assert {text: rows[text]["raw"] for text in replies} == {
        "long": "the server answers 400 the prompt has 9,000 tokens, of 2,048",
        "withheld": "the server's content filter withholds the answer",
        "refused": "the model refuses: I cannot.",
        "odd": "the server's answer is not in form: {'result': []}",
        "page": "the server's answer is not in form: <html>hello</html>",
        "cut": "food,tra",
    }
    assert {rows[text]["status"] for text in replies if text != "cut"} == {"error"}
    assert rows["cut"]["status"] == "unparsed"
    assert {row["status"] for text, row in rows.items() if text.startswith("good")} == {"ok"}
    assert len(served.requests) == len(texts)


def test_a_busy_server_is_asked_again_when_it_says(make: Make, ask: Any) -> None:
    replies = {
        "busy": [refuses(429, "slow down", Retry_After="1"), says("food,skip")],
        "ill": [refuses(500, "oops"), refuses(503, "oops"), says("food,skip")],
        "slow": [Reply(wait=5), says("food,skip")],
    }
    with server(of(replies)) as served:
        assert statuses(ask(BoundLabeler(make(served.url, timeout=1.5)), list(replies))) == ["ok"] * 3
        asked = [request["messages"][-1]["content"] for request in served.requests]
        assert {text: asked.count(text) for text in replies} == {"busy": 2, "ill": 3, "slow": 2}
        first, second = (moment for moment, text in zip(served.times, asked, strict=True) if text == "busy")
        assert second - first >= 1  # it waited at least as long as it was told


def test_a_row_that_no_attempt_helps_fails_alone(make: Make, ask: Any) -> None:
    replies = {"ill": [refuses(500, "oops", x_should_retry="false")], "slow": [Reply(wait=5)]}
    with server(of(replies)) as served:
        rows = ask(BoundLabeler(make(served.url, retries=0, timeout=0.5)), ["ill", "slow", "good"])
    assert [row["raw"] for row in rows] == ["the server answers 500 oops", "no answer within 0.5 seconds", "food,skip"]


@pytest.mark.parametrize(
    ("reply", "says_"),
    [
        (refuses(401, "who are you?"), r"(?s)does not accept the key.*OPENAI_API_KEY"),
        (refuses(404, "no model"), r"(?s)has no model 'small': the server answers 404 no model.*did you mean smaller"),
        (refuses(429, "no more money"), r"(?s)429 no more money.*asked 1 times"),
        (refuses(402, "pay"), "402 pay"),
        (refuses(400, "unknown field min_p"), r"32 prompts in a row failed.*400 unknown field min_p"),
    ],
)
def test_what_concerns_every_row_is_raised(make: Make, ask: Any, monkeypatch: Any, reply: Reply, says_: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with server(always(reply), models=("smaller",)) as served:
        with pytest.raises(CuveeError, match=says_):
            ask(BoundLabeler(make(served.url, retries=0)), [f"text {n}" for n in range(100)])
        assert len(served.requests) < 60


ALONE = [Reply(0), refuses(401, "no"), refuses(402, "no"), refuses(404, "no"), refuses(429, "no"), refuses(500, "no")]


@pytest.mark.parametrize("reply", ALONE, ids=lambda reply: str(reply.status))
@pytest.mark.parametrize("at_once", [1, 4])
def test_what_one_document_meets_alone_is_its_own_error(make: Make, ask: Any, reply: Reply, at_once: int) -> None:
    texts = ["bad 1", *(f"text {n}" for n in range(20)), "bad 2", "bad 3"]
    with server(of({text: [reply] for text in texts if "bad" in text})) as served:
        rows = ask(BoundLabeler(make(served.url, retries=0, concurrency=at_once)), texts)
    assert statuses(rows) == ["error" if "bad" in text else "ok" for text in texts]
    assert all(row["raw"].strip() for row in rows)


@pytest.mark.parametrize("reply", ALONE, ids=lambda reply: str(reply.status))
def test_what_was_answered_is_handed_on_before_anything_is_raised(make: Make, reply: Reply) -> None:
    """The server answers 60 and nothing else; then no document is one that failed.

    An error 500 may be one document's, if a response that was on its way comes after it: there is none here.
    """
    answered: set[str] = set()

    def sixty(body: dict[str, Any], before: int) -> Reply:
        with lock:
            if len(answered) == 60:
                return reply
            answered.add(body["messages"][-1]["content"])
            return says("food,skip")

    lock = threading.Lock()
    with server(sixty) as served:
        texts = [f"text {n}" for n in range(200)]
        batch = pa.record_batch([texts, texts], schema=INPUT_SCHEMA)
        got: dict[str, str] = {}
        with pytest.raises(CuveeError):
            labeler = make(served.url, retries=0, concurrency=1 if reply.status == 500 else 4)
            for found in BoundLabeler(labeler).answers(iter([batch])):
                got |= dict(zip(found["key"].to_pylist(), found["status"].to_pylist(), strict=True))
    assert got == dict.fromkeys(answered, "ok")


JSON = {"Content-Type": "application/json"}
ODD = [
    '{"choices": [{"message": {"content": "food,skip"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1e999}}',
    '{"choices": [{"message": {"content": "food,skip"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1e30}}',
    '{"choices": [{"message": {"content": "food,skip"}, "finish_reason": "stop"}], "usage": "none"}',
    '{"choices": [{"message": {"content": "food,skip"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": -1}}',
]
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["choices", "message", "content", "usage", "error", "finish_reason"]), inner)
    ),
    max_leaves=12,
)


def test_no_answer_of_a_server_ends_the_asking(make: Make, ask: Any) -> None:
    deep = '{"choices": ' + "[" * 5000 + "]" * 5000 + "}"
    lone = r'{"choices": [{"message": {"content": "food \ud800"}, "finish_reason": "stop"}]}'
    with server(always(says("food,skip"))) as served:
        function = BoundLabeler(make(served.url, retries=0))
        for body in ODD:
            served.reply = always(Reply(200, body, JSON))
            (row,) = ask(function, [body])
            assert row["status"] == "ok" and row["tokens"] >= 0, body
        for body in ("", "null", "[]", "\x00", "{", deep, lone):
            served.reply = always(Reply(200, body, JSON))
            (row,) = ask(function, ["x" + body[:30]])
            assert row["status"] in ("error", "unparsed", "partial"), body[:40]

        @settings(max_examples=500 if os.environ.get("CUVEE_PROVE") else 40, deadline=None)
        @given(JSONS | st.text(max_size=40), st.sampled_from([200, 200, 200, 500, 400]))
        def any_body(body: object, status: int) -> None:
            served.reply = always(Reply(status, body, JSON))
            (row,) = ask(function, [f"text {len(served.requests)}"])
            assert row["status"] in ("ok", "error", "unparsed", "partial")
            served.reply = always(says("food,skip"))  # so that no row of failures grows too long
            assert ask(function, [f"good {len(served.requests)}"])[0]["status"] == "ok"

        any_body()


def test_a_server_that_is_not_there_is_named(make: Make, ask: Any) -> None:
    with server(always(says("food,skip"))) as served:
        url = served.url
    with pytest.raises(CuveeError, match=rf"(?s)cannot reach the server at {url}.*vllm serve MODEL"):
        ask(BoundLabeler(make(url, retries=1)), ["a"])
