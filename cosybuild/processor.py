"""The instruction sets of this machine's processor. Standard library only."""

from __future__ import annotations

from pathlib import Path

_LINES = ("flags", "Features")
"""The names of the line with the instruction sets in Linux's listing, on x86 and on Arm."""


def read_cpu_features(listing: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Return the instruction sets that the kernel lists for the first processor; empty without such a listing."""
    try:
        lines = listing.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    found = (line.partition(":") for line in lines)
    return next((frozenset(words.split()) for name, _, words in found if name.strip() in _LINES), frozenset())
