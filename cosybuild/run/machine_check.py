"""The examination of this machine for `doctor`: what it can build, what is missing, and how to install it."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cosybuild.backends.openvino.compiling import HINTS
from cosybuild.backends.openvino.requirements import OPENVINO, instruction_sets, lacking_instructions
from cosybuild.backends.tensorrt.library import RTX, RTX_SMS, TENSORRT, import_library
from cosybuild.errors import MissingRequirement, StoreError
from cosybuild.lazy import is_installed, require
from cosybuild.report.figures import counted, size
from cosybuild.run.facts import DISTRIBUTIONS
from cosybuild.run.tested_versions import read_tested
from cosybuild.store.check import check
from cosybuild.store.inventory import take_inventory
from cosybuild.store.store import Store
from cosybuild.system.environment import Environment
from cosybuild.system.modes import is_shared, share_commands, unshared_paths

_NEEDED = ("torch", "onnx", "onnxruntime", "onnxsim", "onnxscript", "hydra")
_LITTLE = 5 * 10**9
"""The approximate space, in bytes, that a build of a full-size model with its engines needs."""


@dataclass(frozen=True)
class Finding:
    """One result of the examination.

    Attributes:
        grade: `ok`, `note` (something optional is missing), or `problem` (a build without options fails).
        what: the fact.
        fix: a command or a sentence that helps; empty if nothing needs to be done.
    """

    grade: str
    what: str
    fix: str = ""


def examine(store: Path) -> Iterator[Finding]:
    """Yield a finding for everything that a build may need, in the order in which a build needs it.

    Args:
        store: the path of the store.
    """
    environment = Environment()
    machine = environment.machine
    yield Finding("ok", f"Python {machine['python']} on {machine['system']}, {machine['cpus']} CPUs")
    yield from _packages(environment)
    yield from _versions(environment)
    yield from _providers(environment)
    yield from _gpus(environment)
    yield from _tensorrt(environment)
    yield from _openvino(environment)
    yield from _disk(store)
    yield from _store(store)
    yield from _sharing(store)
    yield from _hubs()


def _packages(environment: Environment) -> Iterator[Finding]:
    for module in _NEEDED:
        try:
            version = getattr(require(module, "A build"), "__version__", "")
            yield Finding("ok", f"{module} {version}".rstrip())
        except MissingRequirement as error:
            yield Finding("problem", error.message, error.hint or "")


def _versions(environment: Environment) -> Iterator[Finding]:
    """Compare the versions of the installed packages with those with which cosybuild was tested."""
    tested = read_tested()
    python = str(environment.machine["python"])
    if python.split(".")[:2] != tested.python.split("."):
        what = f"Python {python}: cosybuild was tested with Python {tested.python}"
        yield Finding("note", what, f"use Python {tested.python} for the tested version")
    differ = tested.differences(environment)
    where = f"with Python {tested.python} on {tested.platform}"
    if not differ:
        yield Finding("ok", f"All packages have the versions that were tested ({where})")
        return
    fix = f"pip install -c {shlex.quote(str(tested.path))} cosybuild"
    for name in (name for name in differ if name in DISTRIBUTIONS):
        installed, good = differ[name]
        yield Finding("note", f"{name} {installed}: cosybuild was tested with {good} ({where})", fix)
    others = [f"{name} {installed} ({good})" for name, (installed, good) in differ.items() if name not in DISTRIBUTIONS]
    if others:
        said = f"{counted(len(others), 'other package')} not in the tested version: {', '.join(others)}"
        yield Finding("note", said, fix)


def _providers(environment: Environment) -> Iterator[Finding]:
    if not is_installed("onnxruntime"):
        return
    from cosybuild.backends.onnxruntime_backend import cuda_loads

    yield Finding("ok", f"ONNX Runtime computes on {'CUDA and CPU' if cuda_loads() else 'CPU'}")
    if environment.gpus and not cuda_loads():
        yield Finding(
            "problem",
            "There is a GPU, but ONNX Runtime's CUDA provider does not load",
            "pip install onnxruntime-gpu, and the CUDA and cuDNN libraries that its release notes name",
        )


def _gpus(environment: Environment) -> Iterator[Finding]:
    for gpu in environment.gpus:
        memory = "the host's memory" if gpu.memory_bytes is None else size(gpu.memory_bytes)
        yield Finding("ok", f"GPU {gpu.index}: {gpu.name}, sm_{gpu.sm}, {memory}")
    if environment.gpus:
        yield Finding("ok", f"GPU driver {environment.driver}")
    else:
        yield Finding("note", "No GPU: TensorRT-RTX builds engines ahead of time, and they are not run on this machine")


def _tensorrt(environment: Environment) -> Iterator[Finding]:
    for name in (TENSORRT, RTX):
        try:
            library = import_library(name)
        except MissingRequirement as error:
            yield Finding("note", error.message, error.hint or "")
            continue
        if library.ahead_of_time:
            sms = ", ".join(f"sm_{sm}" for sm in RTX_SMS)
            yield Finding("ok", f"{library.title} builds for {sms}, without such a GPU")
        elif environment.gpus:
            sms = ", ".join(sorted({f"sm_{gpu.sm}" for gpu in environment.gpus}))
            yield Finding("ok", f"{library.title} builds for {sms}")
        else:
            yield Finding(
                "note",
                f"{library.title} is installed and needs a GPU to build",
                "run the command on a machine with a GPU",
            )


def _openvino(environment: Environment) -> Iterator[Finding]:
    if not is_installed(OPENVINO):
        yield Finding(
            "note", "openvino is not installed: ov=fp32 builds an IR for CPUs", "pip install 'cosybuild[openvino]'"
        )
        return
    try:
        version = str(require(OPENVINO, "An OpenVINO IR").__version__).partition("-")[0]
    except MissingRequirement as error:
        yield Finding("note", error.message, error.hint or "")
        return
    lacking = {name: why for name in HINTS if (why := lacking_instructions(name, environment)) is not None}
    runs = ", ".join(f"ov={name}" for name in HINTS if name not in lacking)
    yield Finding("ok", f"OpenVINO {version} computes {runs} ({instruction_sets(environment)})")
    yield from (
        Finding("note", f"ov={name} needs {why}", "build it on such a machine") for name, why in lacking.items()
    )


def _disk(store: Path) -> Iterator[Finding]:
    place = next(path for path in (store.absolute(), *store.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK):
        yield Finding("problem", f"{place} cannot be written", "set store.path to another directory")
    elif free < _LITTLE:
        yield Finding("note", f"{size(free)} free at {place}; a full-size build needs about 5 GB", "free some space")
    else:
        yield Finding("ok", f"{size(free)} free at {place}")


def _store(path: Path) -> Iterator[Finding]:
    said: list[str] = []
    try:
        store = Store(path, warn=said.append)
        inventory = take_inventory(store)
        faults = check(store, repair=False, thorough=False).faults
    except StoreError as error:
        yield Finding("problem", error.message, error.hint or "")
        return
    yield Finding("ok", f"store {path}: {counted(len(inventory.rows), 'result')}, {size(inventory.size)}")
    for fault in faults:
        yield Finding(
            "note",
            f"{fault.path} {fault.what}",
            "run `python -m cosybuild store verify`; the next build makes the file again",
        )
    for warning in said:
        yield Finding("note", warning, "the next build repairs it")
    if inventory.quarantined:
        yield Finding(
            "note", f"{size(inventory.quarantined)} in quarantine", "run `python -m cosybuild gc` to remove it"
        )


def _sharing(store: Path) -> Iterator[Finding]:
    """Check that every member of the group can use a shared store, whatever umask the members have."""
    if not store.is_dir():
        return
    stat = store.stat()
    if not is_shared(store):
        if stat.st_uid != os.geteuid() and not os.access(store, os.W_OK):
            yield Finding("problem", f"store {store} belongs to another user and is not shared", share_commands(store))
        return
    if os.geteuid() != 0 and stat.st_gid not in (os.getegid(), *os.getgroups()):
        what = f"store {store} is shared with the group {stat.st_gid}, but this user is not in the group"
        yield Finding("problem", what, "ask an administrator to add the user to the group, and log in again")
        return
    lacking = list(unshared_paths(store))
    if lacking:
        paths = counted(len(lacking), "path")
        what = f"store {store} is shared, but the group lacks rights on {paths} in it: {lacking[0]}"
        yield Finding("problem", what, f"each owner of such paths runs: {share_commands(store)}")
    else:
        yield Finding("ok", f"store {store} is shared with the group {stat.st_gid}")


def _hubs() -> Iterator[Finding]:
    if not is_installed("huggingface_hub"):
        fix = "pip install 'cosybuild[hub]' so that model_dir can be a hub id"
        yield Finding("note", "huggingface_hub is not installed", fix)
        return
    from huggingface_hub import get_token

    if get_token():
        yield Finding("ok", "Hugging Face hub: logged in")
    else:
        yield Finding("note", "Hugging Face hub: not logged in (public models need no login)", "hf auth login")
