"""The search for the stored key that is most similar to another one, which gives the reasons of a rebuild."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cosybuild.store.entry import DamagedEntry, decode
from cosybuild.store.key import CacheKey
from cosybuild.store.layout import Layout

_COMPARED = 256
"""The number of newest entries of a stage that are compared."""


def nearest_key(key: CacheKey, layout: Layout, locate: Callable[[str], Path]) -> CacheKey | None:
    """Return the stored key of the same stage that differs in the fewest parts; of several, the one used last.

    Args:
        locate: (sha256) -> path of a stored content.
    """
    best: tuple[int, CacheKey] | None = None
    for path in _newest(layout.entries / key.stage):
        with suppress(OSError, DamagedEntry):
            other = decode(path.read_bytes(), path.stem, locate).key
            difference = len(key.diff(other))
            if best is None or difference < best[0]:
                best = difference, other
    return None if best is None else best[1]


def _newest(directory: Path) -> list[Path]:
    aged = []
    for path in directory.glob("*.json"):
        with suppress(OSError):
            aged.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(aged, reverse=True)[:_COMPARED]]
