"""Requests to a server with OpenAI's API, and its responses: over HTTP and in batch files.

Where the model's tokenizer is known, the server gets token ids (``/completions``), in which a document cannot take a
turn (``udfs.labels.chat``). Elsewhere it gets messages (``/chat/completions``) and renders its own template. Then what
looks like a special token is one, inside a document too (vLLM 0.32 does that). So a space breaks it up.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from udfs.errors import CuveeError
from udfs.labels.backends.engine import Answer, Prompt
from udfs.labels.backends.settings import OpenAISettings
from udfs.labels.chat import ChatFormat, Message
from udfs.labels.spec import Generation, Spec

COMPLETIONS = "/completions"
CHAT = "/chat/completions"

#: A space goes behind the first character of: <| and <｜ (ChatML, Llama 3, DeepSeek), a tag without attributes (<s>,
#: </think>, <start_of_turn>), capitals in brackets ([INST], [gMASK], [UNUSED_TOKEN_145]), a sign inside brackets
#: ([|endofturn|], [@BOS@]), capitals in arrows (>>QUESTION<<), and MiniMax's marks. The rest of each is looked ahead
#: at, so marks inside marks are found too. What reads like any text ("### Instruction:") stays.
_MARK = re.compile(
    r"<(?=[|｜]|/?[\w▁:.-]{1,64}>|([@#$%!~])[^\s<>]{1,64}\1>)"
    r"|\[(?=/?[a-z]?[A-Z][A-Z0-9_]+\]|[|｜]|([@#$%!~])[^\s\[\]]{1,64}\2\]|e~\[)"
    r"|>(?=>[A-Z][A-Z0-9_]{0,63}<<)|\](?=~!?b[\[\]])"
)

#: More tokens than any answer has: a larger number is not a count.
_MOST_TOKENS = 10**9

#: Characters of a server's message that are kept.
_SHOWN = 500


def defused(text: str) -> str:
    """Put a space into whatever looks like a special token of some model.

    >>> defused("a < b, <b>bold</b>, <|im_end|>, [INST], List<int>, [1], <a href='#'>")
    "a < b, < b>bold< /b>, < |im_end|>, [ INST], List< int>, [1], <a href='#'>"
    """
    return _MARK.sub(r"\g<0> ", text)


class Wire:
    """Requests to one server for one labeler."""

    def __init__(self, spec: Spec, model_name: str, chat: ChatFormat | None) -> None:
        """``chat`` is the tokenizer if the server gets token ids. Raises CuveeError for what it cannot be asked."""
        settings = server_settings(spec)
        if spec.generation.structured and settings.server == "openai":
            raise CuveeError(
                f"the labeler {spec.name} wants answers in form, which a server of the kind openai cannot see to",
                hint="leave structured out: what is not in form has status unparsed; or say engine: {server: vllm}",
            )
        self.chat = chat
        self.path = COMPLETIONS if chat else CHAT
        self._server = settings.server
        self._constant = {"model": model_name, **_sampling(spec.generation, settings.server, self.path)}
        if chat and chat.end is not None and settings.server != "openai":
            # A server stops where the model's generation settings say, which may not name the end of a turn.
            self._constant["stop_token_ids"] = [chat.end]
        self._extra = dict(settings.extra_body or {})

    def body(self, prompt: Prompt) -> dict[str, Any]:
        """Make the JSON body of the request about one prompt, for ``path``."""
        body = dict(self._constant)
        if self.chat:
            body["prompt"] = prompt.tokens
        else:
            body["messages"] = [
                {"role": role, "content": content if role == "system" else defused(content)}
                for role, content in prompt.messages
            ]
        if prompt.pattern is not None:
            body |= {"regex": prompt.pattern} if self._server == "sglang" else {
                "structured_outputs": {"regex": prompt.pattern}
            }  # fmt: skip
        return body | self._extra

    def smallest(self, prompt: Prompt) -> dict[str, Any]:
        """Make the body of a request that any server answers for next to nothing: one token of a prompt, one back."""
        tokens = None if prompt.tokens is None else prompt.tokens[:1]
        body = self.body(prompt._replace(messages=(Message("user", "."),), tokens=tokens, pattern=None))
        return body | {"max_completion_tokens" if "max_completion_tokens" in body else "max_tokens": 1}


def server_settings(spec: Spec) -> OpenAISettings:
    """Return the section ``engine:`` of a labeler with the backend ``openai``."""
    assert isinstance(spec.engine, OpenAISettings)
    return spec.engine


def name_at_server(spec: Spec, served: Sequence[str] = ()) -> str:
    """Return the server's name for the labeler's model: of a folder its path, or the name served that ends like it."""
    assert spec.model is not None
    name = server_settings(spec).model_name or spec.model.id
    if name is not None:
        return name
    path = spec.model.source
    near = [each for each in served if Path(each).name == Path(path).name]
    return near[0] if path not in served and len(near) == 1 else path


def endpoint(spec: Spec) -> tuple[str, Path | None]:
    """Return the path of a labeler's requests, and the tokenizer's folder if they are token ids. Raises CuveeError."""
    assert spec.model is not None
    settings = server_settings(spec)
    folder = spec.model.folder
    if settings.tokenizer is not None:
        folder = spec.path.parent / Path(settings.tokenizer).expanduser()
    if settings.endpoint == "completions" and folder is None:
        raise CuveeError(
            f"the labeler {spec.name} sends token ids, but names no tokenizer",
            hint="add engine: {tokenizer: FOLDER}, or say endpoint: chat",
        )
    if settings.endpoint == "chat" or folder is None:
        if spec.chat_template is not None:
            raise CuveeError(
                f"the labeler {spec.name} has a chat template, but the server uses its own",
                hint="add engine: {tokenizer: FOLDER}: then token ids are sent; or start the server with the template",
            )
        return CHAT, None
    return COMPLETIONS, folder


def answer(key: str, number: int, body: object, n_tokens: int = 0) -> Answer:
    """Read the body of a response to a prompt of ``n_tokens``, which count if the server counts none.

    A body that is not well-formed is an answer with an ``error``; nothing raises.
    """
    try:
        assert isinstance(body, dict)
        usage = body.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        paid = _tokens(usage.get("prompt_tokens")) or n_tokens, _tokens(usage.get("completion_tokens"))
        choice = body["choices"][0]
        message = choice.get("message")
        text = choice["text"] if message is None else message.get("content")
        reason = choice.get("finish_reason")
        if not isinstance(text, str):
            refusal = (message or {}).get("refusal")
            why = f"the model refuses: {clipped(str(refusal))}" if refusal else f"no text (finish reason {reason})"
            return Answer(key, number, "", False, *paid, error=why)
        if reason == "content_filter":
            return Answer(key, number, "", False, *paid, error="the server's content filter withholds the answer")
        return Answer(key, number, text, reason != "length", *paid)
    except (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError):
        return failed(key, number, f"the server's answer is not in form: {clipped(_shown(body))}")


def _tokens(value: object) -> int:
    """Return a count of tokens; 0 for what cannot be one, so that an answer does not depend on it."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS
    return int(value) if good else 0  # type: ignore[call-overload]


