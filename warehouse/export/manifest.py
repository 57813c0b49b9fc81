"""The manifest of an export: what was exported, from which snapshot, and which streams a trainer reads.

    DIR/
        manifest.json                   this
        streams.yaml                    the `streams:` block of a Composer or llm-foundry recipe
        samples.parquet                 sample_id, component, stream, doc_id, n_tokens: a row per document in a sample
        index.json                      all streams as one MDS dataset, each once
        <component>/index.json          those of one component
        <component>/<all|more>/         index.json and shards, one MDS dataset per stream

Training reads this module and nothing else of the warehouse's exports, so it imports the standard library only.
"""

from __future__ import annotations

import hashlib
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from udfs.errors import ExportError, Location, UsageError, did_you_mean

FILE = "manifest.json"
SAMPLES = "samples.parquet"
STREAMS = "streams.yaml"

#: Version of the layout above. A reader refuses what is newer than itself.
VERSION = 1


class ManifestError(ExportError):
    """A manifest that cannot be read, or does not say what it must."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One MDS folder of an export. All numbers count the stream once, whatever it repeats.

    ``tokens`` are those in its samples: in a token export samples × sequence length, in a text export as the mixture
    counts them. ``dropped_tokens`` are the tails that did not fill a sequence. ``checksum`` is index.json's SHA-256,
    and the index has a hash of every shard. ``units`` name the parts of the lake's store that it consists of.
    """

    component: str
    path: str
    repeat: int
    samples: int
    tokens: int
    documents: int
    dropped_tokens: int
    checksum: str
    units: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExportComponent:
    """What the mixture gave one component. ``copies`` and ``tokens`` count repeats; ``share`` is of all tokens.

    ``tokens`` are counted as the mixture counts them; ``exported_tokens`` are those in samples, ends of documents
    among them, and ``dropped_tokens`` those in tails that did not fill a sequence, repeats counted. ``max_epochs`` is
    how often a training may see its documents, None where the mixture does not say it.
    """

    documents: int
    copies: int
    tokens: int
    share: float
    exported_tokens: int
    dropped_tokens: int
    max_epochs: float | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """The manifest of an export.

    ``fingerprint`` identifies the mixture (documents and copies), ``export_id`` also how it was written (format,
    tokenizer, sequence length, seed). ``sql`` is the mixture's compiled query, where the lake knows it.
    ``column`` names the column that holds text or tokens. ``packing`` is how documents became sequences: of exactly
    ``sequence_length`` tokens by ``concatenate``, of at most that many by the others. ``bos`` and ``end_of_text`` are
    the ids before and after each document, None for none; ``boundaries`` tells where documents meet in a sample:
    ``end_of_text`` (after each of these tokens), ``lengths`` (a column) or ``samples`` (nowhere: a sample is of one
    document). ``num_canonical_nodes`` is what a StreamingDataset over the export should be given, for the order and
    the padding of an epoch depend on it.
    """

    export_id: str
    mixture: str
    fingerprint: str
    snapshot_id: int
    format: str
    column: str
    tokenizer: str | None
    tokenizer_fingerprint: str | None
    vocab_size: int | None
    end_of_text: int | None
    sequence_length: int | None
    seed: int
    components: Mapping[str, ExportComponent]
    streams: tuple[Stream, ...]
    sql: str | None
    samples_checksum: str
    exported_at: str
    packing: str = "concatenate"
    bos: int | None = None
    boundaries: str = "end_of_text"
    num_canonical_nodes: int = 1
    version: int = VERSION

    @property
    def samples(self) -> int:
        """Samples in an epoch: every stream as often as it repeats."""
        return sum(stream.samples * stream.repeat for stream in self.streams)

    @property
    def tokens(self) -> int:
        """Tokens in an epoch: every stream as often as it repeats."""
        return sum(stream.tokens * stream.repeat for stream in self.streams)

    def padding(self, nodes: int = 1, ranks_per_node: int = 1) -> int:
        """Count the samples that Streaming yields a second time in an epoch, so that every rank gets as many.

        Holds for both of Streaming's partition algorithms at the start of an epoch, whatever the batch size and the
        number of workers are, for datasets of more samples than canonical nodes. Raises UsageError where neither the
        number of nodes nor that of canonical nodes divides the other.
        """
        canonical = self.num_canonical_nodes
        if nodes % canonical and canonical % nodes:
            raise UsageError(f"{nodes} nodes and {canonical} canonical nodes: one must divide the other")
        share = _rounded(-(-self.samples // canonical), max(1, nodes // canonical))
        return nodes * _rounded(canonical * share // nodes, ranks_per_node) - self.samples

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read ``folder/manifest.json``. Raises UsageError where there is none, ManifestError where it is not valid."""
        path = folder / FILE
        try:
            content = json.loads(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError) as error:
            message = f"{folder} is not an export: no {FILE} in it"
            raise UsageError(message, hint="make one with: cuvee export") from error
        except ValueError as error:
            raise ManifestError(f"not valid JSON: {error}", where=Location(str(path))) from error
        return cls.parse(content, where=str(path))

    @classmethod
    def parse(cls, content: object, *, where: str = FILE) -> Manifest:
        """Parse a JSON value. Raises ManifestError that names the field that is missing or wrong."""
        here = Location(where)
        if isinstance(content, dict) and isinstance(content.get("version"), int) and content["version"] > VERSION:
            message = f"made by a newer Cuvée (layout {content['version']}, this one reads {VERSION})"
            raise ManifestError(message, where=here)
        manifest: Manifest = _read(cls, content, "manifest", where)
        if not manifest.streams:
            raise ManifestError("no streams", where=here)
        for stream in manifest.streams:
            if stream.component not in manifest.components:
                message = (
                    f"stream {stream.path!r} is of component {stream.component!r}, which the manifest does not have"
                )
                raise ManifestError(message, where=here, hint=did_you_mean(stream.component, manifest.components))
            if stream.repeat < 1 or stream.samples < 0:
                message = f"stream {stream.path!r}: repeat {stream.repeat}, samples {stream.samples}"
                raise ManifestError(message, where=here)
            if Path(stream.path).is_absolute() or ".." in Path(stream.path).parts:
                raise ManifestError(f"stream path {stream.path!r} leaves the export", where=here)
        return manifest

    def to_json(self) -> str:
        """Return the manifest as JSON, keys in the order of the fields."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

    def write(self, folder: Path) -> None:
        """Write ``folder/manifest.json``."""
        (folder / FILE).write_text(self.to_json() + "\n", encoding="utf-8")


def _rounded(number: int, unit: int) -> int:
    """Round up to a multiple of ``unit``."""
    return -(-number // unit) * unit


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


T = TypeVar("T")


def _read(kind: type[T], value: object, name: str, where: str) -> T:
    """Build a dataclass from a JSON object.

    Fields it does not know are skipped: a later version may add some. Fields with defaults may be absent.
    """
    if not isinstance(value, dict):
        raise ManifestError(f"{name} must be an object, not {_shown(value)}", where=Location(where))
    hints = typing.get_type_hints(kind)
    defaults = {field.name: field.default for field in fields(kind)}  # type: ignore[arg-type]
    if missing := [key for key, default in defaults.items() if key not in value and default is MISSING]:
        raise ManifestError(f"{name} lacks {', '.join(missing)}", where=Location(where))
    return kind(**{key: _value(hints[key], value[key], f"{name}.{key}", where) for key in defaults if key in value})


def _value(kind: Any, value: object, name: str, where: str) -> Any:
    """Check one JSON value against a field's type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return None if value is None else _value(arguments[0], value, name, where)
    if origin is tuple and isinstance(value, list):
        return tuple(_value(arguments[0], item, f"{name}[{index}]", where) for index, item in enumerate(value))
    if is_dataclass(kind):
        return _read(typing.cast(type, kind), value, name, where)
    if origin is not None and issubclass(origin, Mapping) and isinstance(value, dict):
        return {key: _read(arguments[1], item, f"{name}.{key}", where) for key, item in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if origin is None and isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    expected = {tuple: "a list"}.get(origin, getattr(kind, "__name__", "an object")) if origin else kind.__name__
    raise ManifestError(f"{name} must be {expected}, not {_shown(value)}", where=Location(where))


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."
