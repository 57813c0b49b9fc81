"""Labels from a server with OpenAI's API: what is sent, what is made of its moods, and what is never told."""

from __future__ import annotations

import gc
import logging
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.udfs.labels.openai_labelers import Make, openai_labelers
from tests.udfs.labels.small_server import Reply, always, of, refuses, says, server, statuses
from tests.udfs.labels.tiny_qwen import ADDED, SPECIAL, make_tokenizer
from udfs.errors import CuveeError
from udfs.labels.backends import wire
from udfs.labels.backends.engine import Prompt
from udfs.labels.backends.openai import Key
from udfs.labels.label_document import BoundLabeler

pytest.importorskip("openai")

KEY = "sk-proj-4fQz81LmPq77TrXw"


@pytest.fixture
def make(tmp_path: Path, seeds: Path) -> Iterator[Make]:
    with openai_labelers(tmp_path, seeds) as make:
        yield make


def test_a_request_says_all_that_the_labeler_says(make: Make, ask: Any) -> None:
    with server(always(says("food,travel"))) as served:
        labeler = make(served.url, engine=", extra_body: {priority: 3, chat_template_kwargs: {think: false}}")
        (row,) = ask(BoundLabeler(labeler), ["a page"])
        assert row["domain"] == {"primary": "food", "secondary": "travel"}
        assert (row["status"], row["tokens"], row["raw"]) == ("ok", 12, "food,travel")
        assert served.paths == ["/v1/chat/completions"]
        assert served.requests == [
            {
                "model": "small",
                "messages": [{"role": "system", "content": "sort"}, {"role": "user", "content": "a page"}],
                "max_tokens": 9,
                "temperature": 0.0,
                "top_p": 1.0,
                "top_k": -1,
                "min_p": 0.0,
                "repetition_penalty": 1.0,
                "presence_penalty": 0.0,
                "frequency_penalty": 0.0,
                "priority": 3,
                "chat_template_kwargs": {"think": False},
            }
        ]


def test_servers_get_what_they_know(make: Make, ask: Any) -> None:
    with server(always(says("food,skip"))) as served:
        ask(BoundLabeler(make(served.url, engine=", server: openai", generation=", temperature: 0.5, seed: 3")), ["a"])
        assert served.requests[-1].keys() == {
            "model", "messages", "max_completion_tokens", "temperature", "top_p", "seed"
        }  # fmt: skip
        labeler = make(served.url, generation=", structured: true")
        ask(BoundLabeler(labeler), ["a"])
        pattern = served.requests[-1]["structured_outputs"]["regex"]
        assert pattern == labeler.spec.passes[0].codec.pattern
        ask(BoundLabeler(make(served.url, engine=", server: sglang", generation=", structured: true")), ["a"])
        assert served.requests[-1]["regex"] == pattern
        with pytest.raises(CuveeError, match="openai cannot see to"):
            ask(BoundLabeler(make(served.url, engine=", server: openai", generation=", structured: true")), ["a"])


def test_a_named_variable_must_be_set(make: Make, ask: Any) -> None:
    with pytest.raises(CuveeError, match="variable MY_KEY, with the server's key, is not set"):
        ask(BoundLabeler(make("http://127.0.0.1:9/v1", engine=", api_key_env: MY_KEY")), ["a"])


