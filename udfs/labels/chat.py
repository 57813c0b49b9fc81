"""Conversations as token ids, so that no document can take a turn.

A chat template makes one string of a conversation and marks the turns with special tokens (``<|im_start|>``). If a
document contains such a mark, the string alone does not tell its marks from the template's. So a mark inside a
message gets a character between its first two letters, one that occurs nowhere in the conversation; the template is
rendered; the string is cut at the marks that are left, which are the template's; and the pieces, without that
character, are encoded by a tokenizer that knows no special token. Of a conversation without marks inside, the ids are
those that the tokenizer itself gives for the whole string.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from udfs.errors import LabelerError, Location
from udfs.labels.prompts import environment

if TYPE_CHECKING:
    from jinja2 import Template

_TOKENIZER = "tokenizer.json"

#: Where the odd character is looked for: the private use areas.
_PRIVATE = (range(0xE000, 0xF900), range(0xF0000, 0xFFFFE))


class Message(NamedTuple):
    """A turn of a conversation: ``role`` is ``system`` or ``user``."""

    role: str
    content: str


_PROBE = Message("user", "A cellar master\n\n composes a blend, for 3.50.\n")


class ChatError(LabelerError):
    """A model's tokenizer or chat template cannot be used."""


class ChatFormat:
    """The tokenizer of a model's folder, with its chat template or another one. Several threads may use it at once."""

    def __init__(self, folder: Path, template: str | None = None) -> None:
        self.folder = folder
        content = _json(folder / _TOKENIZER)
        settings = _json(folder / "tokenizer_config.json", optional=True)
        self._ids: dict[str, int] = {each["content"]: each["id"] for each in content.get("added_tokens") or []}
        if short := [mark for mark in self._ids if len(mark) < 2]:
            raise ChatError(f"the special token {short[0]!r} is a single character", where=Location(str(folder)))
        self._special = frozenset(self._ids.values())
        longest_first = sorted(self._ids, key=len, reverse=True)
        self._marks = re.compile(f"({'|'.join(map(re.escape, longest_first))})" if self._ids else "(?!)()")
        self._plain = _tokenizer({**content, "added_tokens": []}, folder)
        self._whole = _tokenizer(content, folder)
        tokens = {name: settings.get(name) for name in ("bos_token", "eos_token", "unk_token", "pad_token")}
        self._names = {
            name: str(each["content"] if isinstance(each, dict) else each) for name, each in tokens.items() if each
        }
        self._template = _compiled(template if template is not None else _chat_template(folder, settings), folder)
        self._expected: dict[tuple[str, ...], list[str]] = {}
        self._check()

    @property
    def end(self) -> int | None:
        """The id of the token that ends an answer, as the tokenizer's settings name it."""
        return self._ids.get(self._names.get("eos_token", ""))

    def ends(self, named: Iterable[list[int] | int | None]) -> frozenset[int]:
        """Return the ids that end an answer: the tokenizer's own, and those that a model's settings name."""
        found = [self.end, *chain.from_iterable(each if isinstance(each, list) else [each] for each in named)]
        return frozenset(end for end in found if end is not None)

    @property
    def padding(self) -> int:
        """The id of the token for unused places, which are masked: any will do."""
        return self._ids.get(self._names.get("pad_token", ""), self.end or 0)

    def encode(self, conversations: Sequence[Sequence[Message]]) -> list[list[int] | str]:
        """Return the ids of each conversation with its generation prompt, or why it cannot be encoded."""
        cut = [self._cut(conversation) for conversation in conversations]
        texts = [text for pieces in cut if not isinstance(pieces, str) for text in pieces[::2]]
        encoded = iter(self._plain.encode_batch_fast(texts, add_special_tokens=False))
        return [pieces if isinstance(pieces, str) else self._joined(pieces, encoded) for pieces in cut]

    def answers(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode answers as a model should write them, with the end. Raises ChatError if there is no end."""
        end = self.end
        if end is None:
            where = Location(str(self.folder / "tokenizer_config.json"))
            raise ChatError("no eos_token that the tokenizer knows: an answer would have no end", where=where)
        return [[*each.ids, end] for each in self._plain.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Sequence[int], *, special: bool = False) -> str:
        """Decode an answer's ids, without special tokens; a prompt's with ``special`` ones."""
        text: str = self._whole.decode(list(ids), skip_special_tokens=not special)
        return text

    def _joined(self, pieces: list[str], encoded: Iterator[Any]) -> list[int] | str:
        ids: list[int] = []
        safe = True
        for index, piece in enumerate(pieces):
            if index % 2:
                ids.append(self._ids[piece])
            else:
                text = next(encoded).ids
                safe = safe and self._special.isdisjoint(text)
                ids.extend(text)
        return ids if safe else "this tokenizer makes a special token of a document's text"

    def _cut(self, conversation: Sequence[Message]) -> list[str] | str:
        """Render a conversation as text, mark, text, …, text; every mark is the template's."""
        from jinja2 import TemplateError

        contents = [message.content for message in conversation]
        odd = ""
        if any(map(self._marks.search, contents)):
            odd = next(
                chr(code) for codes in _PRIVATE for code in codes if not any(chr(code) in each for each in contents)
            )
            contents = [self._marks.sub(lambda found: f"{found[0][0]}{odd}{found[0][1:]}", each) for each in contents]
        roles = tuple(message.role for message in conversation)
        expected = self._turns(roles)
        try:
            pieces = self._render(roles, contents)
        except TemplateError as error:
            return f"the chat template refuses the document: {error}"
        if pieces[1::2] != expected:
            return "the document changes what the chat template makes"
        if odd:
            pieces[::2] = [piece.replace(odd, "") for piece in pieces[::2]]
        return pieces

    def _render(self, roles: Sequence[str], contents: Sequence[str]) -> list[str]:
        messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
        return self._marks.split(
            self._template.render(
                messages=messages, add_generation_prompt=True, tools=None, documents=None, **self._names
            )
        )

    def _turns(self, roles: tuple[str, ...]) -> list[str]:
        """Return the marks of a conversation with these roles. Raises ChatError if the template refuses it."""
        from jinja2 import TemplateError

        if roles not in self._expected:
            try:
                self._expected[roles] = self._render(roles, ["text"] * len(roles))[1::2]
            except TemplateError as error:
                message = f"the chat template refuses a conversation of {' and '.join(roles)}: {error}"
                raise ChatError(message, where=Location(str(self.folder))) from error
        return self._expected[roles]

    def _check(self) -> None:
        """Compare with the tokenizer itself, on a conversation without marks. Raises ChatError."""
        (ours,) = self.encode([[_PROBE]])
        text = "".join(self._render(["user"], [_PROBE.content]))
        theirs = self._whole.encode(text, add_special_tokens=False).ids
        if ours != theirs:
            raise ChatError(
                "this tokenizer does not encode the text between special tokens by itself",
                where=Location(str(self.folder / _TOKENIZER)),
                hint="serve the model with vllm serve, and label with the backend openai",
            )


def _chat_template(folder: Path, settings: Mapping[str, Any]) -> str:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    found = settings.get("chat_template")
    if isinstance(found, list):
        found = next((each.get("template") for each in found if each.get("name") == "default"), None)
    if not isinstance(found, str):
        hint = "write one to a file and name it in the labeler: chat_template: FILE"
        raise ChatError("the model has no chat template", where=Location(str(folder)), hint=hint)
    return found


def _compiled(source: str, folder: Path) -> Template:
    from jinja2 import TemplateError

    def refuse(message: str) -> None:
        raise TemplateError(message)

    env = environment(lenient=True)
    env.globals["raise_exception"] = refuse
    env.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    try:
        return env.from_string(source)
    except TemplateError as error:
        raise ChatError(f"the chat template is not valid: {error}", where=Location(str(folder))) from error


def _tokenizer(content: Mapping[str, Any], folder: Path) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ChatError("prompts need the package tokenizers", hint="pip install tokenizers") from error
    try:
        return Tokenizer.from_str(json.dumps({**content, "truncation": None, "padding": None}))
    except Exception as error:  # the library raises bare Exception
        raise ChatError(f"not a tokenizer: {error}", where=Location(str(folder / _TOKENIZER))) from error


def _json(path: Path, *, optional: bool = False) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        if optional:
            return {}
        hint = "a fast tokenizer is needed: transformers' save_pretrained writes one"
        raise ChatError(f"no {path.name} in {path.parent}", hint=hint) from None
    except (OSError, ValueError) as error:
        raise ChatError(f"cannot be read: {error}", where=Location(str(path))) from error
    if not isinstance(content, dict):
        raise ChatError("not a JSON object", where=Location(str(path)))
    return content
