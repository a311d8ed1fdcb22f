"""The choice of library and GPU for each engine. It is made during planning, without an import of the libraries."""

from __future__ import annotations

from dataclasses import dataclass

from cosybuild.backends.tensorrt.features import check_settings
from cosybuild.backends.tensorrt.library import RTX, RTX_SMS, TENSORRT, installed_version, library_title
from cosybuild.config.groups.trt import Refit, TrtBackend, TrtSettings
from cosybuild.system.environment import Environment

DEFAULT_SM = 89
"""Compute capability (times ten) of a TensorRT-RTX engine if `trt.sm` names none and this machine has no supported GPU.

It is that of the L4, the L40S and the RTX 40 series, which are most common in serving.
"""


@dataclass(frozen=True)
class Target:
    """The library and the GPU for which one engine is built.

    Attributes:
        library: `tensorrt` or `tensorrt_rtx`.
        sm: compute capability times ten; None for a TensorRT engine on a machine without a GPU.
    """

    library: str
    sm: int | None


def choose_targets(settings: TrtSettings, precision: str, environment: Environment) -> tuple[Target, ...]:
    """Return one target for each engine that these settings select on this machine.

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
    """Return the library that `trt.backend` names.

    For `auto`, this is TensorRT if it can build on this machine, else TensorRT-RTX. TensorRT comes first because
    CosyVoice can load only TensorRT plans without a change of its code. TensorRT is also returned if neither library
    can build.
    """
    if settings.backend is not TrtBackend.auto:
        return str(settings.backend.value)
    if installed_version(TENSORRT, environment) is not None and environment.gpus:
        return TENSORRT
    return RTX if installed_version(RTX, environment) is not None else TENSORRT


def missing_requirements(target: Target, settings: TrtSettings, environment: Environment) -> tuple[str, ...]:
    """Return one phrase for each thing that this machine lacks to build for `target`."""
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
    """Return a sentence for the summary that says how to build a TensorRT plan; None if `library` is TensorRT."""
    if library == TENSORRT:
        return None
    return (
        "runtimes that import tensorrt cannot load a TensorRT-RTX engine; to build a plan for them, run the same "
        "command with trt.backend=tensorrt on a machine with the GPU of the service and tensorrt 10 or 11"
    )
