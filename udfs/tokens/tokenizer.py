"""Tokenizers: training a byte-level BPE from documents, loading any tokenizer.json, and ``n_tokens`` for SQL.

A tokenizer is a folder with ``tokenizer.json`` (the format of the ``tokenizers`` library). With those trained here
every text can be encoded and comes back byte for byte; their one special token, ``<|endoftext|>`` with id 0, ends a
document. It is put there where documents are packed, never by a text: a document that contains these characters
gets them as plain text.
"""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from udfs.atomic_files import write_atomically
from udfs.errors import CuveeError, UsageError, did_you_mean
from udfs.expensive import BoundFunction, answered
from udfs.prefetch import prefetch

Ids = NDArray[np.uint32]

END_OF_TEXT = "<|endoftext|>"

#: What tokenizers call the end of a text where their folder does not say.
ENDS = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "[SEP]")

FILE = "tokenizer.json"
CONFIG = "tokenizer_config.json"

_STORED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HUB = re.compile(r"(?P<id>[A-Za-z0-9][\w.-]*/[\w.-]+)(@(?P<revision>[\w./-]+))?")

#: A longer text is encoded piece by piece. An encoding takes some 100 bytes per token until its ids are taken out,
#: so a document of 200 MB would otherwise need 5 GB.
PIECE = 1_000_000

#: The end of a piece, or of the run without white space in which it would end: no token crosses this place, because
#: the pre-tokenizer never joins a character with white space after it. So the ids are those of the whole text.
_SEAM = re.compile(r"(?<=[^\s])(?=[ \n])")


class TokenizerError(CuveeError):
    """A tokenizer's file cannot be read or written."""


class Counter:
    """Any tokenizer that a tokenizer.json holds: special tokens are neither added nor read in a text. Uses all cores.

    Texts of our own kind of tokenizer are encoded in pieces of about ``PIECE`` characters. Others may join characters
    anywhere, so a text is encoded whole, whatever memory that takes (some 100 bytes per token).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tokenizer, serialized = _read(path)
        self.fingerprint: str = _fingerprint(serialized)
        self._tokenizer.encode_special_tokens = True  # not stored in the file: special tokens inside a text are text
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._may_cut = _is_byte_level(serialized)

    def count(self, texts: list[str]) -> list[int]:
        """Count the tokens of each text."""
        counts = [0] * len(texts)
        for owners, encodings in self._encodings(texts):
            for owner, encoding in zip(owners, encodings, strict=True):
                counts[owner] += len(encoding)
        return counts

    def _encodings(self, texts: list[str]) -> Iterator[tuple[list[int], list[Any]]]:
        """Encode the texts' pieces, about ``4 * PIECE`` characters at a time. Yields their owners and the encodings."""
        pieces: list[str] = []
        owners: list[int] = []
        waiting = 0
        for owner, text in enumerate(texts):
            for piece in _pieces(text) if self._may_cut else (text,):
                pieces.append(piece)
                owners.append(owner)
                waiting += len(piece)
                if waiting >= 4 * PIECE:
                    yield owners, self._tokenizer.encode_batch_fast(pieces, add_special_tokens=False)
                    pieces, owners, waiting = [], [], 0
        yield owners, self._tokenizer.encode_batch_fast(pieces, add_special_tokens=False)


