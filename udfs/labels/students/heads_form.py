"""The folder of an encoder with classification heads: what its ``config.json`` says.

    config.json          taxonomy, categories (codes in the order of the heads' outputs), ranks, pooling, limits
    heads.safetensors    CATEGORY.RANK.weight and .bias: outputs × dimensions of the encoder
    encoder/             an ordinary Hugging Face encoder with its tokenizer.json

``udfs.labels.students.heads`` is the model itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from udfs.errors import LabelerError, Location, did_you_mean
from udfs.labels.sampling import LIMIT
from udfs.labels.taxonomies.taxonomy import ABSTAIN, Taxonomy

CONFIG = "config.json"
HEADS = "heads.safetensors"
ENCODER = "encoder"

FORMAT = "cuvee-heads"
VERSION = 1

RANKS = ("primary", "secondary")
POOLINGS = ("mean", "first")


@dataclass(frozen=True, slots=True)
class HeadsForm:
    """What the outputs of the heads mean, and how much of a document the encoder reads.

    ``categories`` maps a category to its codes, of which output n of the primary head stands for the nth; ``-1``
    among them is an abstention. The secondary head has one output more, the first, for no secondary label.
    ``pooling`` makes one vector of a document: the ``mean`` over its tokens, or the ``first`` one's. Of a document
    with more than ``characters`` the head, a window and the tail are read (``udfs.labels.sampling``), and at most
    ``tokens`` in all, special tokens included.
    """

    taxonomy: str
    categories: Mapping[str, tuple[str, ...]]
    ranks: tuple[str, ...] = RANKS
    pooling: str = "mean"
    tokens: int = 512
    characters: int = LIMIT

    @classmethod
    def read(cls, folder: Path) -> HeadsForm:
        """Read a folder's configuration. Raises LabelerError if it is not valid."""
        path = folder / CONFIG
        where = Location(str(path))
        try:
            content = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise LabelerError(f"no {CONFIG} in {folder}", hint="the folder of an encoder with heads has one") from None
        except (OSError, ValueError) as error:
            raise LabelerError(f"cannot be read: {error}", where=where) from error
        if not isinstance(content, dict) or (content.get("format"), content.get("version")) != (FORMAT, VERSION):
            hint = f"it says format: {FORMAT}, version: {VERSION}; a plain encoder has no heads"
            raise LabelerError("not the configuration of an encoder with heads", where=where, hint=hint)
        try:
            form = cls(
                taxonomy=str(content["taxonomy"]),
                categories={str(name): tuple(map(str, codes)) for name, codes in content["categories"].items()},
                ranks=tuple(map(str, content["ranks"])),
                pooling=str(content["pooling"]),
                tokens=int(content["tokens"]),
                characters=int(content["characters"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise LabelerError(f"not a configuration of heads: {error!r}", where=where) from error
        if wrong := form._wrong():
            raise LabelerError(wrong, where=where)
        return form

    def write(self, folder: Path) -> None:
        """Write ``config.json``."""
        content = {"format": FORMAT, "version": VERSION, **asdict(self)}
        (folder / CONFIG).write_text(json.dumps(content, indent=1), encoding="utf-8")

    def outputs(self) -> dict[str, int]:
        """Return the heads by name (``CATEGORY.RANK``) with their numbers of outputs."""
        return {
            f"{name}.{rank}": len(codes) + (rank == "secondary")
            for name, codes in self.categories.items()
            for rank in self.ranks
        }

    def check(self, taxonomy: Taxonomy, folder: Path) -> None:
        """Raise LabelerError if the heads do not label by this taxonomy: all its categories, with its codes only."""
        where = Location(str(folder / CONFIG))
        if self.taxonomy != taxonomy.name:
            hint = f"write taxonomy: {self.taxonomy} in the labeler's file, or name another folder"
            raise LabelerError(
                f"these heads are for the taxonomy {self.taxonomy}, not {taxonomy.name}", where=where, hint=hint
            )
        known = [category.name for category in taxonomy.categories]
        for name in self.categories:
            if name not in known:
                raise LabelerError(
                    f"{taxonomy.name} has no category {name!r}", where=where, hint=did_you_mean(name, known)
                )
        for category in taxonomy.categories:
            if category.name not in self.categories:
                raise LabelerError(f"there is no head for {category.name}", where=where)
            for code in self.categories[category.name]:
                if not category.accepts(code) and not (code == ABSTAIN and category.abstains):
                    raise LabelerError(
                        f"a head gives {code!r}, which is not a code of {category.name}",
                        where=where,
                        hint="the taxonomy has changed since the heads were trained: train them again",
                    )

    def _wrong(self) -> str | None:
        if not self.categories:
            return "there are no categories"
        for name, codes in self.categories.items():
            if not codes or len(set(codes)) != len(codes):
                return f"the codes of {name} are empty, or not all different"
        if self.ranks not in (RANKS, RANKS[:1]):
            return f"ranks are {list(RANKS)}, or only the first"
        if self.pooling not in POOLINGS:
            return f"pooling is {' or '.join(POOLINGS)}, not {self.pooling!r}"
        return None if self.tokens >= 8 and self.characters >= 3 else "tokens or characters are too few"
