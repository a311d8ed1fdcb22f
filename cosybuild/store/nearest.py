"""The search for the stored key that is most similar to a new one; the differences are the reasons of a rebuild."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cosybuild.store.entry import DamagedEntry, decode
from cosybuild.store.key import CacheKey
from cosybuild.store.layout import Layout

_COMPARED = 256
"""The largest number of entries of a stage that are compared, the newest first."""


def nearest_key(key: CacheKey, layout: Layout, locate: Callable[[str], Path]) -> CacheKey | None:
    """Return the stored key of the same stage that differs from `key` in the fewest parts.

    If several keys are equally similar, return the one that was used last. Return None if the stage has no entry.

    Args:
        key: the new key.
        layout: the paths of the store.
        locate: a function from a digest to the path of the stored file.
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
