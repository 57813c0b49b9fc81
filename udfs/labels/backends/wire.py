"""What is sent to a server with OpenAI's API about a prompt, and what its answer says; over HTTP and in batch files.

Where the model's tokenizer is known, the server gets token ids (``/completions``), in which a document cannot take a
turn (``udfs.labels.chat``). Elsewhere it gets messages (``/chat/completions``), renders its own template and reads what looks
like a special token as one, inside a document too (vLLM 0.32 does). So what looks like one is broken up by a space.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from udfs.errors import CuveeError
from udfs.labels.backends.protocol import Answer, Prompt

if TYPE_CHECKING:
    from udfs.labels.chat import ChatFormat
    from udfs.labels.labelers.labeler import Generation, Spec

COMPLETIONS = "/completions"
CHAT = "/chat/completions"

_SERVERS = ("vllm", "sglang", "openai")
_ENDPOINTS = ("auto", "chat", "completions")

#: A space goes behind the first character of: <| and <｜ (ChatML, Llama 3, DeepSeek), a tag without attributes (<s>,
#: </think>, <start_of_turn>), capitals in brackets ([INST], [gMASK]), and MiniMax's marks. The rest of each is looked
#: ahead at, so marks inside marks are found too.
_MARK = re.compile(r"<(?=[|｜]|/?[\w▁:.-]{1,64}>)|\[(?=/?[a-z]?[A-Z][A-Z_]+\]|e~\[)|\](?=~!?b[\[\]])")

#: Characters of a server's message that are kept.
_SHOWN = 500


@dataclass(frozen=True)
class Settings:
    """The section ``engine:``. ``api_key_env`` names the environment variable with the key, which is sent to
    ``base_url`` and nowhere else.

    ``model_name`` is the model's name at the server (its id, or its folder). ``server`` says which fields beside
    OpenAI's it knows. ``tokenizer`` is a folder, relative to the labeler's file; a model's own folder needs none.
    ``endpoint`` is completions (token ids) or chat (messages); auto takes token ids where there is a tokenizer.
    ``timeout`` is in seconds, for one attempt. ``extra_body`` is put into every request.
    """

    base_url: str = "http://localhost:8000/v1"
    api_key_env: str | None = None
    model_name: str | None = None
    server: str = "vllm"
    tokenizer: str | None = None
    endpoint: str = "auto"
    concurrency: int = 64
    timeout: float = 600.0
    retries: int = 8
    extra_body: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be. A key in the address would be shown with it."""
        if not re.match(r"https?://[^/@\s]+(/[^@?#\s]*)?$", self.base_url):
            raise ValueError("base_url is http://HOST:PORT/v1 or the like, without user, password and query")
        if self.server not in _SERVERS:
            raise ValueError(f"server is {' or '.join(_SERVERS)}; vllm fits most others")
        if self.endpoint not in _ENDPOINTS:
            raise ValueError(f"endpoint is {' or '.join(_ENDPOINTS)}")
        if not 1 <= self.concurrency <= 1000:
            raise ValueError("concurrency is from 1 to 1000")
        if not self.timeout > 0:
            raise ValueError("timeout is more than 0 seconds")

    def identity(self, folder: Path) -> list[object]:
        """For fingerprints: what changes answers, empty if all of it is as it is by default."""
        from udfs.identity import identity

        changed: list[object] = []
        if self.server != "vllm":
            changed.append(["server", self.server])
        if self.endpoint != "auto":
            changed.append(["endpoint", self.endpoint])
        if self.extra_body:
            changed.append(["extra_body", dict(self.extra_body)])
        if self.tokenizer is not None:
            path = folder / Path(self.tokenizer).expanduser()
            try:
                changed.append(["tokenizer", identity(path)])
            except OSError as error:
                raise CuveeError(f"cannot read the tokenizer in {path}: {error.strerror}") from error
        return changed


def defused(text: str) -> str:
    """The text with a space in whatever looks like a special token of some model.

    >>> defused("a < b, <b>bold</b>, <|im_end|>, [INST], List<int>, [1], <a href='#'>")
    "a < b, < b>bold< /b>, < |im_end|>, [ INST], List< int>, [1], <a href='#'>"
    """
    return _MARK.sub(r"\g<0> ", text)


class Wire:
    """Requests to one server for one labeler."""

    def __init__(self, spec: Spec, settings: Settings, model_name: str, chat: ChatFormat | None) -> None:
        """``chat`` is the tokenizer if the server gets token ids. Raises CuveeError for what it cannot be asked."""
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
        """The JSON body of the request about one prompt, for ``path``."""
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


def endpoint(spec: Spec, settings: Settings) -> tuple[str, Path | None]:
    """Where a labeler's requests go, and the tokenizer's folder if they are token ids. Raises CuveeError."""
    assert spec.model is not None
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
    """What the body of a response says about a prompt of ``n_tokens``, which count if the server counts none.

    A body that is not in form is an answer with an ``error``; nothing raises.
    """
    try:
        assert isinstance(body, dict)
        usage = body.get("usage") or {}
        paid = int(usage.get("prompt_tokens") or n_tokens), int(usage.get("completion_tokens") or 0)
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
        return failed(key, number, f"the server's answer is not in form: {clipped(str(body))}")


def failed(key: str, number: int, error: str) -> Answer:
    """An answer that is none."""
    return Answer(key, number, "", False, 0, 0, error=error)


def complaint(body: object) -> str:
    """The message in an error's body, whose form differs between servers."""
    while isinstance(body, dict) and body:
        body = next((body[key] for key in ("error", "message", "detail") if body.get(key)), str(body))
    return clipped(str(body)) if body else "no reason given"


def clipped(text: str) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text[: 2 * _SHOWN].split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"


def _sampling(generation: Generation, server: str, path: str) -> dict[str, Any]:
    """Everything is said, because servers fill in the rest from settings that come with the model."""
    length = "max_completion_tokens" if server == "openai" and path == CHAT else "max_tokens"
    said: dict[str, Any] = {length: generation.max_tokens, "temperature": generation.temperature, "top_p": 1.0}
    if generation.temperature:
        said |= {"top_p": generation.top_p, "seed": generation.seed}
    if server != "openai":
        said |= {"top_k": generation.top_k or -1, "min_p": 0.0, "repetition_penalty": 1.0}
        said |= {"presence_penalty": 0.0, "frequency_penalty": 0.0}
    return said
