"""The backend ``openai``: a server with OpenAI's API, such as ``vllm serve``.

Requests are sent by OpenAI's own client in a thread of its own. It tries again after a lost connection, a timeout and
the states 408, 409, 429 and 5xx: when ``Retry-After`` says (up to two minutes), else after 0.5 s, doubled each time up
to 8 s.
"""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import Coroutine, Generator, Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from udfs.errors import CuveeError, did_you_mean
from udfs.labels.backends.protocol import Answer, Prompt
from udfs.labels.backends.wire import Settings, Wire, answer, clipped, complaint, endpoint, failed

if TYPE_CHECKING:
    from udfs.labels.chat import ChatFormat
    from udfs.labels.labelers.labeler import Spec

__all__ = ["Settings", "open"]

T = TypeVar("T")

_KEY = "OPENAI_API_KEY"

#: Prompts that may fail in a row: then it is not they that are bad.
_HOPELESS = 32

#: Attempts to reach the server before the first prompt.
_GREETINGS = 2


def open(spec: Spec) -> OpenAIEngine:  # the protocol's name
    """Reach the labeler's server. Raises CuveeError if it does not answer or refuses the key."""
    import openai  # noqa: F401  (before anything is started)

    settings: Settings = spec.engine or Settings()
    variable = settings.api_key_env or _KEY
    value = os.environ.get(variable, "")
    if settings.api_key_env and not value:
        raise CuveeError(f"the environment variable {variable}, with the server's key, is not set")
    _, folder = endpoint(spec, settings)
    chat = None
    if folder is not None:
        from udfs.labels.chat import ChatFormat

        chat = ChatFormat(folder, spec.chat_template)
    engine = OpenAIEngine(settings, Key(value, variable))
    try:
        served = engine.served()
        engine.begin(Wire(spec, settings, name_at_server(spec, settings, served), chat), served)
    except BaseException:
        engine.close()
        raise
    return engine


def name_at_server(spec: Spec, settings: Settings, served: Sequence[str] = ()) -> str:
    """What the server calls the labeler's model: of a folder its path, or the name served that ends like it."""
    assert spec.model is not None
    name = settings.model_name or spec.model.id
    if name is not None:
        return name
    path = spec.model.source
    near = [each for each in served if Path(each).name == Path(path).name]
    return near[0] if path not in served and len(near) == 1 else path


class Key:
    """A server's key. It is shown nowhere, and hidden in what a server says."""

    def __init__(self, value: str, variable: str) -> None:
        self.value = value
        self.variable = variable
        pieces = {value[start : start + 8] for start in range(max(1, len(value) - 7))} if value else set()
        self._pieces = re.compile("|".join(map(re.escape, pieces))) if pieces else None

    def __repr__(self) -> str:
        return f"Key({self.variable})"

    def hide(self, text: str) -> str:
        """The text without words that hold the key, or eight characters of it in a row."""
        if self._pieces is None or not self._pieces.search(text):
            return text
        pieces = self._pieces
        return re.sub(r"\S+", lambda word: "[key]" if pieces.search(word[0]) else word[0], text)


