"""From documents to prompts, with what cannot be asked about put aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

from udfs.labels.backends.engine import Prompt
from udfs.labels.chat import ChatFormat, Message
from udfs.labels.labeler import readable
from udfs.labels.prompts import PromptError
from udfs.labels.spec import Spec

#: How often a document is shortened until its prompt has few enough tokens; the first time is nearly always enough.
_SHORTENINGS = 20


class Skipped(NamedTuple):
    """A document that no model is asked about: it abstains, or there is an ``error``."""

    key: str
    error: str | None


class PromptBatch(NamedTuple):
    """Documents as prompts, those of one document one after the other; and the documents put aside."""

    prompts: list[Prompt]
    skipped: list[Skipped]


class PromptMaker:
    """Makes the prompts of one labeler. ``chat`` is the model's tokenizer and format, if the engine takes tokens."""

    def __init__(self, spec: Spec, chat: ChatFormat | None) -> None:
        self._spec = spec
        self._chat = chat
        structured = spec.generation.structured
        self._patterns = [each.codec.pattern if structured else None for each in spec.passes]

    def batch(self, keys: Sequence[str], texts: Sequence[str]) -> PromptBatch:
        """Make the prompts for some documents. No text raises.

        A text with nothing to read in it (white space and control characters) abstains. Lone surrogates, which are no
        characters, become U+FFFD.
        """
        made = PromptBatch([], [])
        documents: list[tuple[str, str]] = []
        conversations: list[tuple[Message, ...]] = []
        for key, text in zip(keys, texts, strict=True):
            if not readable(text):
                made.skipped.append(Skipped(key, None))
                continue
            try:
                text = sound(text)
                read = self._spec.excerpt.read(text, key)
                conversations.extend(self._messages(number, read, len(text)) for number in range(len(self._patterns)))
                documents.append((key, text))
            except PromptError as error:
                del conversations[len(documents) * len(self._patterns) :]
                made.skipped.append(Skipped(key, str(error)))
        passes = len(self._patterns)
        tokens: Sequence[list[int] | str | None] = [None] * len(conversations)
        if self._chat is not None:
            tokens = self._chat.encode(conversations)
        for index, (key, text) in enumerate(documents):
            own = slice(index * passes, (index + 1) * passes)
            prompts = [
                self._fitting(Prompt(key, number, messages, None, self._patterns[number]), ids, text)
                for number, (messages, ids) in enumerate(zip(conversations[own], tokens[own], strict=True))
            ]
            if errors := [each for each in prompts if isinstance(each, str)]:
                made.skipped.append(Skipped(key, errors[0]))
            else:
                made.prompts.extend(each for each in prompts if isinstance(each, Prompt))
        return made

    def _messages(self, number: int, read: str, n_chars: int) -> tuple[Message, ...]:
        asked = self._spec.passes[number]
        user = Message("user", asked.user.render(read, n_chars, asked.categories))
        if asked.system is None:
            return (user,)
        return (Message("system", asked.system.render("", n_chars, asked.categories)), user)

    def _fitting(self, prompt: Prompt, ids: list[int] | str | None, text: str) -> Prompt | str:
        """Return the prompt with its tokens. Of a document that is too long less is read, by the same rule."""
        if isinstance(ids, str):
            return ids
        if ids is None or self._chat is None:
            return prompt
        limit = self._spec.input_tokens
        alone = self._alone[prompt.number] if len(ids) > limit else 0
        if len(ids) > limit and alone >= limit:
            return f"the prompt alone has {alone:,} tokens, of {limit:,}"
        characters = min(len(text), self._spec.excerpt.limit)
        for _ in range(_SHORTENINGS):
            if len(ids) <= limit:
                return prompt._replace(tokens=ids)
            characters = int(characters * 0.98 * (limit - alone) / (len(ids) - alone))
            excerpt = self._spec.excerpt
            whole = excerpt.head + excerpt.window + excerpt.tail
            head, window, tail = (part * characters // whole for part in (excerpt.head, excerpt.window, excerpt.tail))
            shorter = replace(excerpt, limit=characters, head=head, window=window, tail=tail)
            messages = self._messages(prompt.number, shorter.read(text, prompt.key), len(text))
            (again,) = self._chat.encode([messages])
            if isinstance(again, str):
                return again
            prompt, ids = prompt._replace(messages=messages), again
        return f"cannot be shortened to {limit:,} tokens"

    @cached_property
    def _alone(self) -> list[int]:
        """The tokens of each pass's prompt for an empty document."""
        assert self._chat is not None
        return [len(self._chat.encode([self._messages(number, "", 0)])[0]) for number in range(len(self._patterns))]


def sound(text: str) -> str:
    """Put U+FFFD for every lone surrogate. Two that make a character become that character."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
