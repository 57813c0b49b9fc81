"""OpenAI's batch files: one request per line, and one response per line, in any order.

A line's ``custom_id`` is ``KEY/PASS/FINGERPRINT``: the document, the number of the pass from 0, and the labeler as it
was when the request was written. So responses to older settings are known as such.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from udfs.labels.backends.engine import Answer, Prompt
from udfs.labels.backends.wire import CHAT, Wire, answer, complaint, failed


def line(prompt: Prompt, wire: Wire, fingerprint: str) -> bytes:
    """Write the request about a prompt, with a newline. ``vllm run-batch`` knows ``/v1/chat/completions`` only."""
    request = {
        "custom_id": f"{prompt.key}/{prompt.number}/{fingerprint}",
        "method": "POST",
        "url": f"/v1{CHAT}",
        "body": wire.body(prompt),
    }
    return orjson.dumps(request, option=orjson.OPT_APPEND_NEWLINE)


@dataclass(slots=True)
class Responses:
    """What was found in a file of responses, counted while ``read`` goes through it.

    ``foreign`` are requests that this labeler did not write, or wrote with other settings; ``broken`` are lines that
    are no responses, the first of them in line ``first_broken``.
    """

    fingerprint: str
    passes: int
    foreign: int = 0
    repeated: int = 0
    broken: int = 0
    first_broken: int | None = None
    _seen: set[tuple[str, int]] = field(default_factory=set)

    def documents(self) -> int:
        """Count the documents of the labeler that were found so far."""
        return len({key for key, _ in self._seen})

    def read(self, lines: Iterable[bytes]) -> Iterator[Answer]:
        """Yield the answers in a file, each request's first one. No line raises."""
        for number, text in enumerate(lines, 1):
            if not text.strip():
                continue
            found = _response(text)
            if found is None:
                self.broken += 1
                self.first_broken = self.first_broken or number
                continue
            key, asked, fingerprint = found[0]
            if fingerprint != self.fingerprint or asked >= self.passes:
                self.foreign += 1
            elif (key, asked) in self._seen:
                self.repeated += 1
            else:
                self._seen.add((key, asked))
                yield _answer(key, asked, found[1])


def _response(text: bytes) -> tuple[tuple[str, int, str], dict[str, Any]] | None:
    """Return the parts of a response's ``custom_id``, and the response; None if it is not one."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(found, dict) or not isinstance(found.get("custom_id"), str):
        return None
    if "response" not in found and "error" not in found:
        return None
    key, _, rest = found["custom_id"].partition("/")
    number, _, fingerprint = rest.partition("/")
    return ((key, int(number) if number.isdecimal() and len(number) < 9 else 1 << 30, fingerprint), found)


def _answer(key: str, number: int, found: dict[str, Any]) -> Answer:
    response = found.get("response")
    response = response if isinstance(response, dict) else {}
    status, body = response.get("status_code", 200), response.get("body")
    if found.get("error") or status != 200:
        return failed(key, number, f"the server answers {status} {complaint(found.get('error') or body)}")
    return answer(key, number, body)
