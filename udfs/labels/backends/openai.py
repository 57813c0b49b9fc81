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
from collections.abc import Callable, Coroutine, Generator, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from queue import SimpleQueue
from typing import Any, TypeVar

from udfs.errors import CuveeError, did_you_mean, first_line
from udfs.labels.backends import wire
from udfs.labels.backends.engine import Answer, Engine, Prompt
from udfs.labels.chat import ChatFormat
from udfs.labels.spec import Spec

T = TypeVar("T")

_KEY = "OPENAI_API_KEY"

#: Prompts that may fail in a row: then it is not they that are bad.
_HOPELESS = 32

#: Attempts to reach the server before the first prompt.
_GREETINGS = 2


def start_engine(spec: Spec) -> OpenAIEngine:
    """Reach the labeler's server. Raises CuveeError if it does not answer or refuses the key."""
    import openai  # noqa: F401  (before anything is started)

    settings = wire.server_settings(spec)
    variable = settings.api_key_env or _KEY
    value = os.environ.get(variable, "")
    if settings.api_key_env and not value:
        raise CuveeError(f"the environment variable {variable}, with the server's key, is not set")
    _, folder = wire.endpoint(spec)
    chat = None if folder is None else ChatFormat(folder, spec.chat_template)
    return OpenAIEngine(spec, Key(value, variable), chat)


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
        """Replace words that hold the key, or eight characters of it in a row."""
        if self._pieces is None or not self._pieces.search(text):
            return text
        pieces = self._pieces
        return re.sub(r"\S+", lambda word: "[key]" if pieces.search(word[0]) else word[0], text)


class _Cause(Enum):
    """Why there is no response to a request."""

    UNREACHABLE = auto()
    TIMEOUT = auto()
    UNREADABLE = auto()  # a response that the client cannot read
    UNAUTHORIZED = auto()
    UNPAID = auto()
    NO_MODEL = auto()
    BUSY = auto()
    REFUSED = auto()  # any other status

    @property
    def concerns_all(self) -> bool:
        """Whether every other prompt would fare the same."""
        return self not in (_Cause.TIMEOUT, _Cause.UNREADABLE, _Cause.REFUSED)


