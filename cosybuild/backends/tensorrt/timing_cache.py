"""The timing cache: measured kernel times, stored in one file for each library version, device and driver."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cosybuild.system.environment import Environment, Gpu
from cosybuild.system.files import make_directory, write_atomic
from cosybuild.system.local_lock import locked


class TimingCache:
    """A file of measured kernel times, which is read before a build and extended after it.

    The file is not part of any key. A fuller cache makes a build faster. It may change which of several equally fast
    kernels the builder chooses, but such plans are equally good (the engine stage is not deterministic).
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read_into(self, config: Any) -> None:
        """Give the times in the file to the builder, which ignores times of another device or version."""
        config.set_timing_cache(self._known(config), False)

    def update_from(self, config: Any) -> None:
        """Add the times that the builder measured to the file. Times that parallel builds wrote meanwhile are kept."""
        cache = config.get_timing_cache()
        if cache is None:
            return
        make_directory(self.path.parent, durable=False)
        with locked(self.path.with_name(f"{self.path.name}.lock"), lambda owner: None, required=False):
            # If both caches have a time for one kernel, TensorRT keeps that of `cache`. It accepts no times of another
            # version.
            cache.combine(self._known(config), False)
            write_atomic(self.path, bytes(memoryview(cache.serialize())), durable=False)

    def _known(self, config: Any) -> Any:
        return config.create_timing_cache(self.path.read_bytes() if self.path.is_file() else b"")


def timing_path(root: Path, library_title: str, gpu: Gpu, environment: Environment) -> Path:
    """Return the file for one library version, device and driver. Times are valid only for the same three."""
    words = [library_title, f"sm{gpu.sm}", gpu.name, f"driver {environment.driver or 'unknown'}"]
    return root / "timing" / ("-".join(re.sub(r"[^A-Za-z0-9.]+", "_", word) for word in words) + ".cache")
