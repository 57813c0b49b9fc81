"""Which exports a recipe reads: the latest one of each mixture, and whether they fit together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from training.recipe.configuration import RecipeError
from training.recipe.recipe import Recipe
from udfs.errors import CuveeError, UsageError, did_you_mean
from warehouse.export.external_shards import external_manifest, is_external, is_url
from warehouse.export.manifest import Manifest, Stream
from warehouse.lake.lake import Lake


class MixtureChangedError(RecipeError):
    """A run was begun on another export than the one that would be read now."""


@dataclass(frozen=True, slots=True)
class Export:
    """A mixture as token sequences: in a folder, or at a URL that Streaming reads (``remote``).

    ``left_out`` is a component of it that is not read.
    """

    folder: Path
    manifest: Manifest
    remote: str | None = None
    left_out: str | None = None

    def without(self, component: str) -> Export:
        """Return the same export without a component: its streams repeat 0 times, so sample ids stay.

        Raises UsageError if it has no such component, or no other.
        """
        if component not in self.components:
            raise UsageError(
                f"the mixture {self.manifest.mixture} has no component {component!r} to leave out",
                hint=did_you_mean(component, self.components),
            )
        if len(self.components) == 1:
            raise UsageError(f"the mixture {self.manifest.mixture} has nothing but {component!r}")
        return replace(self, left_out=component)

    def place(self, stream: Stream) -> dict[str, Any]:
        """Return where a stream is, as Streaming's ``Stream`` takes it."""
        if self.remote is not None:
            return {"remote": f"{self.remote.rstrip('/')}/{stream.path}".removesuffix("/")}
        return {"local": str(self.folder / stream.path)}

    @property
    def sequence_length(self) -> int:
        """Tokens per sample."""
        return self.manifest.sequence_length or 0

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return self.manifest.vocab_size or 0

    def streams(self, component: str | None = None) -> tuple[Stream, ...]:
        """Return the streams of one component, or all, in the manifest's order; empty ones left out."""
        return tuple(
            replace(stream, repeat=0) if stream.component == self.left_out else stream
            for stream in self.manifest.streams
            if stream.samples and (component is None or stream.component == component)
        )

    @property
    def components(self) -> tuple[str, ...]:
        """Components that have samples, in the manifest's order."""
        return tuple(dict.fromkeys(stream.component for stream in self.streams()))

    def samples(self, component: str | None = None) -> int:
        """Count the samples in an epoch, with repeats."""
        return sum(stream.samples * stream.repeat for stream in self.streams(component))

    def share(self, component: str) -> float:
        """Return a component's part of the samples in an epoch: all samples have the same number of tokens."""
        return self.samples(component) / self.samples()

    def max_epochs(self, component: str) -> float | None:
        """Return how often the mixture lets a component be seen, None where it does not say."""
        found = self.manifest.components.get(component)
        return found.max_epochs if found else None

    def distinct_samples(self, component: str) -> int:
        """Count the samples of a component, each once: ``more`` is a prefix of ``all``, where both exist."""
        streams = self.streams(component)
        return sum(s.samples for s in streams if not s.path.endswith("/more")) or sum(s.samples for s in streams)


@dataclass(frozen=True, slots=True)
class Reading:
    """An export that a run reads for ``steps`` batches: all of the run, or one of its stages."""

    export: Export
    steps: int


def share(readings: Sequence[Reading], component: str) -> float:
    """Return a component's part of what a run reads, over its stages."""
    parts = (one.steps * one.export.share(component) for one in readings if component in one.export.components)
    return sum(parts) / sum(one.steps for one in readings)


def stages_of(identity: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return what a recorded run read, in a row, by its identity: mixture, export and from_batch of each."""
    whole = {"mixture": identity.get("mixture"), "export": identity.get("export"), "from_batch": 0}
    stages: Sequence[Mapping[str, Any]] = identity.get("stages", [whole])
    return stages


def find(lake: Lake, recipe: Recipe) -> Mapping[str, Export]:
    """Find the latest export of every mixture of a recipe, by name. A name with ``/`` in it is a folder or URL.

    Raises UsageError where one is missing, with the command that makes it, and RecipeError where they do not fit: text
    instead of tokens, different tokenizers or sequence lengths, a batch that is not a whole number of sequences.
    """
    rows = lake.reader().execute("select mixture, path from exports.exports order by exported_at").fetchall()
    latest = {str(mixture): Path(path) for mixture, path in rows}
    own = {name: _read(name, latest.get(name)) for name in recipe.mixtures if not is_external(name)}
    known = [export.manifest for export in own.values()]
    exports = {name: own.get(name) or _foreign(name, known, lake.snapshot()) for name in recipe.mixtures}
    first, *others = exports.values()
    for export in others:
        for what in ("tokenizer_fingerprint", "sequence_length"):
            ours, theirs = getattr(first.manifest, what), getattr(export.manifest, what)
            if ours != theirs:
                raise RecipeError(
                    f"{first.manifest.mixture} and {export.manifest.mixture} were exported with different"
                    f" {'tokenizers' if 'tokenizer' in what else 'sequence lengths'}:"
                    f" {_named(first.manifest, what)} and {_named(export.manifest, what)}",
                    hint=f"export one of them again: {_command(export.manifest.mixture)}",
                )
    if recipe.sequence_length not in (None, first.sequence_length):
        raise RecipeError(
            f"the recipe is for sequences of {recipe.sequence_length:,} tokens, the exports have"
            f" {first.sequence_length:,}",
            hint=f"{_command(first.manifest.mixture)} --sequence-length {recipe.sequence_length}",
        )
    if recipe.batch_tokens % first.sequence_length:
        raise RecipeError(
            f"batch_tokens {recipe.batch_tokens:,} is not a whole number of sequences of"
            f" {first.sequence_length:,} tokens"
        )
    return exports


def _foreign(place: str, known: Sequence[Manifest], snapshot_id: int) -> Export:
    manifest = external_manifest(place, known, snapshot_id)
    return Export(Path(place).absolute(), manifest, place if is_url(place) else None)


def _read(mixture: str, folder: Path | None) -> Export:
    if folder is None:
        raise UsageError(f"the mixture {mixture} has not been exported", hint=f"export it: {_command(mixture)}")
    try:
        manifest = Manifest.read(folder)
    except UsageError as error:
        raise UsageError(
            f"the export of {mixture} was in {folder} and is not there any more",
            hint=f"export it again: {_command(mixture)}",
        ) from error
    if manifest.format != "tokens" or not manifest.sequence_length or not manifest.vocab_size:
        raise RecipeError(
            f"the latest export of {mixture} holds {manifest.format}, and training reads tokens",
            hint=f"export it as tokens: {_command(mixture)}",
        )
    if manifest.packing != "concatenate" or manifest.boundaries != "end_of_text":
        raise RecipeError(
            f"the latest export of {mixture} is packed by {manifest.packing}, with boundaries by {manifest.boundaries};"
            " training reads full sequences in which the end of text ends documents",
            hint=f"export it so: {_command(mixture)}",
        )
    export = Export(folder, manifest)
    if not export.streams():
        raise CuveeError(f"the export of {mixture} in {folder} holds no samples")
    return export


def _named(manifest: Manifest, what: str) -> str:
    if what == "tokenizer_fingerprint":
        return f"{manifest.tokenizer} ({(manifest.tokenizer_fingerprint or 'none')[:8]})"
    return f"{getattr(manifest, what)}"


def _command(mixture: str) -> str:
    return f"cuvee export {mixture} --out exports/{mixture}"
