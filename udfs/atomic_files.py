"""Files that are written as a whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, content: bytes | str, *, durable: bool = False) -> None:
    """Write a file so that a reader finds all of its new content or all of the old. Text is UTF-8.

    A ``durable`` one is there after a power cut too; what can be written again need not wait for the disk.
    Makes the folder if it is missing. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_atomically(path, durable=durable) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def open_atomically(path: Path, *, durable: bool = False) -> Iterator[BinaryIO]:
    """Open a file to write that takes the place of ``path`` at the end, or is removed after an error.

    The content goes to a hidden file in the same folder before it gets its name. Raises OSError.
    """
    partial = path.with_name(f".{uuid.uuid4().hex}")
    try:
        with partial.open("wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
