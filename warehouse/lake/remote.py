"""Files at URLs that fsspec opens: ``hf://datasets/…`` (by huggingface_hub's file system), ``s3://…`` and others."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from udfs.errors import CuveeError, UsageError

_URL = re.compile(r"[a-z][a-z0-9+.-]*://.")


def is_url(text: str) -> bool:
    """Tell whether this is a URL, not a path."""
    return _URL.match(text) is not None


def fetch(url: str, folder: Path, wanted: Callable[[str], bool] = lambda path: True) -> list[Path]:
    """Download what is at and below ``url`` into ``folder``, each file under its path below the URL.

    ``wanted`` is asked for each such path. Files get the remote's time of change where it tells one, else time 0: the
    same file looks the same next time. Raises UsageError where there is nothing, CuveeError where it cannot be read.
    """
    try:
        from fsspec.core import url_to_fs

        files, root = url_to_fs(url)
        found: dict[str, dict[str, Any]] = files.find(root, detail=True)
        fetched = []
        for path, info in sorted(found.items()):
            below = path[len(root) :].strip("/") or path.rpartition("/")[2]
            if not wanted(below) or ".." in Path(below).parts:
                continue
            target = folder / below
            target.parent.mkdir(parents=True, exist_ok=True)
            files.get_file(path, str(target))
            moment = _changed(info)
            os.utime(target, (moment, moment))
            fetched.append(target)
    except ImportError as error:
        raise CuveeError(f"cannot open {url}: {error}", hint="pip install the package that fsspec asks for") from error
    except CuveeError:
        raise
    except Exception as error:  # each file system has errors of its own: no network, no such bucket, no permission
        first = str(error).partition("\n")[0] or type(error).__name__
        hint = "without a network, download it elsewhere and name the folder"
        raise CuveeError(f"cannot read {url}: {first}", hint=hint) from error
    if not fetched:
        raise UsageError(f"nothing at {url}")
    return fetched


def _changed(info: dict[str, Any]) -> float:
    for name in ("mtime", "LastModified", "last_modified", "updated", "created"):
        moment = info.get(name)
        if isinstance(moment, datetime):
            return moment.timestamp()
        if isinstance(moment, int | float):
            return float(moment)
    return 0.0
