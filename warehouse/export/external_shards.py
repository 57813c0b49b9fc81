"""Token shards that others wrote, as a recipe's mixture: a folder or URL with MDS folders at any depth.

The published data of Ettin are so: ``train/books/books_0001/index.json`` and shards with ``id`` and ``input_ids``. A
component is the first folder that tells streams apart (``books``), and everything is seen once.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from udfs.errors import UsageError
from udfs.tokens.tokenizer import FILE, Tokenizer
from warehouse.export.manifest import ExportComponent, Manifest, Stream, checksum
from warehouse.lake.remote import fetch
from warehouse.lake.remote import is_url as is_url
from warehouse.mds import encodings
from warehouse.mds.index import MDSIndex, find_folders
from warehouse.mds.reader import read_shard

COLUMNS = ("input_ids", "tokens")


def is_external(mixture: str) -> bool:
    """Check whether a recipe's mixture is a folder or a URL, not the name of an export."""
    return is_url(mixture) or "/" in mixture


def external_manifest(place: str, ours: Sequence[Manifest], snapshot_id: int) -> Manifest:
    """Make the manifest that these shards would have if they had been exported.

    The vocabulary and the end of text are those of tokenizer.json next to the shards, else those of ``ours``, the
    recipe's other mixtures, whose tokenizer is then believed to be the same. Where samples differ in length, so is the
    sequence length, else it is that of the longest sample in each stream's first shard; ``fitted`` fits them to it.
    Raises UsageError where something is missing, MDSError for shards that cannot be read.
    """
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(place)
        if is_url(place):
            root = Path(scratch)
            fetch(place, root, lambda path: path.rpartition("/")[2] in ("index.json", FILE))
        elif not root.is_dir():
            raise UsageError(f"no folder {place} with token shards", hint="a mixture with / in its name is a folder")
        indexes = [MDSIndex.read(folder) for folder in find_folders(root)]
        if not indexes:
            raise UsageError(f"no MDS shards in {place}", hint="training reads folders with index.json and shards")
        column, encoding = _column(indexes, place)
        vocabulary, end, fingerprint = _tokenizer(root / FILE, ours, place)
        length = encoding.shape[0] if encoding.shape else None
        length = length or next((one.sequence_length for one in ours if one.sequence_length), None)
        if length is None:
            firsts = [index for index in indexes if index.shards][: 1 if is_url(place) else None]
            length = max(_longest(index, column, place, root) for index in firsts)
        streams = tuple(_streams(indexes, root, length))
        digest = hashlib.sha256(json.dumps([(s.path, s.checksum) for s in streams]).encode()).hexdigest()[:32]
    samples = sum(stream.samples for stream in streams)
    components = {
        name: ExportComponent(
            documents=count,
            copies=count,
            tokens=count * length,
            share=count / samples,
            exported_tokens=count * length,
            dropped_tokens=0,
        )
        for name in dict.fromkeys(stream.component for stream in streams)
        if (count := sum(stream.samples for stream in streams if stream.component == name))
    }
    return Manifest(
        export_id=digest,
        mixture=place,
        fingerprint=digest,
        snapshot_id=snapshot_id,
        format="tokens",
        column=column,
        tokenizer=None,
        tokenizer_fingerprint=fingerprint,
        vocab_size=vocabulary,
        end_of_text=end,
        sequence_length=length,
        seed=0,
        components=components,
        streams=streams,
        sql=None,
        samples_checksum="",
        exported_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def fitted(tokens: NDArray[Any], length: int, end_of_text: int) -> NDArray[Any]:
    """Return a sample of exactly ``length`` tokens: cut, or filled up with ends of text."""
    if len(tokens) == length:
        return tokens
    return np.concatenate([tokens[:length], np.full(max(0, length - len(tokens)), end_of_text, tokens.dtype)])


def _column(indexes: list[MDSIndex], place: str) -> tuple[str, encodings.Encoding]:
    """Find the column of tokens, which all shards must have. Its encoding has a shape only if all have the same."""
    found: set[tuple[str, str]] = set()
    for shard in (shard for index in indexes for shard in index.shards):
        columns = dict(shard.columns)
        name = next((name for name in COLUMNS if columns.get(name, "").startswith("ndarray")), None)
        if name is None:
            raise UsageError(
                f"{shard.folder if not is_url(place) else place} holds {', '.join(columns)}; training reads tokens",
                hint=f"a column {' or '.join(COLUMNS)} of arrays; text is ingested first: cuvee ingest",
            )
        found.add((name, columns[name]))
    names = {name for name, _ in found}
    if len(names) != 1:
        raise UsageError(f"no column of tokens that all shards in {place} have: {', '.join(sorted(names)) or 'none'}")
    parsed = [encodings.parse(encoding) for _, encoding in found]
    shapes = {each.shape for each in parsed}
    return names.pop(), parsed[0] if len(shapes) == 1 else encodings.Encoding("ndarray")


def _tokenizer(path: Path, ours: Sequence[Manifest], place: str) -> tuple[int, int, str | None]:
    """Return the size of the vocabulary, the end of text and the fingerprint."""
    if path.is_file():
        tokenizer = Tokenizer(path.parent)
        return tokenizer.vocab_size, tokenizer.end_of_text, tokenizer.fingerprint
    for manifest in ours:
        if manifest.vocab_size:
            return manifest.vocab_size, manifest.end_of_text or 0, manifest.tokenizer_fingerprint
    raise UsageError(f"nothing says what the tokens in {place} mean", hint=f"put their {FILE} next to the shards")


def _longest(index: MDSIndex, column: str, place: str, root: Path) -> int:
    """Count the tokens in the longest sample of the first shard."""
    shard = index.shards[0]
    if is_url(place) and not shard.path.exists():
        names = {file.basename for file in (shard.raw, shard.zipped) if file}
        below = index.folder.relative_to(root).as_posix()
        fetch(f"{place.rstrip('/')}/{below}".removesuffix("/."), index.folder, names.__contains__)
    return max(int(pc.max(pc.list_value_length(batch[column])).as_py()) for batch in read_shard(shard))


def _streams(indexes: list[MDSIndex], root: Path, length: int) -> Iterator[Stream]:
    paths = [index.folder.relative_to(root).parts for index in indexes]
    common = 0
    while len({path[: common + 1] for path in paths}) == 1 and len(paths[0]) > common + 1:
        common += 1
    for index, path in zip(indexes, paths, strict=True):
        samples = sum(shard.samples for shard in index.shards)
        yield Stream(
            component=path[common] if len(path) > common else root.name,
            path="/".join(path),
            repeat=1,
            samples=samples,
            tokens=samples * length,
            documents=samples,
            dropped_tokens=0,
            checksum=checksum(index.folder / "index.json"),
        )
