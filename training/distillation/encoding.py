"""A labelled document as what a student learns from: token ids, and what is to be said of them.

Documents are read and asked about by the code that serves the finished labeler, so a student is trained on exactly what
it will see: the same excerpt of a long document, the same chat format, and nothing of the teacher's prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from udfs.labels.taxonomies.taxonomy import ABSTAIN, Category, Pair

if TYPE_CHECKING:
    from udfs.labels.spec import Spec
    from udfs.labels.students.heads_form import HeadsForm

#: A target that is none: the head learns nothing from this document.
IGNORED = -100


class Example(NamedTuple):
    """Token ids of one document; ``targets`` are the encoder's own."""

    tokens: list[int]
    targets: list[int]


class ExampleEncoder(Protocol):
    """Makes examples; ``width`` numbers of targets each."""

    width: int

    def encode(
        self, keys: Sequence[str], texts: Sequence[str], verdicts: Sequence[Mapping[str, Pair]]
    ) -> list[Example | None]:
        """Make the examples of some documents; None for one that no labeler would be asked about."""


class GenerativeExamples:
    """For the generative student: the labeler's prompt and the labels in its codec. The target is the prompt's length.

    ``spec`` has one pass; its model's folder has the tokenizer.
    """

    width = 1

    def __init__(self, spec: Spec, folder: Path) -> None:
        from udfs.labels.chat import ChatFormat
        from udfs.labels.labelers.prompt_batch import PromptMaker

        self._chat = ChatFormat(folder)
        self._prompt_maker = PromptMaker(spec, self._chat)
        self._codec = spec.passes[0].codec

    def encode(
        self, keys: Sequence[str], texts: Sequence[str], verdicts: Sequence[Mapping[str, Pair]]
    ) -> list[Example | None]:
        """Make examples. Raises CodecError for labels that the codec cannot write."""
        prompts = {prompt.key: prompt.tokens or [] for prompt in self._prompt_maker.batch(keys, texts).prompts}
        answers = self._chat.answers([self._codec.encode(verdict) for verdict in verdicts])
        return [
            Example([*prompts[key], *answer], [len(prompts[key])]) if key in prompts else None
            for key, answer in zip(keys, answers, strict=True)
        ]


class HeadsExamples:
    """For the heads student: what its encoder reads, and per head the number of the right output."""

    def __init__(self, tokenizer: Path, form: HeadsForm) -> None:
        from udfs.labels.students.heads import HeadsReader

        self._reader = HeadsReader(tokenizer, form)
        self._form = form
        self._places = {name: {code: n for n, code in enumerate(codes)} for name, codes in form.categories.items()}
        self.width = len(form.outputs())

    def encode(
        self, keys: Sequence[str], texts: Sequence[str], verdicts: Sequence[Mapping[str, Pair]]
    ) -> list[Example | None]:
        """Make examples."""
        from udfs.labels.labeler import readable

        read = self._reader.read(keys, texts)
        return [
            Example(tokens, self._targets(verdict)) if readable(text) else None
            for tokens, text, verdict in zip(read, texts, verdicts, strict=True)
        ]

    def _targets(self, verdict: Mapping[str, Pair]) -> list[int]:
        targets = []
        for name, places in self._places.items():
            first, second = (_known(code, places) for code in verdict[name])
            targets.append(IGNORED if first is None else places.get(first, IGNORED))
            if second is None or second in (first, ABSTAIN):
                targets.append(0)
            else:
                targets.append(places[second] + 1 if second in places else IGNORED)
        return targets


def codes(category: Category) -> tuple[str, ...]:
    """Return the outputs of a category's head. FDC's are the classes of three digits."""
    return (*(label.code for label in category.choices), *((ABSTAIN,) if category.abstains else ()))


def _known(code: str | None, places: Mapping[str, int]) -> str | None:
    """Return the output's code for this one: of an FDC code with decimals the class above it."""
    return code if code is None or code in places else code.partition(".")[0]


@dataclass
class Row:
    """Examples that follow one another in a sequence, and their documents."""

    room: int
    examples: list[Example]
    documents: list[str]


class Packer:
    """Puts examples together into sequences of at most ``length`` tokens: each into the fullest open one it fits in.

    With 64 open sequences and examples of a quarter of the length, 1.5% of the places stay empty.
    """

    OPEN = 64

    def __init__(self, length: int) -> None:
        self._length = length
        self._open: list[Row] = []

    def add(self, document: str, example: Example) -> Row | None:
        """Place an example. Returns a sequence that is closed by it."""
        size = len(example.tokens)
        closed = None
        best = min((row for row in self._open if row.room >= size), key=lambda row: row.room, default=None)
        if best is None:
            if len(self._open) == self.OPEN:
                closed = min(self._open, key=lambda row: row.room)
                self._open.remove(closed)
            best = Row(self._length, [], [])
            self._open.append(best)
        best.room -= size
        best.examples.append(example)
        best.documents.append(document)
        return closed

    def rest(self) -> list[Row]:
        """Return the sequences that are still open."""
        rest, self._open = self._open, []
        return rest