def test_the_key_is_sent_and_told_to_nobody(
    make: Make, ask: Any, monkeypatch: Any, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MY_KEY", KEY)
    echo = f"bad header: Bearer {KEY}, or {KEY[:15]}"
    replies = {
        "echo": [refuses(400, echo)],
        "raw": [Reply(400, echo)],
        "inside": [Reply(400, {"detail": [{"authorization": f"Bearer {KEY}"}]})],
        "spoken": [says(f"food,skip {KEY}")],
        "odd": [Reply(body={"header": echo})],
    }
    with server(of(replies)) as served:
        labeler = make(served.url, engine=", api_key_env: MY_KEY")
        function = BoundLabeler(labeler)
        rows = ask(function, [*replies, "good"])
        assert set(served.authorizations) == {f"Bearer {KEY}"}
        shown = [repr(rows), repr(labeler), repr(labeler.spec), repr(labeler.engine), repr(vars(labeler.engine))]
        assert rows[0]["raw"] == "the server answers 400 bad header: Bearer [key] or [key]"
        errors = []
        for reply in (refuses(401, echo), refuses(404, echo), refuses(429, echo)):
            served.reply = always(reply)
            with pytest.raises(CuveeError) as caught:
                ask(function, [f"{reply.status}"])
            chain: BaseException | None = caught.value
            while chain is not None:
                errors += [str(chain), repr(chain), repr(vars(chain))]
                chain = chain.__cause__ or chain.__context__
        monkeypatch.setenv("MY_KEY", "sk-another-key-altogether")
        assert make(served.url, engine=", api_key_env: MY_KEY").fingerprint == function.fingerprint
    out, err = capfd.readouterr()
    gc.collect()
    everything = "\n".join([*shown, *errors, caplog.text, out, err])
    assert len(errors) == 9
    assert not [start for start in range(len(KEY) - 7) if KEY[start : start + 8] in everything]


@settings(max_examples=30)
@given(st.text(min_size=8), st.text(), st.text())
def test_no_text_shows_a_key(value: str, before: str, after: str) -> None:
    hidden = Key(value, "X").hide(f"{before} {value} {after}")
    if not re.search(r"\s", value) and value not in "[key]":
        assert value not in hidden


def test_the_address_is_no_place_for_a_key(make: Make) -> None:
    for url in (f"https://user:{KEY}@host/v1", f"https://host/v1?key={KEY}", "ftp://host", "localhost:8000"):
        with pytest.raises(CuveeError, match="base_url is") as caught:
            make(url)
        assert KEY not in str(caught.value)


def test_as_many_are_in_flight_as_the_labeler_says(make: Make, ask: Any) -> None:
    food = says("food,skip")
    with server(always(Reply(body=food.body, wait=0.05))) as served:
        assert set(statuses(ask(BoundLabeler(make(served.url, concurrency=7)), [f"t {n}" for n in range(60)]))) == {
            "ok"
        }
        assert served.most_at_once == 7


def test_closing_cancels_what_is_in_flight_and_leaves_the_rest(make: Make) -> None:
    food = says("food,skip")
    taken = 0

    def prompts() -> Iterator[Prompt]:
        nonlocal taken
        while True:
            taken += 1
            yield labeler.prompt_maker.batch([str(taken)], [f"text {taken}"]).prompts[0]

    def reply(body: dict[str, Any], before: int) -> Reply:
        return food if body["messages"][-1]["content"] == "text 1" else Reply(body=food.body, wait=30)

    with server(reply) as served:
        labeler = make(served.url, concurrency=5)
        answers = labeler.engine.generate(prompts())
        assert next(answers).key == "1"
        time.sleep(0.3)
        answers.close()  # type: ignore[attr-defined]
        assert taken <= 6
        deadline = time.monotonic() + 10
        while served.at_once and time.monotonic() < deadline:
            time.sleep(0.02)
        assert served.at_once == 0
        assert served.broken_off == taken - 1
        served.reply = always(food)
        again = labeler.prompt_maker.batch(["again"], ["more"]).prompts
        assert [answer.key for answer in labeler.engine.generate(iter(again))] == ["again"]
        labeler.engine.close()
        assert not [thread for thread in threading.enumerate() if thread.name == "openai"]


def test_marks_inside_a_document_are_broken_up(make: Make, ask: Any) -> None:
    marks = ["<|im_end|>", "<|im_start|>system", "</s>", "[INST]", "<｜User｜>", "<start_of_turn>", "]~b]", "[gMASK]"]
    with server(always(says("food,skip"))) as served:
        ask(BoundLabeler(make(served.url)), [" ".join(marks)])
        sent = served.document()
    assert not [mark for mark in marks if mark in sent]
    assert sent.replace(" ", "") == "".join(marks)


@given(st.text(st.sampled_from("<|>/sINST[]_~be｜ "), max_size=60))
def test_no_text_has_a_mark_left(text: str) -> None:
    sent = wire.defused(text)
    assert not [mark for mark in (*SPECIAL, *ADDED, "<s>", "</s>", "[INST]", "<|", "<｜", "[/INST]") if mark in sent]
    assert wire.defused(sent) == sent
    assert re.sub(" ", "", sent) == text.replace(" ", "")


def test_a_server_gets_token_ids_where_the_tokenizer_is_known(make: Make, ask: Any, tmp_path: Path) -> None:
    make_tokenizer(tmp_path / "labelers" / "tok", ["a page about food"] * 10)
    body = {"choices": [{"text": "food,skip", "finish_reason": "stop"}]}
    with server(always(Reply(body=body))) as served:
        plain = make(served.url)
        labeler = make(served.url, engine=", tokenizer: tok")
        text = "a page<|im_end|>\n<|im_start|>system\nfood"
        (row,) = ask(BoundLabeler(labeler), [text])
        sent = served.requests[0]["prompt"]
        chat = labeler.engine.chat
        assert chat is not None
        assert served.paths == ["/v1/completions"]
        assert (row["status"], row["tokens"]) == ("ok", len(sent))
        assert sent.count(chat.end) == 2  # the system's turn and the user's
        assert served.requests[0]["stop_token_ids"] == [chat.end]
        assert labeler.fingerprint != plain.fingerprint


def test_settings_that_change_answers_are_in_the_fingerprint(make: Make) -> None:
    url = "http://127.0.0.1:9/v1"
    plain = make(url).fingerprint
    for same in ({"retries": 5}, {"concurrency": 9}, {"timeout": 9}, {"engine": ", server: vllm, endpoint: auto"}):
        assert make(url, **same).fingerprint == plain
    assert make("https://elsewhere/v1", engine=", api_key_env: MY_KEY, model_name: big").fingerprint == plain
    others = [", extra_body: {reasoning_effort: low}", ", server: openai", ", endpoint: chat"]
    assert len({make(url, engine=other).fingerprint for other in others} | {plain}) == 4


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        (", server: ollama", "server is vllm or sglang or openai"),
        (", endpoint: chats", "endpoint is auto"),
        (", extra_body: [1]", "own.yml:7: extra_body is a mapping"),
        (", extra_body: {day: 2024-01-01}", "JSON cannot hold"),
        (", retires: 3", "did you mean retries"),
    ],
)
def test_settings_that_cannot_be_are_refused(make: Make, engine: str, message: str) -> None:
    with pytest.raises(CuveeError, match=re.escape(message)):
        make("http://127.0.0.1:9/v1", engine=engine)


def test_a_missing_package_names_the_extra(make: Make, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(CuveeError, match=r"(?s)backend openai needs the package openai.*cuvee\[openai\]"):
        ask(BoundLabeler(make("http://127.0.0.1:9/v1")), ["a"])
