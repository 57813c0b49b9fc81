"""The engines behind labelers, one module each, imported when a labeler first needs it.

A backend that *writes* answers prompts with text: its module has ``open(spec)``, which gives an ``Engine``
(``udfs.labels.backends.protocol``), and may have a dataclass ``Settings`` for the section ``engine:`` of a labeler's file. A
backend that *judges* needs no prompt: its module has ``labeler(spec)``, which gives a ``Labeler`` (``udfs.labels.labels``).
Importing a module costs little: heavy packages are imported by ``open`` and ``labeler``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from udfs.errors import CuveeError

if TYPE_CHECKING:
    from udfs.labels.backends.protocol import Engine
    from udfs.labels.labelers.labeler import Spec
    from udfs.labels.labels import Labeler


@dataclass(frozen=True, slots=True)
class Backend:
    """What is known of a backend before it is imported: the extra with its packages, and what a labeler must say."""

    extra: str | None = None
    writes: bool = True
    model: bool = True


BACKENDS = {
    "encoder": Backend("train", writes=False, model=False),
    "fake": Backend(model=False),
    "heads": Backend("train", writes=False),
    "openai": Backend("openai"),
    "transformers": Backend("train"),
    "vllm": Backend("vllm"),
}


def module(name: str) -> ModuleType:
    """A backend's module. Raises CuveeError if this installation does not have it."""
    path = f"{__name__}.{name}"
    try:
        return import_module(path)
    except ModuleNotFoundError as error:
        if error.name == path:
            raise CuveeError(f"this installation of cuvee has no backend {name}") from error
        raise _missing(name, error) from error


def open_engine(spec: Spec) -> Engine:
    """Start the engine of a labeler that writes. Raises CuveeError naming the extra if a package is missing."""
    try:
        engine: Engine = module(spec.backend).open(spec)
    except ImportError as error:
        raise _missing(spec.backend, error) from error
    return engine


def judge(spec: Spec) -> Labeler:
    """The labeler of a backend that judges. Loads no model."""
    try:
        labeler: Labeler = module(spec.backend).labeler(spec)
    except ImportError as error:
        raise _missing(spec.backend, error) from error
    return labeler


def _missing(name: str, error: ImportError) -> CuveeError:
    extra = BACKENDS[name].extra
    package = (error.name or "").partition(".")[0]
    reason = f"needs the package {package}" if package else f"cannot be imported: {error}"
    return CuveeError(f"the backend {name} {reason}", hint=f"pip install 'cuvee[{extra}]'" if extra else None)
