"""File systems for tests: small ones that can be filled, and ones that can be made read-only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(directory: Path, size: str) -> Iterator[Path]:
    """Mount an empty file system of `size` (e.g. `1m`) on `directory`; skip the test if mounting is not permitted."""
    directory.mkdir(parents=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"mounting a small file system needs a privilege: {done.stderr.strip().splitlines()[0]}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


def make_read_only(disk: Path) -> None:
    """Make the file system read-only, also for root."""
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


def free_bytes(disk: Path) -> int:
    """Return the number of bytes that can still be written."""
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


def fill(disk: Path, leave: int) -> Path:
    """Fill the file system except for `leave` bytes, and return the file."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free_bytes(disk) - leave)
    return ballast
