"""Files at URLs: one resolver for whatever reads and writes them.

S3, Google Cloud Storage, Azure and HDFS are opened by Arrow (``AWS_ENDPOINT_URL`` names another server than Amazon's),
``hf://datasets/…`` by huggingface_hub, and other URLs by fsspec.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from udfs.errors import CuveeError, UsageError, first_line

_URL = re.compile(r"[a-z][a-z0-9+.-]*://.")

#: What Arrow opens by itself.
_ARROW = ("s3", "gs", "gcs", "hdfs", "abfs", "abfss")


def is_url(text: str) -> bool:
    """Tell whether this is a URL, not a path."""
    return _URL.match(text) is not None


def file_system(url: str) -> tuple[Any, str]:
    """Return the Arrow file system of a URL, and the path in it.

    Raises UsageError for a URL that nothing here opens, OSError for a server that cannot be reached.
    """
    from pyarrow import fs

    parts = urlsplit(url)
    small = {"allow_delayed_open": True}  # one request for a small file, not three
    endpoints = map(os.environ.get, ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "S3_ENDPOINT_URL"))
    endpoint = next(filter(None, endpoints), "")
    try:
        if parts.scheme == "s3" and endpoint:
            server = urlsplit(endpoint)
            region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
            system = fs.S3FileSystem(endpoint_override=server.netloc, scheme=server.scheme, region=region, **small)
            return system, f"{parts.netloc}{parts.path}"
        if parts.scheme in _ARROW:
            return tuple(fs.FileSystem.from_uri(url))
        from fsspec.core import url_to_fs

        system, path = url_to_fs(url)
        return fs.PyFileSystem(fs.FSSpecHandler(system)), path.rstrip("/")
    except (ImportError, ValueError) as error:
        raise UsageError(
            f"cannot open {url}: {error}", hint=f"pip install what fsspec needs for {parts.scheme}://"
        ) from error


def fetch(url: str, folder: Path, wanted: Callable[[str], bool] = lambda path: True) -> list[Path]:
    """Download what is at and below ``url`` into ``folder``, each file under its path below the URL.

    ``wanted`` is asked for each such path. Files get the remote's time of change where it tells one, else time 0: the
    same file looks the same next time. Raises UsageError where there is nothing, CuveeError where it cannot be read.
    """
    try:
        system, root = file_system(url)
        fetched = []
        for path, moment in _listing(system, root):
            below = path[len(root) :].strip("/") or path.rpartition("/")[2]
            if not wanted(below) or ".." in Path(below).parts:
                continue
            target = folder / below
            target.parent.mkdir(parents=True, exist_ok=True)
            _download(system, path, target)
            os.utime(target, (moment, moment))
            fetched.append(target)
    except CuveeError:
        raise
    except Exception as error:  # each file system has errors of its own: no network, no such bucket, no permission
        hint = "without a network, download it elsewhere and name the folder"
        if urlsplit(url).scheme == "s3":
            hint = "are the credentials set? AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT_URL"
        raise CuveeError(f"cannot read {url}: {first_line(error)}", hint=hint) from error
    if not fetched:
        raise UsageError(f"nothing at {url}")
    return fetched


def _by_fsspec(system: Any) -> Any:
    """Return the file system of fsspec that an Arrow one wraps; None for Arrow's own."""
    return getattr(getattr(system, "handler", None), "fs", None)


def _listing(system: Any, root: str) -> Iterator[tuple[str, float]]:
    """Yield the files at and below a path in order, with their times of change."""
    from pyarrow import fs

    inner = _by_fsspec(system)
    if inner is not None:
        found: dict[str, dict[str, Any]] = {}
        # A server of web pages has no folders: the file itself is asked for first.
        if inner.isfile(root):
            found = {root: inner.info(root)}
        else:
            found = inner.find(root, detail=True)
        yield from ((path, _changed(info)) for path, info in sorted(found.items()))
        return
    here = system.get_file_info(root)
    infos = [here]
    if here.type != fs.FileType.File:
        infos = system.get_file_info(fs.FileSelector(root, allow_not_found=True, recursive=True))
    for info in sorted(infos, key=lambda each: each.path):
        if info.type == fs.FileType.File:
            yield info.path, info.mtime.timestamp() if info.mtime is not None else 0.0


def _download(system: Any, path: str, target: Path) -> None:
    from pyarrow import fs

    inner = _by_fsspec(system)
    if inner is not None:
        inner.get_file(path, str(target))
    else:
        fs.copy_files(path, str(target), source_filesystem=system, destination_filesystem=fs.LocalFileSystem())


def _changed(info: dict[str, Any]) -> float:
    for name in ("mtime", "LastModified", "last_modified", "updated", "created"):
        moment = info.get(name)
        if isinstance(moment, datetime):
            return moment.timestamp()
        if isinstance(moment, int | float):
            return float(moment)
    return 0.0
