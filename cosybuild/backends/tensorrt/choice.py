"""Which library builds for which GPU on this machine, decided from metadata while planning."""

from __future__ import annotations

from dataclasses import dataclass

from cosybuild.backends.tensorrt.features import check_settings
from cosybuild.backends.tensorrt.flavour import RTX, RTX_SMS, TENSORRT, installed_version, title
from cosybuild.config.groups.trt import Refit, TrtBackend, TrtSettings
from cosybuild.core.environment import Environment

DEFAULT_SM = 89
"""Built for where nothing is asked for and no GPU is here: the L4, L40S and RTX 40 that serve most."""


@dataclass(frozen=True)
class Target:
    """One engine to build.

    Attributes:
        flavour: `tensorrt` or `tensorrt_rtx`.
        sm: compute capability times ten; None where TensorRT is to build for a GPU that is not here yet.
    """

    flavour: str
    sm: int | None


def choose_targets(settings: TrtSettings, precision: str, environment: Environment) -> tuple[Target, ...]:
    """The engines that these settings mean here, one a compute capability.

    Raises:
        ConfigurationError: the settings ask for what the chosen library has not.
    """
    flavour = choose_flavour(settings, environment)
    check_settings(settings, precision, flavour, installed_version(flavour, environment))
    here = tuple(dict.fromkeys(gpu.sm for gpu in environment.gpus))
    if settings.sm:
        sms: tuple[int | None, ...] = tuple(dict.fromkeys(settings.sm))
    elif flavour == RTX:
        sms = tuple(sm for sm in here if sm in RTX_SMS) or (DEFAULT_SM,)
    else:
        sms = here or (None,)
    return tuple(Target(flavour, sm) for sm in sms)


def choose_flavour(settings: TrtSettings, environment: Environment) -> str:
    """Who builds: what is asked for; else TensorRT where it can, since only its plans are drop-in; else RTX."""
    if settings.backend is not TrtBackend.auto:
        return str(settings.backend.value)
    if installed_version(TENSORRT, environment) is not None and environment.gpus:
        return TENSORRT
    return RTX if installed_version(RTX, environment) is not None else TENSORRT


def what_is_missing(target: Target, settings: TrtSettings, environment: Environment) -> tuple[str, ...]:
    """What this machine lacks to build for `target`, one phrase each."""
    lacks = []
    if target.flavour == TENSORRT:
        if not any(target.sm in (None, gpu.sm) for gpu in environment.gpus):
            lacks.append("a GPU" if target.sm is None else f"a GPU (sm_{target.sm})")
        if installed_version(TENSORRT, environment) is None:
            lacks.append("tensorrt 10 or 11")
        return tuple(lacks)
    if installed_version(RTX, environment) is None:
        lacks.append("tensorrt-rtx")
    if (settings.refit is not Refit.none or settings.strip) and not environment.gpus:
        lacks.append(f"a GPU ({title(RTX, None)} compiles refittable engines on one)")
    return tuple(lacks)


def what_would_bring_the_rest(flavour: str) -> str | None:
    """For the summary: what is still needed after such an engine for the runtimes that load plans."""
    if flavour == TENSORRT:
        return None
    return (
        "runtimes that import tensorrt load no TensorRT-RTX engine; for their plan run the same command with "
        "trt.backend=tensorrt on a machine with the GPU it is to serve on and tensorrt 10 or 11"
    )
