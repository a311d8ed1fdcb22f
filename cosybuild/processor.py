"""The instruction sets of this machine's processor. Standard library only."""

from __future__ import annotations

from pathlib import Path

_LINES = ("flags", "Features")
"""The name of the line in /proc/cpuinfo that has the instruction sets, on x86 and on Arm."""


def read_cpu_features(listing: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Return the names of the instruction sets of the first processor, e.g. `avx2`; empty if the file cannot be read.

    Args:
        listing: the file in which Linux describes the processors.
    """
    try:
        lines = listing.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    found = (line.partition(":") for line in lines)
    return next((frozenset(words.split()) for name, _, words in found if name.strip() in _LINES), frozenset())
