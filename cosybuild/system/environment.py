"""Facts of this machine: package versions, GPUs, driver and processor. No package is imported for them."""

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
        index: its number.
        name: the name of its model.
        sm: the compute capability times ten, e.g. 89.
        memory_bytes: the size of its own memory in bytes; None if it shares the host's memory.
    """

    index: int
    name: str
    sm: int
    memory_bytes: int | None


@dataclass(frozen=True)
class Environment:
    """Facts of a machine, read when they are first needed.

    Tests pass values to describe another machine.

    Attributes:
        versions: distribution -> version. These take precedence over the installed packages; None means not installed.
        gpu_list: the GPUs; None to read them from the driver.
        features: the instruction sets of the processor, as Linux names them; None to read them from the system.
    """

    versions: dict[str, str | None] = field(default_factory=dict)
    gpu_list: tuple[Gpu, ...] | None = None
    features: frozenset[str] | None = None

    def version(self, distribution: str) -> str | None:
        """Return the installed version of a distribution; None if it is not installed."""
        name = canonicalize_name(distribution)
        if name not in self.versions:
            try:
                self.versions[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                self.versions[name] = None
        return self.versions[name]

    @cached_property
    def gpus(self) -> tuple[Gpu, ...]:
        """The GPUs that the driver reports; empty without a driver."""
        return self._devices[0]

    @cached_property
    def driver(self) -> str | None:
        """The version of the GPU driver; None without a driver."""
        return self._devices[1]

    @cached_property
    def _devices(self) -> tuple[tuple[Gpu, ...], str | None]:
        return _read_gpus() if self.gpu_list is None else (self.gpu_list, None)

    @cached_property
    def cpu_features(self) -> frozenset[str]:
        """The processor's instruction sets, such as `avx512_bf16`; empty if the system does not list them."""
        return read_cpu_features() if self.features is None else self.features

    @property
    def machine(self) -> dict[str, str | int]:
        """Facts of the host for reports. None of them may become a part of a key."""
        return {
            "host": platform.node(),
            "system": platform.platform(),
            "python": platform.python_version(),
            "cpus": os.cpu_count() or 1,
        }


def _read_gpus() -> tuple[tuple[Gpu, ...], str | None]:
    """Return the GPUs and the driver version that `nvidia-smi` reports; an empty tuple and None if it reports none."""
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
