"""Labelers that write: a document becomes a prompt, and what the model answers becomes labels.

texts ─▶ prompts (a thread, ahead) ─▶ engine, as many in flight as it likes ─▶ labels, a few hundred at a time
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, repeat
from time import monotonic
from typing import TYPE_CHECKING

import pyarrow as pa

from udfs.expensive import stopped
from udfs.labels.backends import backends
from udfs.labels.backends.protocol import Answer, Engine, Prompt
from udfs.labels.codecs.codecs import Decoded
from udfs.labels.codecs.condensed import Condensed
from udfs.labels.labelers.price import Usage
from udfs.labels.labelers.prompt_batch import Aside, Asked, Asking
from udfs.labels.labels import Codes, Verdicts, readable
from udfs.labels.taxonomies.taxonomy import ABSTAIN
from udfs.prefetch import ahead

if TYPE_CHECKING:
    from udfs.labels.labelers.labeler import Spec

_Codes = tuple[str | None, str | None]

#: Documents that are made into prompts together, and how many such windows are ready before the engine asks.
WINDOW = 256
WINDOWS_AHEAD = 2

#: Answers that are handed on together, and how many seconds those that are there wait for more.
PORTION = 256
SECONDS = 1.0

#: For as many categories as there may be.
_NOTHING: Iterable[_Codes] = repeat((None, None))

#: Stands between the answers of several passes in what is kept of them.
BETWEEN = "\n\n--- pass {} ---\n\n"


class PromptedLabeler:
    """A labeler whose engine writes answers to prompts."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.taxonomy = spec.taxonomy
        self.name = spec.name
        #: Tokens paid for since it was made.
        self.usage = Usage()

    @property
    def fingerprint(self) -> str:
        """Over the model, the prompts, the codec, the generation and what is read of a document."""
        return self.spec.fingerprint

    @cached_property
    def engine(self) -> Engine:
        """The running engine; started when it is first needed. Raises CuveeError if it cannot be."""
        return backends.open_engine(self.spec)

    @cached_property
    def asking(self) -> Asking:
        """What makes prompts for the engine."""
        return Asking(self.spec, self.engine.chat)

    def label(self, inputs: Iterator[pa.RecordBatch]) -> Iterator[Verdicts]:
        """Label every text; see ``Labeler.label``. Closing the iterator cancels what is in flight.

        A text that no model is asked about (``udfs.labels.labelers.prompt_batch``) abstains and costs nothing, or has status ``error``.
        """
        batches = iter(inputs)
        for batch in batches:
            if stopped(inputs):
                return
            if not any(map(readable, batch["text"].to_pylist())):
                yield Verdicts.abstained(self.taxonomy, batch["key"].to_pylist())
                continue
            asking = self.asking  # starts the engine in this thread: some set signal handlers
            windows = ahead(_windows(asking, chain([batch], batches)), WINDOWS_AHEAD)
            try:
                yield from self._answered(windows, lambda: stopped(inputs))
            finally:
                windows.close()

    def close(self) -> None:
        """End the engine, if it was started. Asking again starts it anew."""
        if "engine" in self.__dict__:
            self.__dict__.pop("asking", None)
            self.__dict__.pop("engine").close()

    def decode(self, answers: list[Answer]) -> Decoded:
        """The labels in the answers to one document's prompts, in the order of the passes."""
        if len(answers) == 1:
            return self.spec.passes[0].codec.decode(answers[0].text, complete=answers[0].complete)
        return Decoded.together(
            [
                each.codec.decode(answer.text, complete=answer.complete)
                for each, answer in zip(self.spec.passes, answers, strict=True)
            ]
        )

    def _answered(self, windows: Iterator[Asked], stop: Callable[[], bool]) -> Iterator[Verdicts]:
        """Hand prompts to the engine until there are no more, or no more are wanted."""
        portion = _Portion(self.spec)

        def prompts() -> Generator[Prompt, None, None]:
            for window in windows:
                portion.aside.extend(window.aside)
                for prompt in window.prompts:
                    if prompt.number == 0 and stop():
                        return
                    yield prompt

        answers = self.engine.generate(prompts())
        try:
            yield from self._judged(answers, portion)
        finally:
            close = getattr(answers, "close", None)
            if close is not None:
                close()

    def judged(self, answers: Iterator[Answer], aside: Sequence[Aside] = ()) -> Iterator[Verdicts]:
        """The labels in answers that come from elsewhere; a document that lacks one for a pass is left out.

        ``aside`` are documents that no model is asked about.
        """
        portion = _Portion(self.spec)
        portion.aside.extend(aside)
        return self._judged(answers, portion)

    def _judged(self, answers: Iterator[Answer], portion: _Portion) -> Iterator[Verdicts]:
        waiting: dict[str, list[Answer]] = {}
        passes = len(self.spec.passes)
        for answer in answers:
            if passes == 1:
                portion.add(self, [answer])
            else:
                given = waiting.setdefault(answer.key, [])
                given.append(answer)
                if len(given) < passes:
                    continue
                portion.add(self, sorted(waiting.pop(answer.key), key=lambda each: each.number))
            if portion.full():
                yield portion.take()
        if portion.size():
            yield portion.take()