class Tokenizer(Counter):
    """A tokenizer of the lake, trained there or elsewhere. Encoding is deterministic. Raises TokenizerError.

    ``end_token`` ends a document, ``end_of_text`` is its id: the ``eos_token`` of tokenizer_config.json next to the
    file, else the first of ``ENDS`` that there is. ``vocab_size`` counts added tokens.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / FILE)
        named = eos(folder / CONFIG)
        ids = {token: self._tokenizer.token_to_id(token) for token in ([named] if named else ENDS)}
        ends = [(token, found) for token, found in ids.items() if found is not None]
        if not ends:
            wanted = named or f"that ends a text, such as {END_OF_TEXT}"
            raise TokenizerError(f"the tokenizer {self.path} has no token {wanted}")
        self.end_token: str = ends[0][0]
        self.end_of_text: int = ends[0][1]
        self.vocab_size: int = self._tokenizer.get_vocab_size()

    def encode_batch(self, texts: list[str]) -> list[Ids]:
        """Return the token ids of each text, without special tokens.

        A run of more than ``PIECE`` characters without white space is cut after every ``PIECE`` characters.
        """
        parts: list[list[Ids]] = [[] for _ in texts]
        for owners, encodings in self._encodings(texts):
            for owner, encoding in zip(owners, encodings, strict=True):
                ids = array("I", encoding.ids)  # 5 ns an id, and 17 by numpy alone
                parts[owner].append(np.frombuffer(ids, np.uint32))
        return [found[0] if len(found) == 1 else np.concatenate(found) for found in parts]

    def decode(self, ids: Iterable[int]) -> str:
        """Decode token ids. Bytes that are not UTF-8, as when a character is cut, become U+FFFD."""
        text: str = self._tokenizer.decode(list(map(int, ids)), skip_special_tokens=False)
        return text


def train(texts: Iterator[str], folder: Path, vocab_size: int) -> Tokenizer:
    """Learn a byte-level BPE of at most ``vocab_size`` entries and write it to ``folder``, replacing what is there.

    Depends on the texts but not on their order; equal texts give an equal file. Few texts may give fewer entries.
    The texts are streamed; memory holds the distinct words. Raises UsageError if the vocabulary is too small.
    """
    library = _library()
    if vocab_size < 257:
        raise UsageError(f"a vocabulary of {vocab_size} is too small", hint=f"256 bytes and {END_OF_TEXT} make 257")
    byte_level = library.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    bpe = library.Tokenizer(library.models.BPE())
    bpe.pre_tokenizer = byte_level
    bpe.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(byte_level.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator((piece for text in texts for piece in _pieces(text)), trainer)
    write_atomically(folder / FILE, bpe.to_str(pretty=True), durable=True)
    return Tokenizer(folder)


def _pieces(text: str) -> Iterator[str]:
    """Cut a text into pieces of about ``PIECE`` characters, whose encodings, one after the other, are the text's."""
    start = 0
    while len(text) - start > PIECE:
        seam = _SEAM.search(text, start + PIECE // 2, start + PIECE)
        end = seam.start() if seam else start + PIECE
        yield text[start:end]
        start = end
    yield text[start:]


def eos(config: Path) -> str | None:
    """Read the ``eos_token`` of a tokenizer_config.json, None without one. Raises TokenizerError."""
    try:
        token = json.loads(config.read_bytes()).get("eos_token")
        found: str | None = token["content"] if isinstance(token, dict) else token
        return found
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise TokenizerError(f"cannot read {config}: {error}") from error


def _fingerprint(serialized: bytes) -> str:
    return hashlib.sha256(serialized).hexdigest()[:32]


def _library() -> Any:
    try:
        import tokenizers
        from tokenizers import decoders, models, pre_tokenizers, trainers  # noqa: F401  attributes of the package
    except ImportError as error:
        raise CuveeError("tokenizers need the package tokenizers", hint="pip install 'cuvee[train]'") from error
    return tokenizers


def _read(path: Path) -> tuple[Any, bytes]:
    """Read a file. Returns the library's tokenizer and the file's bytes. Raises TokenizerError."""
    try:
        serialized = path.read_bytes()
    except OSError as error:
        raise TokenizerError(f"cannot read the tokenizer {path}: {error.strerror}") from error
    try:
        return _library().Tokenizer.from_buffer(serialized), serialized
    except Exception as error:  # the library raises bare Exception
        raise TokenizerError(f"{path} is not a tokenizer: {error}") from error


def _is_byte_level(serialized: bytes) -> bool:
    """Return whether this is a tokenizer as ``train`` makes them, of which no token crosses a ``_SEAM``."""
    content = json.loads(serialized)
    before = content.get("pre_tokenizer") or {}
    return (
        content.get("normalizer") is None
        and (before.get("type"), before.get("add_prefix_space"), before.get("use_regex")) == ("ByteLevel", False, True)
        and {token["content"] for token in content.get("added_tokens", ())} <= {END_OF_TEXT}
    )


def find(name: str, stored: Path, project: Path) -> Path:
    """Find the tokenizer.json that ``name`` means.

    A name without ``/`` is a folder in ``stored`` (``<lake>/tokenizers``). Else it is a folder, or a file, relative to
    ``project``; where there is none, ``organisation/model`` or ``organisation/model@revision`` of the hub, whose file
    is taken from the client's cache or downloaded. Raises UsageError where there is nothing, CuveeError where the hub
    gives nothing.
    """
    if _STORED.fullmatch(name):
        known = [path.parent.name for path in stored.glob(f"*/{FILE}")]
        if name in known:
            return stored / name / FILE
        train = f"train one with: cuvee tokenizer train {name} --from MODEL"
        raise UsageError(f"no tokenizer {name!r} in {stored}", hint=did_you_mean(name, known) or train)
    place = project / Path(name).expanduser()
    for path in (place / FILE, place):
        if path.is_file():
            return path
    if place.is_dir():
        raise UsageError(
            f"no tokenizer {name!r}: no {FILE} in {place}",
            hint="transformers writes one: AutoTokenizer(…).save_pretrained(…)",
        )
    if found := _HUB.fullmatch(name):
        return _download(found["id"], found["revision"])
    raise UsageError(f"no tokenizer {name!r}: there is no {place}", hint=f"name a folder that has {FILE}")


def _download(model: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise CuveeError("a tokenizer of the hub needs the package huggingface_hub") from error
    try:
        return Path(hf_hub_download(model, FILE, revision=revision))
    except Exception as error:  # of many kinds: no network, no such model, no permission
        first = str(error).partition("\n")[0]
        raise CuveeError(
            f"cannot get the tokenizer of {model}: {first}",
            hint=f"a folder of that name has no {FILE} here; download it where there is a network, and name the folder",
        ) from error


@dataclass(frozen=True)
class BoundTokenCount(BoundFunction):
    """``n_tokens`` with its tokenizer fixed. ``labeler`` is the tokenizer's name."""

    labeler: str
    path: Path
    fingerprint: str
    store: str = field(default="counts.n_tokens", init=False)
    columns: pa.Schema = field(default=pa.schema([pa.field("n_tokens", pa.int64())]), init=False)
    result: str = field(default="n_tokens", init=False)

    @cached_property
    def _counter(self) -> Counter:
        counter = Counter(self.path)
        if counter.fingerprint != self.fingerprint:
            raise TokenizerError(f"the tokenizer {self.labeler} was replaced while it was in use", hint="run again")
        return counter

    def answers(self, inputs: Iterator[pa.RecordBatch]) -> Generator[pa.RecordBatch, None, None]:
        """Count the tokens of every text; see ``BoundFunction.answers``. No text fails; an empty one has 0 tokens.

        The next texts are read while these are encoded.
        """
        with closing(prefetch((batch["key"], batch["text"].to_pylist()) for batch in inputs)) as stream:
            for keys, texts in stream:
                yield answered(self, keys, [pa.array(self._counter.count(texts), pa.int64())])


@dataclass(frozen=True)
class TokenCount:
    """``n_tokens(text, tokenizer)``: how many tokens a text has, special ones such as the end of text not counted.

    Folders of tokenizers that are not the lake's own are relative to ``project``.
    """

    tokenizers: Path
    project: Path = Path()
    name: str = field(default="n_tokens", init=False)

    def bind(self, options: tuple[str | int | float | bool, ...]) -> BoundFunction:
        """Fix the tokenizer (see ``find``). Reads its file, to identify it.

        Raises UsageError if there is none.
        """
        if len(options) != 1 or not isinstance(options[0], str):
            raise UsageError("n_tokens takes a text and a tokenizer's name", hint="write n_tokens(text, 'NAME')")
        path = find(options[0], self.tokenizers, self.project)
        try:
            return BoundTokenCount(options[0], path, _fingerprint(path.read_bytes()))
        except OSError as error:
            raise TokenizerError(f"cannot read the tokenizer {path}: {error.strerror}") from error