class OpenAIEngine:
    """A server, and at most ``concurrency`` requests to it at a time."""

    def __init__(self, settings: Settings, key: Key) -> None:
        from openai import AsyncOpenAI

        self._settings = settings
        self._key = key
        self._served: list[str] = []
        self._client: Any = AsyncOpenAI(
            base_url=settings.base_url,
            api_key=key.value or "none",  # the client wants one; vllm serve without --api-key reads none
            timeout=settings.timeout,
            max_retries=settings.retries,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="openai", daemon=True)
        self._thread.start()

    def begin(self, wire: Wire, served: Sequence[str]) -> None:
        """Set what is sent; ``served`` are the models that the server names."""
        self._wire = wire
        self._served = list(served)

    @property
    def chat(self) -> ChatFormat | None:
        """The model's tokenizer and format, if the labeler names them."""
        return self._wire.chat

    def served(self) -> list[str]:
        """The models that the server names; empty if it names none. Raises CuveeError if it cannot be reached."""

        async def ask() -> object:
            client = self._client.with_options(max_retries=min(_GREETINGS, self._settings.retries))
            return await self._attempt(client.get("/models", cast_to=object))

        found = self._wait(ask())
        if isinstance(found, _Refused) and found.concerns_all and found.status != 404:
            raise self._error(found)
        models = found.get("data") if isinstance(found, dict) else None
        return [str(each.get("id")) for each in models or [] if isinstance(each, dict)]

    def generate(self, prompts: Iterator[Prompt]) -> Generator[Answer, None, None]:
        """Answer every prompt once, in the order in which the server does. See ``Engine.generate``.

        Raises CuveeError if the server cannot be reached, refuses the key or does not know the model, when it is
        still busy after the last attempt, and when many prompts in a row have failed.
        """
        done: SimpleQueue[Answer | _Refused | BaseException] = SimpleQueue()
        tasks: set[asyncio.Task[Answer | _Refused]] = set()

        def finish(task: asyncio.Task[Answer | _Refused]) -> None:
            tasks.discard(task)
            if not task.cancelled():
                done.put(task.exception() or task.result())

        def start(prompt: Prompt) -> None:
            task = self._loop.create_task(self._ask(prompt))
            tasks.add(task)
            task.add_done_callback(finish)

        more, flying, lost = True, 0, 0
        try:
            while True:
                while more and flying < self._settings.concurrency:
                    prompt = next(prompts, None)
                    if prompt is None:
                        more = False
                        break
                    flying += 1
                    self._loop.call_soon_threadsafe(start, prompt)
                    if not done.empty():
                        break
                if not flying:
                    return
                outcome = done.get()
                flying -= 1
                if isinstance(outcome, _Refused):
                    raise self._error(outcome)
                if isinstance(outcome, BaseException):
                    raise outcome
                lost = 0 if outcome.error is None else lost + 1
                if lost >= max(_HOPELESS, self._settings.concurrency):
                    raise CuveeError(
                        f"{lost} prompts in a row failed at {self._settings.base_url}; the last: {outcome.error}"
                    )
                yield outcome
        finally:
            if flying:
                self._wait(_cancel(tasks))

    def close(self) -> None:
        """Close the connections."""
        if self._loop.is_closed():
            return
        self._wait(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _ask(self, prompt: Prompt) -> Answer | _Refused:
        request = self._client.post(self._wire.path, cast_to=object, body=self._wire.body(prompt))
        found = await self._attempt(request)
        if isinstance(found, _Refused):
            return found if found.concerns_all else failed(prompt.key, prompt.number, found.message)
        read = answer(prompt.key, prompt.number, found, len(prompt.tokens or ()))
        return read._replace(text=self._key.hide(read.text), error=read.error and self._key.hide(read.error))

    async def _attempt(self, request: Coroutine[Any, Any, object]) -> object:
        """The response's body, or why there is none. The client's errors, which hold the key, do not leave here."""
        from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAIError

        try:
            return await request
        except APIStatusError as error:
            said = f"{error.status_code} {self._key.hide(complaint(error.body))}"
            return _Refused(f"the server answers {said}", error.status_code)
        except APITimeoutError:
            return _Refused(f"no answer within {self._settings.timeout:g} seconds", _TIMEOUT)
        except APIConnectionError as error:
            return _Refused(self._key.hide(clipped(str(error.__cause__ or error))), _UNREACHABLE)
        except (OpenAIError, ValueError) as error:
            return _Refused(f"the server's answer cannot be read: {self._key.hide(clipped(str(error)))}", _TIMEOUT)

    def _error(self, refused: _Refused) -> CuveeError:
        """What to tell about a refusal that concerns every prompt."""
        address, retries = self._settings.base_url, self._settings.retries
        if refused.status == _UNREACHABLE:
            hint = "start it (vllm serve MODEL), or set engine: {base_url: …} in the labeler's file"
            return CuveeError(f"cannot reach the server at {address}: {refused.message}", hint=hint)
        if refused.status == 401:
            # Its message is left out: some servers show parts of the key.
            said = "does not accept the key" if self._key.value else "wants a key"
            return CuveeError(f"the server at {address} {said}", hint=f"it is read from {self._key.variable}")
        if refused.status == 404:
            name = str(self._wire.body(_EMPTY)["model"])
            hint = did_you_mean(name, self._served) or "name it in engine: {model_name: …}; base_url mostly ends in /v1"
            return CuveeError(f"{address} has no model {name!r}: {refused.message}", hint=hint)
        hint = f"it was asked {retries + 1} times; lower engine: {{concurrency: …}}, or raise retries"
        return CuveeError(f"{address}: {refused.message}", hint=hint if refused.status == 429 else None)


#: States of our own beside HTTP's.
_UNREACHABLE = 0
_TIMEOUT = 1

_EMPTY = Prompt("", 0, (), None, None)


class _Refused:
    """Why there is no response. ``concerns_all``: every other prompt would fare the same."""

    def __init__(self, message: str, status: int) -> None:
        self.message = message
        self.status = status

    @property
    def concerns_all(self) -> bool:
        return self.status in (_UNREACHABLE, 401, 402, 404, 429)


async def _cancel(tasks: set[asyncio.Task[Any]]) -> None:
    """Stop what is in flight; its connections are closed when this returns."""
    for task in tuple(tasks):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