def _windows(asking: Asking, inputs: Iterator[pa.RecordBatch]) -> Iterator[Asked]:
    for batch in inputs:
        for start in range(0, batch.num_rows, WINDOW):
            rows = batch.slice(start, WINDOW)
            yield asking.ask(rows["key"].to_pylist(), rows["text"].to_pylist())


class _Portion:
    """Verdicts that are being collected, by column."""

    def __init__(self, spec: Spec) -> None:
        self._names = [category.name for category in spec.taxonomy.categories]
        first, *others = spec.passes
        # The pairs of an answer that is in form, if every answer is about all categories in their order.
        self._pairs_of: Callable[[str], Sequence[_Codes] | None] = lambda text: None
        if isinstance(first.codec, Condensed) and not others and first.categories == spec.taxonomy.categories:
            self._pairs_of = first.codec.pairs
        #: Filled by whoever makes prompts, which may be another thread than the one that reads answers.
        self.aside: deque[Aside] = deque()
        self._clear()

    def _clear(self) -> None:
        self._keys: list[str] = []
        self._statuses: list[str] = []
        self._raw: list[str | None] = []
        self._tokens: list[int | None] = []
        self._rows: list[Sequence[_Codes]] = []
        self._since = monotonic()

    def size(self) -> int:
        """How many documents are here."""
        return len(self._keys) + len(self.aside)

    def full(self) -> bool:
        """Whether there is enough to be handed on, or it has waited long enough."""
        size = self.size()
        return size >= PORTION or (size > 0 and monotonic() - self._since > SECONDS)

    def add(self, labeler: PromptedLabeler, answers: list[Answer]) -> None:
        """Add a document by the answers to its prompts."""
        tokens = 0
        for answer in answers:
            labeler.usage.input += answer.prompt_tokens
            labeler.usage.output += answer.output_tokens
            tokens += answer.prompt_tokens + answer.output_tokens
        if len(answers) == 1 and answer.error is None and answer.complete:
            pairs = self._pairs_of(answer.text)
            if pairs is not None:
                self._keep(answer.key, "ok", answer.text, tokens, pairs)
                return
        failed = next((answer.error for answer in answers if answer.error is not None), None)
        if failed is not None:
            self._append(answers[0].key, "error", failed, tokens, {})
        else:
            decoded = labeler.decode(answers)
            self._append(answers[0].key, decoded.status, _raw(answers), tokens, decoded.verdict)

    def take(self) -> Verdicts:
        """All that is here, as verdicts."""
        while self.aside:
            key, error = self.aside.popleft()
            if error is None:
                self._append(key, "ok", None, 0, dict.fromkeys(self._names, (ABSTAIN, None)))
            else:
                self._append(key, "error", error, 0, {})
        codes: dict[str, tuple[Codes, Codes]] = {}
        for name, column in zip(self._names, zip(*self._rows, strict=True), strict=True):
            primary, secondary = zip(*column, strict=True)
            codes[name] = primary, secondary
        verdicts = Verdicts(self._keys, codes, self._statuses, self._raw, self._tokens)
        self._clear()
        return verdicts

    def _append(self, key: str, status: str, raw: str | None, tokens: int, pairs: Mapping[str, _Codes]) -> None:
        self._keep(key, status, raw, tokens, tuple(map(pairs.get, self._names, _NOTHING)))

    def _keep(self, key: str, status: str, raw: str | None, tokens: int, row: Sequence[_Codes]) -> None:
        self._keys.append(key)
        self._statuses.append(status)
        self._raw.append(raw)
        self._tokens.append(tokens)
        self._rows.append(row)


def _raw(answers: list[Answer]) -> str:
    if len(answers) == 1:
        return answers[0].text
    first, *others = answers
    return first.text + "".join(BETWEEN.format(answer.number + 1) + answer.text for answer in others)
