"""The choice of library and GPU for each engine, made while planning from package metadata."""

from __future__ import annotations

from dataclasses import dataclass

from cosybuild.backends.tensorrt.features import check_settings
from cosybuild.backends.tensorrt.library import RTX, RTX_SMS, TENSORRT, installed_version, library_title
from cosybuild.config.groups.trt import Refit, TrtBackend, TrtSettings
from cosybuild.system.environment import Environment

DEFAULT_SM = 89
"""Compute capability of TensorRT-RTX engines if `trt.sm` names none and no GPU here is supported.

It is that of the L4, the L40S and the RTX 40 series, which serve most often.
"""


@dataclass(frozen=True)
class Target:
    """The library and the GPU of one engine.

    Attributes:
        library: `tensorrt` or `tensorrt_rtx`.
        sm: compute capability times ten; None for a TensorRT engine if there is no GPU here to build for.
    """

    library: str
    sm: int | None


def choose_targets(settings: TrtSettings, precision: str, environment: Environment) -> tuple[Target, ...]:
    """Return the engines that these settings select on this machine, one per compute capability.

    Raises:
        ConfigurationError: the settings need a feature that the chosen library lacks.
    """
    library = choose_library(settings, environment)
    check_settings(settings, precision, library, installed_version(library, environment))
    here = tuple(dict.fromkeys(gpu.sm for gpu in environment.gpus))
    if settings.sm:
        sms: tuple[int | None, ...] = tuple(dict.fromkeys(settings.sm))
    elif library == RTX:
        sms = tuple(sm for sm in here if sm in RTX_SMS) or (DEFAULT_SM,)
    else:
        sms = here or (None,)
    return tuple(Target(library, sm) for sm in sms)


def choose_library(settings: TrtSettings, environment: Environment) -> str:
    """Return the library of `trt.backend`. For `auto`, this is TensorRT if it can build here, else TensorRT-RTX.

    TensorRT comes first because only its plans are drop-in. It is also returned if neither library can be used.
    """
    if settings.backend is not TrtBackend.auto:
        return str(settings.backend.value)
    if installed_version(TENSORRT, environment) is not None and environment.gpus:
        return TENSORRT
    return RTX if installed_version(RTX, environment) is not None else TENSORRT


def missing_requirements(target: Target, settings: TrtSettings, environment: Environment) -> tuple[str, ...]:
    """List the requirements of `target` that this machine lacks, one phrase each."""
    lacks = []
    if target.library == TENSORRT:
        if not any(target.sm in (None, gpu.sm) for gpu in environment.gpus):
            lacks.append("a GPU" if target.sm is None else f"a GPU (sm_{target.sm})")
        if installed_version(TENSORRT, environment) is None:
            lacks.append("tensorrt 10 or 11")
        return tuple(lacks)
    if installed_version(RTX, environment) is None:
        lacks.append("tensorrt-rtx")
    if (settings.refit is not Refit.none or settings.strip) and not environment.gpus:
        lacks.append(f"a GPU ({library_title(RTX, None)} compiles refittable engines on one)")
    return tuple(lacks)


def plan_advice(library: str) -> str | None:
    """Return a sentence that says how to build a TensorRT plan, for the summary; None if the engine is such a plan."""
    if library == TENSORRT:
        return None
    return (
        "runtimes that import tensorrt cannot load a TensorRT-RTX engine; to build a plan for them, run the same "
        "command with trt.backend=tensorrt on a machine with the GPU of the service and tensorrt 10 or 11"
    )
