"""Measured kernel times, kept beside the store under what makes them valid."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from cosybuild.core.environment import Environment, Gpu


class TimingCache:
    """One file of kernel times, read before a build and replaced after it.

    It is no ingredient of any key: a fuller cache makes a build faster, and a plan that differs by the
    choice between equally fast kernels is as good a plan (the engine stage is not deterministic).
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def give(self, config: Any) -> None:
        """Let the builder use what is known. A cache of another device or version it ignores itself."""
        known = self.path.read_bytes() if self.path.is_file() else b""
        config.set_timing_cache(config.create_timing_cache(known), False)

    def take(self, config: Any) -> None:
        """Keep what the builder now knows; readers see the old file or the new one, never half of one."""
        cache = config.get_timing_cache()
        if cache is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        fresh.write_bytes(memoryview(cache.serialize()))
        fresh.replace(self.path)


def timing_path(root: Path, flavour_title: str, gpu: Gpu, environment: Environment) -> Path:
    """The file for this version, device and driver: times measured elsewhere say nothing here."""
    words = [flavour_title, f"sm{gpu.sm}", gpu.name, f"driver {environment.driver or 'unknown'}"]
    return root / "timing" / ("-".join(re.sub(r"[^A-Za-z0-9.]+", "_", word) for word in words) + ".cache")
