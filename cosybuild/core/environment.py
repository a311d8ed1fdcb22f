"""Facts of this machine, read without importing the packages they are about."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass, field
from functools import cached_property

from packaging.utils import canonicalize_name

_ANSWER_SECONDS = 30.0


@dataclass(frozen=True)
class Gpu:
    """One device as the driver names it.

    Attributes:
        sm: the compute capability times ten, e.g. 89.
        memory_bytes: its own memory; None where it shares the host's.
    """

    index: int
    name: str
    sm: int
    memory_bytes: int | None


@dataclass(frozen=True)
class Environment:
    """Lazily read facts. Tests give `versions` and `gpu_list` to describe another machine.

    Attributes:
        versions: distribution name -> version, asked before the installed packages are.
        gpu_list: the devices; None reads them from the driver when first asked for.
    """

    versions: dict[str, str | None] = field(default_factory=dict)
    gpu_list: tuple[Gpu, ...] | None = None

    def version(self, distribution: str) -> str | None:
        """The installed version, or None."""
        name = canonicalize_name(distribution)
        if name not in self.versions:
            try:
                self.versions[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                self.versions[name] = None
        return self.versions[name]

    @cached_property
    def gpus(self) -> tuple[Gpu, ...]:
        """The devices that the driver shows; empty where there is no driver."""
        return _read_gpus()[0] if self.gpu_list is None else self.gpu_list

    @cached_property
    def driver(self) -> str | None:
        """The GPU driver's version, or None."""
        return _read_gpus()[1] if self.gpu_list is None else None

    @property
    def machine(self) -> dict[str, str | int]:
        """The host, for reports; none of it belongs into a key."""
        return {
            "host": platform.node(),
            "system": platform.platform(),
            "python": platform.python_version(),
            "cpus": os.cpu_count() or 1,
        }


def _read_gpus() -> tuple[tuple[Gpu, ...], str | None]:
    """Devices and driver version, from the driver's own command line tool."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return (), None
    query = [tool, "--query-gpu=index,name,compute_cap,memory.total,driver_version"]
    try:
        answer = subprocess.run(
            [*query, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=_ANSWER_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:  # a device that hangs takes the tool with it
        return (), None
    if answer.returncode != 0:
        return (), None
    gpus, driver = [], None
    for line in answer.stdout.splitlines():
        index, name, capability, memory, driver = (cell.strip() for cell in line.split(","))
        sm = capability.replace(".", "")
        if not sm.isdigit():  # a device that has failed: "[Unknown Error]"
            continue
        # A device that shares the host's memory has "[N/A]".
        gpus.append(Gpu(int(index), name, int(sm), int(memory) * 2**20 if memory.isdigit() else None))
    return tuple(gpus), driver
