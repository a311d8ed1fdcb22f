"""The timing cache: measured kernel times, stored in one file per version, device and driver."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from cosybuild.system.environment import Environment, Gpu


class TimingCache:
    """A file of kernel times, read before a build and replaced after it.

    It is not part of any key: a fuller cache makes a build faster, and plans that differ only in the choice between
    equally fast kernels are equally good (the engine stage is not deterministic).
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def give(self, config: Any) -> None:
        """Give the known times to the builder, which ignores a cache of another device or version."""
        known = self.path.read_bytes() if self.path.is_file() else b""
        config.set_timing_cache(config.create_timing_cache(known), False)

    def take(self, config: Any) -> None:
        """Save the times that the builder now has; the file is replaced atomically."""
        cache = config.get_timing_cache()
        if cache is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        fresh.write_bytes(memoryview(cache.serialize()))
        fresh.replace(self.path)


def timing_path(root: Path, library_title: str, gpu: Gpu, environment: Environment) -> Path:
    """Return the file for this version, device and driver; times measured with others are not valid."""
    words = [library_title, f"sm{gpu.sm}", gpu.name, f"driver {environment.driver or 'unknown'}"]
    return root / "timing" / ("-".join(re.sub(r"[^A-Za-z0-9.]+", "_", word) for word in words) + ".cache")
