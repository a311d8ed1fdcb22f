"""Facts of this machine: package versions, GPUs and driver, read without importing the packages."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass, field
from functools import cached_property

from packaging.utils import canonicalize_name

from cosybuild.processor import read_cpu_features

_ANSWER_SECONDS = 30.0


@dataclass(frozen=True)
class Gpu:
    """One GPU, as the driver reports it.

    Attributes:
        sm: the compute capability times ten, e.g. 89.
        memory_bytes: its own memory; None if it shares the host's.
    """

    index: int
    name: str
    sm: int
    memory_bytes: int | None


@dataclass(frozen=True)
class Environment:
    """Facts of a machine, read when first needed. Tests pass `versions` and `gpu_list` to describe another machine.

    Attributes:
        versions: distribution name -> version; takes precedence over the installed packages.
        gpu_list: the devices; None reads them from the driver when they are first needed.
        features: the instruction sets of the processor, as Linux names them; None reads them when first needed.
    """

    versions: dict[str, str | None] = field(default_factory=dict)
    gpu_list: tuple[Gpu, ...] | None = None
    features: frozenset[str] | None = None

    def version(self, distribution: str) -> str | None:
        """Return the installed version of a distribution, or None."""
        name = canonicalize_name(distribution)
        if name not in self.versions:
            try:
                self.versions[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                self.versions[name] = None
        return self.versions[name]

    @cached_property
    def gpus(self) -> tuple[Gpu, ...]:
        """The devices that the driver reports; empty without a driver."""
        return self._devices[0]

    @cached_property
    def driver(self) -> str | None:
        """The GPU driver's version, or None."""
        return self._devices[1]

    @cached_property
    def _devices(self) -> tuple[tuple[Gpu, ...], str | None]:
        return _read_gpus() if self.gpu_list is None else (self.gpu_list, None)

    @cached_property
    def cpu_features(self) -> frozenset[str]:
        """The processor's instruction sets, such as `avx512_bf16`; empty where the system does not list them."""
        return read_cpu_features() if self.features is None else self.features

    @property
    def machine(self) -> dict[str, str | int]:
        """Facts of the host for reports; none of them belongs in a key."""
        return {
            "host": platform.node(),
            "system": platform.platform(),
            "python": platform.python_version(),
            "cpus": os.cpu_count() or 1,
        }


def _read_gpus() -> tuple[tuple[Gpu, ...], str | None]:
    """Return devices and driver version as `nvidia-smi` reports them."""
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
    except subprocess.TimeoutExpired:  # the tool hangs if a device does
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
