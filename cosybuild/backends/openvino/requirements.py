"""The requirements of an IR on the machine: package, release and processor. Imports the standard library only.

If the processor lacks the instructions for a type, OpenVINO emulates the type or computes in another one, in both cases
without a message. An emulated bfloat16 call of CosyVoice 2 took 80 times as long as one with AMX.
"""

from __future__ import annotations

import platform
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cosybuild.backends.openvino.compiling import HINTS
from cosybuild.manifest import read_manifest

OPENVINO = "openvino"
SUFFIX = ".xml"
FIELD = "openvino"
"""The field of a manifest that states the requirements of an IR."""
_BEGIN = b"<?xml"

X86, ARM = ("x86_64", "amd64"), ("aarch64", "arm64")

_BY_PRECISION: Mapping[str, Mapping[tuple[str, ...], tuple[str, ...]]] = {
    "bf16": {X86: ("avx512_bf16", "amx_bf16"), ARM: ()},
    "fp16": {X86: ("avx512_fp16", "amx_fp16"), ARM: ("asimdhp",)},
}
"""Precision -> architecture -> instruction sets, of which one is enough. An empty tuple: OpenVINO has no kernels for
this precision (bfloat16 on Arm).
"""

NAMED = (
    "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16", "amx_fp16",
    "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve",
)  # fmt: skip
"""The instruction sets by which OpenVINO chooses its kernels, under the names that Linux gives them."""


class Machine(Protocol):
    """The facts of a machine that a check needs, such as those of an `Environment`."""

    def version(self, distribution: str) -> str | None:
        """Return the installed version of a Python distribution; None if it is not installed."""

    @property
    def cpu_features(self) -> Collection[str]:
        """The processor's instruction sets; empty if they are not known."""


@dataclass(frozen=True)
class Verdict:
    """The result of checking whether a machine can run an IR in the way in which it was verified.

    Attributes:
        loads: True if it can, False if it cannot, None if nothing is known about the IR.
        reasons: one phrase for each thing that the machine lacks; one phrase that describes the IR if nothing is
            lacking.
    """

    loads: bool | None
    reasons: tuple[str, ...]

    def explain(self) -> str:
        """Return the reasons in one line."""
        return "; ".join(self.reasons)


def instruction_sets(machine: Machine) -> str:
    """Return those instruction sets of the processor that are in `NAMED`, in one line.

    If they are not known, return the architecture.
    """
    found = [name for name in NAMED if name in machine.cpu_features]
    return " ".join(found) or platform.machine() or "unknown"


def lacking_instructions(precision: str, machine: Machine, architecture: str | None = None) -> str | None:
    """Return a phrase on the instruction sets that a processor lacks for a precision; None if it lacks none.

    None is also returned if the processor's instruction sets are not known.

    Args:
        precision: `fp32`, `bf16` or `fp16`.
        machine: the machine.
        architecture: the architecture as `platform.machine` names it; None for that of this process.
    """
    architecture = (platform.machine() if architecture is None else architecture).lower()
    wanted = next((sets for names, sets in _BY_PRECISION.get(precision, {}).items() if architecture in names), None)
    if wanted is None or (wanted and (not machine.cpu_features or any(one in machine.cpu_features for one in wanted))):
        return None
    if not wanted:
        return f"a processor on which OpenVINO computes in {precision}; on {architecture} it has no such kernels"
    return f"a processor with {' or '.join(wanted)} for {precision}"


def missing_requirements(precision: str, machine: Machine) -> tuple[str, ...]:
    """Return one phrase for each thing that a machine lacks to build and run an IR in a precision."""
    lacks = [] if machine.version(OPENVINO) is not None else ["openvino (pip install 'cosybuild[openvino]')"]
    instructions = lacking_instructions(precision, machine)
    if instructions is not None:
        lacks.append(f"{instructions} (without it, OpenVINO would compute in float32 or emulate; ov=fp32 runs here)")
    return tuple(lacks)


def release_of(version: str) -> str:
    """Return year and release of an OpenVINO version, e.g. `2026.4` of `2026.4.1-22982-e213a147257`."""
    return ".".join(version.partition("-")[0].split(".")[:2])


def weights_path(path: Path) -> Path:
    """Return the path of the .bin file with the weights of the IR at `path`. OpenVINO expects it under this name."""
    return path.with_suffix(".bin")


def fault_of_ir(path: Path, manifest: Mapping[str, Any]) -> str | None:
    """Return a phrase if OpenVINO would read files whose digests the manifest of an IR does not hold; else None.

    OpenVINO chooses the reader by the content of a file. From an ONNX file named .xml it reads external data too.

    Raises:
        ValueError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            begin = file.read(len(_BEGIN))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    if not any(begin.startswith(word) for word in (_BEGIN, b"<net ")):
        return f"it is not an OpenVINO IR: it begins with {begin!a}; {_BEGIN!a} is expected"
    listed = [fact["name"] for fact in manifest["companions"]]
    wanted = weights_path(path).name
    return None if listed == [wanted] else f"its manifest lists the weights {listed}, and OpenVINO reads {wanted}"


def check_ir(path: Path, machine: Machine) -> Verdict:
    """Check whether a machine can run the IR at `path`, from the manifest and the machine. OpenVINO is not imported."""
    try:
        manifest = read_manifest(path) or {}
    except ValueError as error:
        return Verdict(False, (str(error),))
    facts = manifest.get(FIELD)
    if facts is None:
        return Verdict(None, ("it has no manifest of cosybuild, so its requirements are not known",))
    return check_facts(facts, machine)


def check_facts(facts: Mapping[str, Any], machine: Machine) -> Verdict:
    """Check whether a machine can run an IR, given the field `FIELD` of its manifest."""
    built, precision = str(facts["version"]), str(facts["precision"])
    if precision not in HINTS:
        return Verdict(False, (f"its manifest states the precision {precision!a}; {', '.join(HINTS)} are known",))
    installed = machine.version(OPENVINO)
    lacks = []
    if installed is None:
        lacks.append(f"it needs openvino {release_of(built)}, which is not installed")
    elif release_of(installed) != release_of(built):
        # Another release may compute in other types and with other kernels than the verified ones.
        lacks.append(f"it was verified with openvino {release_of(built)}, and {installed} is installed")
    if (instructions := lacking_instructions(precision, machine)) is not None:
        lacks.append(f"it needs {instructions}")
    return Verdict(not lacks, tuple(lacks) or (f"openvino {installed}, {precision}",))