_STATUSES = {401: _Cause.UNAUTHORIZED, 402: _Cause.UNPAID, 404: _Cause.NO_MODEL, 429: _Cause.BUSY}


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A request without a response."""

    cause: _Cause
    message: str


class OpenAIEngine(Engine):
    """A server, and at most ``concurrency`` requests to it at a time."""

    def __init__(self, spec: Spec, key: Key, chat: ChatFormat | None) -> None:
        """``chat`` is the model's tokenizer if the server gets token ids. Raises CuveeError; see ``start_engine``."""
        from openai import AsyncOpenAI

        self.chat = chat
        self._settings = wire.server_settings(spec)
        self._key = key
        self._client: Any = AsyncOpenAI(
            base_url=self._settings.base_url,
            api_key=key.value or "none",  # the client wants one; vllm serve without --api-key reads none
            timeout=self._settings.timeout,
            max_retries=self._settings.retries,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="openai", daemon=True)
        self._thread.start()
        try:
            self._served = self.served()
            self._wire = wire.Wire(spec, wire.name_at_server(spec, self._served), chat)
        except BaseException:
            self.close()
            raise

    def served(self) -> list[str]:
        """List the models that the server names, which may be none. Raises CuveeError if it cannot be reached."""

        async def ask() -> object:
            client = self._client.with_options(max_retries=min(_GREETINGS, self._settings.retries))
            return await self._attempt(client.get("/models", cast_to=object))

        found = self._wait(ask())
        if isinstance(found, _Refusal) and found.cause.concerns_all and found.cause is not _Cause.NO_MODEL:
            raise self._error(found)
        models = found.get("data") if isinstance(found, dict) else None
        return [str(each.get("id")) for each in models or [] if isinstance(each, dict)]

    def generate(self, prompts: Iterator[Prompt]) -> Generator[Answer, None, None]:
        """Answer every prompt once, in the order in which the server does. See ``Engine.generate``.

        A prompt that gets no response is asked once more, alone. If it gets none again and another prompt gets one,
        then the failure is its own. Raises CuveeError if no other gets one either (the server cannot be reached,
        refuses the key, does not know the model, is busy), and when many prompts in a row have failed; before that,
        everything that was asked has been answered.
        """
        flight = _Flight(self._loop, self._ask)
        try:
            yield from self._unless_hopeless(self._outcomes(prompts, flight))
        finally:
            if flight.size:
                self._wait(flight.cancelled())

    def _outcomes(self, prompts: Iterator[Prompt], flight: _Flight) -> Iterator[Answer]:
        refused: list[tuple[Prompt, _Refusal]] = []
        more = True
        failure: BaseException | None = None
        while True:
            while more and not refused and flight.size < self._settings.concurrency:
                try:
                    prompt = next(prompts, None)
                except Exception as error:
                    failure, more = error, False
                    break
                if prompt is None:
                    more = False
                    break
                flight.start(prompt)
                if flight.has_landed:
                    break
            if flight.size:
                prompt, outcome = flight.land()
                if isinstance(outcome, Answer):
                    yield outcome
                elif isinstance(outcome, _Refusal):
                    refused.append((prompt, outcome))
                else:
                    failure, more = failure or outcome, False
            elif failure is not None:
                raise failure
            elif refused:
                for prompt, refusal in refused:
                    yield self._asked_again(prompt, refusal)
                refused = []
            elif not more:
                return

    def _asked_again(self, prompt: Prompt, refusal: _Refusal) -> Answer:
        """Ask once more, alone. Raises CuveeError if a prompt of one token gets no response either."""
        outcome = self._wait(self._ask(prompt))
        if isinstance(outcome, Answer):
            return outcome
        body = self._wire.smallest(prompt)
        small = self._wait(self._attempt(self._client.post(self._wire.path, cast_to=object, body=body)))
        if isinstance(small, _Refusal) and small.cause.concerns_all:
            raise self._error(refusal)
        return wire.failed(prompt.key, prompt.number, outcome.message)

    def _unless_hopeless(self, answers: Iterator[Answer]) -> Iterator[Answer]:
        """Hold failures back until a prompt gets a response: where none does, it is not the prompts that are bad."""
        failed: list[Answer] = []
        for answer in answers:
            if answer.error is not None and not answer.prompt_tokens:
                failed.append(answer)
                if len(failed) >= max(_HOPELESS, self._settings.concurrency):
                    message = f"{len(failed)} prompts in a row failed at {self._settings.base_url}"
                    raise CuveeError(f"{message}; the last: {answer.error}")
                continue
            yield from failed
            failed = []
            yield answer
        yield from failed

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

    async def _ask(self, prompt: Prompt) -> Answer | _Refusal:
        request = self._client.post(self._wire.path, cast_to=object, body=self._wire.body(prompt))
        found = await self._attempt(request)
        if isinstance(found, _Refusal):
            return found if found.cause.concerns_all else wire.failed(prompt.key, prompt.number, found.message)
        read = wire.answer(prompt.key, prompt.number, found, len(prompt.tokens or ()))
        return read._replace(text=self._key.hide(read.text), error=read.error and self._key.hide(read.error))

    async def _attempt(self, request: Coroutine[Any, Any, object]) -> object:
        """Return the response's body, or why there is none. The client's errors hold the key and do not leave here."""
        from openai import APIConnectionError, APIStatusError, APITimeoutError

        try:
            return await request
        except APIStatusError as error:
            said = f"{error.status_code} {self._key.hide(wire.complaint(error.body))}"
            return _Refusal(_STATUSES.get(error.status_code, _Cause.REFUSED), f"the server answers {said}")
        except APITimeoutError:
            return _Refusal(_Cause.TIMEOUT, f"no answer within {self._settings.timeout:g} seconds")
        except APIConnectionError as error:
            return _Refusal(_Cause.UNREACHABLE, self._key.hide(first_line(error.__cause__ or error)))
        except Exception as error:  # of many kinds: no bytes from a server end a build
            said = self._key.hide(wire.clipped(str(error)))
            return _Refusal(_Cause.UNREADABLE, f"the server's answer cannot be read: {said}")

    def _error(self, refusal: _Refusal) -> CuveeError:
        """Return the error for a refusal that concerns every prompt."""
        address, message = self._settings.base_url, refusal.message
        match refusal.cause:
            case _Cause.UNREACHABLE:
                hint = "start it (vllm serve MODEL), or set engine: {base_url: …} in the labeler's file"
                return CuveeError(f"cannot reach the server at {address}: {message}", hint=hint)
            case _Cause.UNAUTHORIZED:
                # Its message is left out: some servers show parts of the key.
                said = "does not accept the key" if self._key.value else "wants a key"
                return CuveeError(f"the server at {address} {said}", hint=f"it is read from {self._key.variable}")
            case _Cause.NO_MODEL:
                name = str(self._wire.body(_EMPTY)["model"])
                other = "name it in engine: {model_name: …}; base_url mostly ends in /v1"
                hint = (did_you_mean(name, self._served) if name not in self._served else None) or other
                return CuveeError(f"{address} has no model {name!r}: {message}", hint=hint)
            case _Cause.BUSY:
                asked = f"it was asked {self._settings.retries + 1} times"
                hint = f"{asked}; lower engine: {{concurrency: …}}, or raise retries"
                return CuveeError(f"{address}: {message}", hint=hint)
            case _:
                return CuveeError(f"{address}: {message}")


_EMPTY = Prompt("", 0, (), None, None)


class _Flight:
    """The requests that are in flight; they are started and awaited from another thread than the loop's."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, ask: Callable[[Prompt], Coroutine[Any, Any, Answer | _Refusal]]
    ) -> None:
        self._loop, self._ask = loop, ask
        self._done: SimpleQueue[tuple[Prompt, Answer | _Refusal | BaseException]] = SimpleQueue()
        self._tasks: set[asyncio.Task[Answer | _Refusal]] = set()
        self.size = 0

    def start(self, prompt: Prompt) -> None:
        """Ask for an answer."""
        self.size += 1
        self._loop.call_soon_threadsafe(self._start, prompt)

    def _start(self, prompt: Prompt) -> None:
        task = self._loop.create_task(self._ask(prompt))
        self._tasks.add(task)

        def finish(task: asyncio.Task[Answer | _Refusal]) -> None:
            self._tasks.discard(task)
            if not task.cancelled():
                self._done.put((prompt, task.exception() or task.result()))

        task.add_done_callback(finish)

    @property
    def has_landed(self) -> bool:
        """Whether ``land`` returns at once."""
        return not self._done.empty()

    def land(self) -> tuple[Prompt, Answer | _Refusal | BaseException]:
        """Wait for the next outcome."""
        landed = self._done.get()
        self.size -= 1
        return landed

    async def cancelled(self) -> None:
        """Stop what is in flight; its connections are closed when this returns."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
