"""A directory that certificates are written for."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from cosybuild.cli.nothing_to_do import certificate
from cosybuild.cli.nothing_to_do.certificate import write
from cosybuild.cli.nothing_to_do.observed_state import Look

ARGV = ["export=opset18", "trt=fp16"]
MESSAGE = "Nothing to do: outputs/runs/x is up to date"


class Project:
    """A directory with one of each thing that a certificate depends on."""

    def __init__(self, root: Path) -> None:
        self.certificates = root / "outputs" / ".certificates"
        self.conf = root / "conf"
        self.conf.mkdir()
        self.settings = self.conf / "config.yaml"
        self.settings.write_text("opset: 18\n")
        self.weights = root / "flow.pt"
        self.weights.write_bytes(b"w" * (2 << 20))
        self.lock = root / "cosybuild.lock"
        self.report = root / "report.json"
        self.engine = root / "engine.plan"
        self.age(self.settings, self.weights, self.conf)

    @staticmethod
    def age(*paths: Path) -> None:
        """Wait until new files are older than a tick, as a user's files are."""
        time.sleep(certificate._TICK / 1e9 * 1.2)
        assert all(path.exists() for path in paths)

    def run(self, during: Callable[[], object] = lambda: None) -> str | None:
        """Read the configuration, write the results and certify them, as a run does."""
        look = Look([self.settings, self.weights, self.lock], [self.conf])
        self.settings.read_text()
        during()
        self.report.write_text('{"engine": 1}')
        self.engine.write_bytes(b"e" * (2 << 20))
        return write(self.certificates, ARGV, MESSAGE, [look], results=[self.report, self.engine])


def same_size_and_time(path: Path) -> None:
    """Change one byte and restore the time, as some tools do."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
