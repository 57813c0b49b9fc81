"""How much memory DuckDB may use: half of what the process may use, less what Python holds.

DuckDB's own limit is 80 % of the machine: too much beside Python, and wrong in a container with less.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

#: However little is left, a query needs some.
_LEAST = 256 << 20


def memory_limit(root: Path = Path("/")) -> int:
    """Return the limit in bytes. ``root`` is where /proc and /sys are."""
    may_use = min([_machine(), *_groups(root)])
    return max(_LEAST, may_use // 2 - _held(root))


def _machine() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _groups(root: Path) -> Iterator[int]:
    """Yield the limits of the control groups that the process is in, its own and those around it."""
    groups = root / "sys/fs/cgroup"
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, place = line.split(":", 2)
            if controllers not in ("", "memory"):
                continue
            base, name = (groups / "memory", "memory.limit_in_bytes") if controllers else (groups, "memory.max")
            group = base / place.strip("/")
            # In a container the path may be that of the host, and the group's files are those of the base.
            for folder in (group, *group.parents):
                if folder.is_relative_to(base):
                    with suppress(OSError, ValueError):  # "max": no limit
                        yield int((folder / name).read_text(encoding="utf-8"))


def _held(root: Path) -> int:
    """Return the bytes that the process holds now; 0 where that is not known."""
    try:
        pages = int((root / "proc/self/statm").read_text(encoding="utf-8").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
