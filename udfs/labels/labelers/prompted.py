"""Labelers that write: a document becomes a prompt, and what the model answers becomes labels.

texts ─▶ prompts (a thread, ahead) ─▶ engine, as many in flight as it likes ─▶ labels, a few hundred at a time
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, repeat
from time import monotonic

import pyarrow as pa

from udfs.expensive import Usage, stopped
from udfs.labels.backends import engine
from udfs.labels.backends.engine import Answer, Engine, Prompt
from udfs.labels.codecs import Condensed, Decoded
from udfs.labels.labeler import Codes, Labeler, Verdicts, documents, readable
from udfs.labels.labelers.prompt_batch import PromptBatch, PromptMaker, Skipped, sound
from udfs.labels.spec import Spec
from udfs.labels.taxonomies.taxonomy import ABSTAIN
from udfs.prefetch import prefetch

_Codes = tuple[str | None, str | None]

#: Documents that are made into prompts together, and how many such windows are ready before the engine asks.
WINDOW = 256
WINDOWS_AHEAD = 2

#: Answers that are handed on together, and how many seconds those that are there wait for more.
PORTION = 256
SECONDS = 1.0

#: For as many categories as there may be.
_NOTHING: Iterable[_Codes] = repeat((None, None))

#: Separates the answers of several passes in what is kept of them.
BETWEEN = "\n\n--- pass {} ---\n\n"


class PromptedLabeler(Labeler):
    """A labeler whose engine writes answers to prompts."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.taxonomy = spec.taxonomy
        self.name = spec.name
        #: Tokens paid for since it was made.
        self.usage: Usage = Usage()

    @property
    def fingerprint(self) -> str:
        """Over the model, the prompts, the codec, the generation and what is read of a document."""
        return self.spec.fingerprint

    @cached_property
    def engine(self) -> Engine:
        """The running engine; started when it is first needed. Raises CuveeError if it cannot be."""
        return engine.open_engine(self.spec)

    @cached_property
    def prompt_maker(self) -> PromptMaker:
        """The maker of prompts for the engine."""
        return PromptMaker(self.spec, self.engine.chat)

    def label(self, inputs: Iterator[pa.RecordBatch]) -> Iterator[Verdicts]:
        """Label every text; see ``Labeler.label``. Closing the iterator cancels what is in flight.

        A text that no model is asked about (``udfs.labels.labelers.prompt_batch``) abstains and costs nothing, or has
        status ``error``.
        """
        batches = iter(inputs)
        for batch in batches:
            if stopped(inputs):
                return
            if not any(map(readable, batch["text"].to_pylist())):
                yield Verdicts.abstained(self.taxonomy, batch["key"].to_pylist())
                continue
            prompt_maker = self.prompt_maker  # starts the engine in this thread: some set signal handlers
            made = (prompt_maker.batch(*each) for each in documents(chain([batch], batches), WINDOW))
            windows = prefetch(made, WINDOWS_AHEAD)
            try:
                yield from self._answered(windows, lambda: stopped(inputs))
            finally:
                windows.close()

    def close(self) -> None:
        """End the engine, if it was started. It starts again with the next prompt."""
        if "engine" in self.__dict__:
            self.__dict__.pop("prompt_maker", None)
            self.__dict__.pop("engine").close()

    def decode(self, answers: list[Answer]) -> Decoded:
        """Read the labels in the answers to one document's prompts, in the order of the passes."""
        return Decoded.together(
            [
                each.codec.decode(answer.text, complete=answer.complete)
                for each, answer in zip(self.spec.passes, answers, strict=True)
            ]
        )

    def _answered(self, windows: Iterator[PromptBatch], stop: Callable[[], bool]) -> Iterator[Verdicts]:
        """Hand prompts to the engine until there are no more, or no more are wanted."""
        portion = _Portion(self.spec)

        def prompts() -> Generator[Prompt, None, None]:
            for window in windows:
                portion.skipped.extend(window.skipped)
                for prompt in window.prompts:
                    if prompt.number == 0 and stop():
                        return
                    yield prompt

        answers = self.engine.generate(prompts())
        try:
            yield from self._judged(answers, portion)
        finally:
            answers.close()

    def judged(self, answers: Iterator[Answer], skipped: Sequence[Skipped] = ()) -> Iterator[Verdicts]:
        """Read the labels in answers that come from elsewhere. A document that lacks one for a pass is left out.

        ``skipped`` are documents that no model is asked about.
        """
        portion = _Portion(self.spec)
        portion.skipped.extend(skipped)
        return self._judged(answers, portion)

    def _judged(self, answers: Iterator[Answer], portion: _Portion) -> Iterator[Verdicts]:
        waiting: dict[str, list[Answer]] = {}
        passes = len(self.spec.passes)
        failure: BaseException | None = None
        while True:
            try:
                answer = next(answers, None)
            except BaseException as error:  # what was answered is paid for: it is handed on first
                failure = error
                break
            if answer is None:
                break
            if passes == 1:
                portion.add(self, [answer])
            else:
                found = waiting.setdefault(answer.key, [])
                found.append(answer)
                if len(found) < passes:
                    continue
                portion.add(self, sorted(waiting.pop(answer.key), key=lambda each: each.number))
            if portion.full():
                yield portion.take()
        if portion.size():
            yield portion.take()
        if failure is not None:
            raise failure


class _Portion:
    """Verdicts that are being collected, by column."""

    def __init__(self, spec: Spec) -> None:
        self._names = [category.name for category in spec.taxonomy.categories]
        first, *others = spec.passes
        # The pairs of a well-formed answer, if every answer is about all categories in their order.
        self._pairs_of: Callable[[str], Sequence[_Codes] | None] = lambda text: None
        if isinstance(first.codec, Condensed) and not others and first.categories == spec.taxonomy.categories:
            self._pairs_of = first.codec.pairs
        #: Filled where prompts are made, perhaps in another thread than the one that reads answers.
        self.skipped: deque[Skipped] = deque()
        self._clear()

    def _clear(self) -> None:
        self._keys: list[str] = []
        self._statuses: list[str] = []
        self._raw: list[str | None] = []
        self._tokens: list[int | None] = []
        self._rows: list[Sequence[_Codes]] = []
        self._since = monotonic()

    def size(self) -> int:
        """Count the documents that are here."""
        return len(self._keys) + len(self.skipped)

    def full(self) -> bool:
        """Return whether there is enough to be handed on, or it has waited long enough."""
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
            raw = answers[0].text + "".join(BETWEEN.format(each.number + 1) + each.text for each in answers[1:])
            self._append(answers[0].key, decoded.status, raw, tokens, decoded.verdict)

    def take(self) -> Verdicts:
        """Return all that is here as verdicts, and start again."""
        while self.skipped:
            key, error = self.skipped.popleft()
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
        self._raw.append(raw if raw is None else sound(raw))
        self._tokens.append(tokens)
        self._rows.append(row)
