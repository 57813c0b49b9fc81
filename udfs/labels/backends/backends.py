"""Starting the engine of a backend. Its module is imported when a labeler first needs it."""

from __future__ import annotations

from importlib import import_module

from udfs.errors import CuveeError
from udfs.labels.backends.engine import Engine
from udfs.labels.backends.settings import BACKENDS
from udfs.labels.spec import Spec


def open_engine(spec: Spec) -> Engine:
    """Start the engine of a labeler that writes. Raises CuveeError naming the extra if a package is missing."""
    path = f"{__package__}.{spec.backend}"
    try:
        engine: Engine = import_module(path).start_engine(spec)
    except ImportError as error:
        if error.name == path:
            raise CuveeError(f"this installation of cuvee has no backend {spec.backend}") from error
        extra = BACKENDS[spec.backend].extra
        package = (error.name or "").partition(".")[0]
        reason = f"needs the package {package}" if package else f"cannot be imported: {error}"
        hint = f"pip install 'cuvee[{extra}]'" if extra else None
        raise CuveeError(f"the backend {spec.backend} {reason}", hint=hint) from error
    return engine
