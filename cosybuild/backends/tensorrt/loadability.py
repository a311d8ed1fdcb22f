"""The check whether this machine can load an engine file. It reads the file's header and manifest only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild.backends.tensorrt.library import RTX, TENSORRT, Machine, installed_version, library_title, major
from cosybuild.manifest import damage, fitting_manifest, manifest_path

# The first bytes of an engine file. They are not documented, so a file is not refused for unknown first bytes alone.
_MAGIC = {b"vtrt": RTX, b"ftrt": TENSORRT, b"ptrt": TENSORRT}
# Positions of the file's size and of the version in files of TensorRT-RTX 1.x. They were found in such files, and are
# not documented.
_RTX_SIZE, _RTX_VERSION = slice(16, 24), slice(24, 28)
_HEADER_BYTES = 64


@dataclass(frozen=True)
class Verdict:
    """The result of checking one engine file.

    Attributes:
        loads: True if the engine loads on this machine, False if it does not, None if too little is known.
        reasons: the reasons why it does not load, or the facts that are not known.
        built_for: GPU and library for which it was built, e.g. `sm_89, TensorRT-RTX 1.7.1.116`; empty if not known.
        here: GPUs and library of this machine.
    """

    loads: bool | None
    reasons: tuple[str, ...]
    built_for: str
    here: str

    def explain(self) -> str:
        """Return the result in one line, e.g. `built for sm_89, TensorRT 10.13.3; here sm_90, TensorRT 11.4.1`."""
        sides = f"built for {self.built_for or 'an unknown machine'}; here {self.here}"
        return "; ".join([sides, *self.reasons])


def engine_library(path: Path) -> str | None:
    """Return the library that wrote an engine file, by the file's first bytes; None if they are unknown.

    It is `tensorrt` or `tensorrt_rtx`.
    """
    with path.open("rb") as file:
        return _MAGIC.get(file.read(4))


def check_plan(path: Path, environment: Machine) -> Verdict:
    """Check whether this machine can load an engine file, from the file's bytes, its manifest and the machine.

    The engine is not deserialised.
    """
    if not path.is_file():
        return Verdict(False, (f"there is no file {path}",), "", _here(None, environment))
    size = path.stat().st_size
    if size == 0:
        return Verdict(False, ("the file is empty; a build was probably interrupted",), "", _here(None, environment))
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    library = _MAGIC.get(header[:4])
    try:
        manifest = fitting_manifest(path)
    except ValueError as error:
        return Verdict(False, (str(error),), "", _here(library, environment))
    if manifest is None:
        return _without_manifest(path, header, size, environment)
    built = manifest.get("built_for")
    if built is None:
        return Verdict(False, ("its manifest does not describe an engine",), "", _here(library, environment))
    against = _damage(path, manifest, library) or _mismatches(built, environment)
    return Verdict(not against, tuple(against), describe_target(built), _here(built["flavour"], environment))


def describe_target(built: Mapping[str, Any]) -> str:
    """Return the field `built_for` of a manifest as text, e.g. `sm_89, TensorRT 10.13.3`."""
    return f"sm_{built['sm']}, {library_title(built['flavour'], built['version'])}"


def _damage(path: Path, manifest: Mapping[str, Any], library: str | None) -> list[str]:
    harm = damage(path, manifest)
    if harm is not None:
        return [harm]
    if library is not None and library != manifest["built_for"]["flavour"]:
        return [f"the first bytes of the file are those of an engine of {library_title(library, None)}"]
    return []


def _mismatches(built: Mapping[str, Any], environment: Machine) -> list[str]:
    library, version = built["flavour"], built["version"]
    installed = installed_version(library, environment)
    reasons = []
    if installed is None:
        reasons.append(f"{library_title(library, None)} is not installed")
    elif installed != version and not (built["version_compatible"] and major(installed) >= major(version)):
        reasons.append(f"an engine of {library_title(library, version)} does not load with {installed}")
    sms = sorted({gpu.sm for gpu in environment.gpus})
    if not sms:
        reasons.append("there is no GPU")
    elif not any(_runs_on(built, sm) for sm in sms):
        reasons.append(f"this machine has no GPU on which it runs (sm_{built['sm']})")
    return reasons


def _runs_on(built: Mapping[str, Any], sm: int) -> bool:
    if built["hardware_compatibility"] == "ampere_plus":
        return sm >= 80
    return bool(sm == built["sm"])


def _without_manifest(path: Path, header: bytes, size: int, environment: Machine) -> Verdict:
    """Check an engine file by its header alone. The header can show that it does not load, but never that it loads."""
    reasons = [f"there is no manifest {manifest_path(path).name}, so the GPU for which it was built is not known"]
    library = _MAGIC.get(header[:4])
    here = _here(library, environment)
    if library is None:
        return Verdict(
            None, (*reasons, f"the file begins with {header[:4]!r}, which is not the start of a known engine"), "", here
        )
    if library != RTX or len(header) < _HEADER_BYTES:
        return Verdict(None, tuple(reasons), library_title(library, None), here)
    version = ".".join(str(number) for number in header[_RTX_VERSION])
    stated = int.from_bytes(header[_RTX_SIZE], "little")
    if stated != size:
        reasons.append(f"the file has {size} bytes and its header says {stated}")
        return Verdict(False, tuple(reasons), library_title(library, version), here)
    installed = installed_version(library, environment)
    if installed is not None and installed != version:
        reasons.append(f"an engine of {library_title(library, version)} does not load with {installed}")
        return Verdict(False, tuple(reasons), library_title(library, version), here)
    return Verdict(None, tuple(reasons), library_title(library, version), here)


def _here(library: str | None, environment: Machine) -> str:
    sms = ", ".join(f"sm_{sm}" for sm in sorted({gpu.sm for gpu in environment.gpus})) or "no GPU"
    names = [library] if library else [TENSORRT, RTX]
    installed = [(name, installed_version(name, environment)) for name in names]
    known = [library_title(name, version) for name, version in installed if version is not None]
    return f"{sms}, {', '.join(known) or 'no ' + library_title(names[0], None)}"