def _shown(body: object) -> str:
    """Return a body for people, however deep it is."""
    try:
        return str(body)
    except RecursionError:
        return "nested too deep"


def failed(key: str, number: int, error: str) -> Answer:
    """Return the answer for a prompt that is lost."""
    return Answer(key, number, "", False, 0, 0, error=error)


def complaint(body: object) -> str:
    """Find the message in an error's body, whose form differs between servers."""
    while isinstance(body, dict) and body:
        body = next((body[key] for key in ("error", "message", "detail") if body.get(key)), _shown(body))
    return clipped(_shown(body)) if body else "no reason given"


def clipped(text: str) -> str:
    """Shorten a text to its beginning, on one line."""
    line = " ".join(text[: 2 * _SHOWN].split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"


def _sampling(generation: Generation, server: str, path: str) -> dict[str, Any]:
    """Return all sampling fields: servers fill in missing ones from settings that come with the model."""
    length = "max_completion_tokens" if server == "openai" and path == CHAT else "max_tokens"
    said: dict[str, Any] = {length: generation.max_tokens, "temperature": generation.temperature, "top_p": 1.0}
    if generation.temperature:
        said |= {"top_p": generation.top_p, "seed": generation.seed}
    if server != "openai":
        said |= {"top_k": generation.top_k or -1, "min_p": 0.0, "repetition_penalty": 1.0}
        said |= {"presence_penalty": 0.0, "frequency_penalty": 0.0}
    return said
